-- A rollback: plans and settings say again what they said before the release, part by part, and later releases forget what it brought.
-- Builds on: release_adoption, release_way_back.

-- What a release says about plans or the defaults: image, region, size, and "env NAME" for each variable.
create function hangar.adopted_parts(p_release hangar.releases) returns text[]
language sql immutable set search_path = ''
as $$
  select pg_catalog.array_remove(array[case when p_release.image is not null then 'image' end, case when p_release.region is not null then 'region' end,
      case when coalesce(p_release.cpu_kind, p_release.cpu_count::text, p_release.memory_mb::text) is not null then 'size' end], null)
    || array(select 'env ' || k from pg_catalog.jsonb_object_keys(p_release.env) k)
$$;

-- What later releases have brought to this plan (null: to the defaults) since this one, and still stands, also if it is the same.
create function hangar.find_later_parts(p_release hangar.releases, p_tier text, p_until timestamptz default 'infinity') returns text[]
language sql stable set search_path = ''
as $$
  select array(select distinct x.part from hangar.releases l cross join lateral pg_catalog.unnest(hangar.adopted_parts(l)) x (part)
                where l.adopted_from is not null and l.started_at > p_release.started_at and l.started_at < p_until
                  and (l.tiers is null or p_tier = any (l.tiers)))
$$;

-- Takes back what this release has brought to one plan, part by part: what somebody has edited since stays, and is named. A size is one
-- thing: an edit of its memory keeps its vCPU too. The size that results is one that the plan has had, so Fly accepts it. p_later: the parts
-- that a later release has brought.
create function hangar.unadopt_plan(
  p_release hangar.releases, p_plan public.fly_plans, p_before jsonb, p_later text[], out plan public.fly_plans, out kept jsonb
)
language plpgsql immutable set search_path = ''
as $$
declare
  v_was public.fly_plans := jsonb_populate_record(p_plan, p_before);
  v_names jsonb;
begin
  plan := p_plan;
  kept := '[]';
  if p_release.region is not null and v_was.region is distinct from p_plan.region then
    if p_plan.region = p_release.region and 'region' <> all (p_later) then
      plan.region := v_was.region;
    else
      kept := kept || jsonb_build_object('what', 'region', 'tier', p_plan.tier, 'value', p_plan.region);
    end if;
  end if;
  if p_release.image is not null and v_was.docker_image is distinct from p_plan.docker_image then
    if p_plan.docker_image = hangar.release_image(p_release) and 'image' <> all (p_later) then
      plan.docker_image := v_was.docker_image;
    else
      kept := kept || jsonb_build_object('what', 'image', 'tier', p_plan.tier, 'value', p_plan.docker_image);
    end if;
  end if;
  if (p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null)
     and (v_was.cpu_kind, v_was.cpu_count, v_was.memory_mb) <> (p_plan.cpu_kind, p_plan.cpu_count, p_plan.memory_mb) then
    if (p_plan.cpu_kind, p_plan.cpu_count, p_plan.memory_mb) = (coalesce(p_release.cpu_kind, v_was.cpu_kind),
        coalesce(p_release.cpu_count, v_was.cpu_count), coalesce(p_release.memory_mb, v_was.memory_mb)) and 'size' <> all (p_later) then
      plan.cpu_kind := v_was.cpu_kind;
      plan.cpu_count := v_was.cpu_count;
      plan.memory_mb := v_was.memory_mb;
    else
      kept := kept || jsonb_build_object('what', 'size', 'tier', p_plan.tier, 'value',
        format('%s %s vCPU, %s MB', p_plan.cpu_count, p_plan.cpu_kind, p_plan.memory_mb));
    end if;
  end if;
  plan.env := (p_plan.env - array(select e.key from jsonb_each(p_release.env) e where p_plan.env -> e.key = e.value and 'env ' || e.key <> all (p_later)))
    || coalesce((select jsonb_object_agg(e.key, v_was.env -> e.key) from jsonb_each(p_release.env) e
                  where p_plan.env -> e.key = e.value and 'env ' || e.key <> all (p_later) and v_was.env ? e.key), '{}');
  select jsonb_agg(e.key order by e.key) into v_names from jsonb_each(p_release.env) e
   where (p_plan.env -> e.key is distinct from e.value or 'env ' || e.key = any (p_later)) and p_plan.env -> e.key is distinct from v_was.env -> e.key;
  if v_names is not null then
    kept := kept || jsonb_build_object('what', 'env', 'tier', p_plan.tier, 'names', v_names);
  end if;
end
$$;

-- What this release brought is no longer what later releases have found in plans and settings, so that their rollback does not bring it again.
create function hangar.forget_adopted(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_later hangar.releases;
  v_from jsonb;
  v_plan record;
  v_closed text[];
begin
  for v_later in
    select l.* from hangar.releases l where l.adopted_from is not null and l.started_at > p_release.started_at order by l.started_at
  loop
    v_from := v_later.adopted_from;
    v_closed := hangar.find_later_parts(p_release, null, v_later.started_at);
    if p_release.tiers is null and p_release.image is not null and 'image' <> all (v_closed)
       and v_from ->> 'default_image' = hangar.release_image(p_release) then
      v_from := v_from || jsonb_build_object('default_image', p_release.adopted_from -> 'default_image');
    end if;
    if p_release.tiers is null and 'region' <> all (v_closed) and v_from ->> 'default_region' = p_release.region then
      v_from := v_from || jsonb_build_object('default_region', p_release.adopted_from -> 'default_region');
    end if;
    for v_plan in
      select p.tier, u.plan from public.fly_plans p
        cross join lateral hangar.unadopt_plan(p_release, jsonb_populate_record(p, v_from -> 'plans' -> p.tier),
                                               p_release.adopted_from -> 'plans' -> p.tier,
                                               hangar.find_later_parts(p_release, p.tier, v_later.started_at)) u
       where v_from -> 'plans' ? p.tier and p_release.adopted_from -> 'plans' ? p.tier
    loop
      v_from := jsonb_set(v_from, array['plans', v_plan.tier], jsonb_build_object('docker_image', (v_plan.plan).docker_image, 'region', (v_plan.plan).region,
        'cpu_kind', (v_plan.plan).cpu_kind, 'cpu_count', (v_plan.plan).cpu_count, 'memory_mb', (v_plan.plan).memory_mb, 'env', (v_plan.plan).env));
    end loop;
    update hangar.releases l set adopted_from = v_from where l.id = v_later.id;
  end loop;
end
$$;

-- Users who had what this release brought from their plan alone, and whom a later release has moved since: their way back does not bring it again.
create function hangar.forget_followed(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_found record;
  v_target hangar.release_targets;
begin
  for v_found in
    select distinct on (o.row_id) o.row_id, p.tier, w as was, n.plan as brought
      from hangar.release_targets o
      join hangar.releases r on r.id = o.release_id and r.state <> 'rolled_back' and r.started_at > p_release.started_at
      join public.fly_plans p on p.tier = o.previous ->> 'tier' and p_release.adopted_from -> 'plans' ? p.tier
      cross join lateral jsonb_populate_record(p, p_release.adopted_from -> 'plans' -> p.tier) w
      cross join lateral hangar.adopt_plan(jsonb_populate_record(p_release, '{"plans_at_start": null}'), w) n
     where o.state = 'done' and not exists (select 1 from hangar.release_targets t
             where t.release_id = p_release.id and t.row_id = o.row_id and t.applied_at is not null)
     order by o.row_id, o.applied_at
  loop
    v_target.release_id := p_release.id;
    v_target.row_id := v_found.row_id;
    v_target.applied_at := p_release.started_at;
    v_target.previous := jsonb_build_object('tier', v_found.tier, 'image', coalesce((v_found.was).docker_image, p_release.adopted_from ->> 'default_image'),
      'spec', jsonb_build_object('docker_image', coalesce((v_found.was).docker_image, p_release.adopted_from ->> 'default_image'),
        'region', coalesce((v_found.was).region, p_release.adopted_from ->> 'default_region'), 'cpu_kind', (v_found.was).cpu_kind,
        'cpu_count', (v_found.was).cpu_count, 'memory_mb', (v_found.was).memory_mb),
      'gave', jsonb_build_object('docker_image', hangar.release_image(p_release), 'region', p_release.region, 'cpu_kind', (v_found.brought).cpu_kind,
        'cpu_count', (v_found.brought).cpu_count, 'memory_mb', (v_found.brought).memory_mb));
    perform hangar.forget_given(p_release, v_target);
  end loop;
end
$$;

-- A rollback of a release that plans and settings have followed: they say again what they said before. What somebody has edited since stays;
-- returns it.
create function hangar.unadopt_release(p_release hangar.releases) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_plan public.fly_plans;
  v_back record;
  v_kept jsonb := '[]';
  v_later text[] := hangar.find_later_parts(p_release, null);
begin
  if p_release.adopted_from is null then
    return null;
  end if;
  select * into strict v_settings from hangar.settings for no key update;
  perform hangar.set_actor(p_release.created_by, format('rollback of release %s', p_release.id));
  if p_release.image is not null and p_release.tiers is null and v_settings.default_image is distinct from p_release.adopted_from ->> 'default_image' then
    if v_settings.default_image = hangar.release_image(p_release) and 'image' <> all (v_later) then
      update hangar.settings g set default_image = p_release.adopted_from ->> 'default_image' where g.only_row;
    else
      v_kept := v_kept || jsonb_build_object('what', 'image', 'value', v_settings.default_image);
    end if;
  end if;
  if p_release.region is not null and p_release.tiers is null and v_settings.default_region is distinct from p_release.adopted_from ->> 'default_region' then
    if v_settings.default_region = p_release.region and 'region' <> all (v_later) then
      update hangar.settings g set default_region = p_release.adopted_from ->> 'default_region' where g.only_row;
    else
      v_kept := v_kept || jsonb_build_object('what', 'region', 'value', v_settings.default_region);
    end if;
  end if;
  for v_plan in
    select p.* from public.fly_plans p where p_release.adopted_from -> 'plans' ? p.tier order by p.tier for no key update
  loop
    v_back := hangar.unadopt_plan(p_release, v_plan, p_release.adopted_from -> 'plans' -> v_plan.tier, hangar.find_later_parts(p_release, v_plan.tier));
    v_kept := v_kept || v_back.kept;
    if v_back.plan is distinct from v_plan then
      update public.fly_plans p
         set region = (v_back.plan).region, docker_image = (v_back.plan).docker_image, cpu_kind = (v_back.plan).cpu_kind,
             cpu_count = (v_back.plan).cpu_count, memory_mb = (v_back.plan).memory_mb, env = (v_back.plan).env
       where p.tier = v_plan.tier;
    end if;
  end loop;
  perform hangar.clear_actor();
  perform hangar.forget_adopted(p_release);
  perform hangar.forget_followed(p_release);
  update hangar.releases set adopted = false, adopted_from = null, kept = nullif(v_kept, '[]') where id = p_release.id;
  return nullif(v_kept, '[]');
end
$$;

select hangar.restrict_functions();
