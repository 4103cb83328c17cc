-- Plans and settings follow a release that concerned everybody, so that new apps get what it brought.
-- Builds on: release_targets, given_machines, settings.

-- What plans and settings say by now is nothing of a user's own any more. A user without an app gets, on return, what this release gave to
-- everybody, and not what an earlier release gave to that user.
create function hangar.end_what_plans_say(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_sized boolean := coalesce(p_release.cpu_kind, p_release.cpu_count::text, p_release.memory_mb::text) is not null;
begin
  with found as (
    select y.user_id, a.id is null as is_away, s as plan, p.env,
           v_sized and coalesce(a.id is null or (y.cpu_kind, y.cpu_count, y.memory_mb) = (s.cpu_kind, s.cpu_count, s.memory_mb), true) as ends_size
      from hangar.user_specs y
      join public.fly_plans p on p.tier = y.tier
      cross join hangar.settings g
      cross join lateral hangar.spec_for(p, g, null, null) s
      left join public.user_fly_apps a on a.user_id = y.user_id and a.deleted_at is null and a.desired_state = 'present'
     where (p_release.tiers is null or y.tier = any (p_release.tiers)) and (y.release_id = p_release.id or a.id is null)
  )
  update hangar.user_specs y
     set spec = case when f.is_away then null else y.spec end,
         image = case when p_release.image is null or not f.is_away and not hangar.has_same_image(y.image, (f.plan).docker_image) then y.image end,
         region = case when p_release.region is null or not f.is_away and y.region is distinct from (f.plan).region then y.region end,
         cpu_kind = case when not f.ends_size then y.cpu_kind end,
         cpu_count = case when not f.ends_size then y.cpu_count end,
         memory_mb = case when not f.ends_size then y.memory_mb end,
         env = y.env - array(select k from jsonb_object_keys(p_release.env) k where f.is_away or f.env -> k = y.env -> k),
         updated_at = hangar.now()
    from found f where f.user_id = y.user_id;
  delete from hangar.user_specs y where hangar.gives_nothing(y);
end
$$;

-- Whether plans and settings follow this release when it is complete: it concerns everybody, or whole tiers.
create function hangar.changes_plans(p_release hangar.releases) returns boolean
language sql immutable set search_path = ''
as $$ select p_release.kind = 'machine' and p_release.users is null and p_release.regions is null and p_release.share = 1 $$;

-- What plans and settings say now about what a release may bring: of the plans that the release concerns.
create function hangar.read_plans(p_release hangar.releases) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('default_image', g.default_image, 'default_region', g.default_region, 'plans', (
           select coalesce(pg_catalog.jsonb_object_agg(p.tier, pg_catalog.jsonb_build_object('docker_image', p.docker_image, 'region', p.region, 'cpu_kind', p.cpu_kind,
                    'cpu_count', p.cpu_count, 'memory_mb', p.memory_mb, 'env', p.env)), '{}')
             from public.fly_plans p where p.dedicated and (p_release.tiers is null or p.tier = any (p_release.tiers))))
    from hangar.settings g
$$;

-- What this release brings to one plan: each part, but for what somebody has edited since the release was started. That stays, and is named.
create function hangar.adopt_plan(p_release hangar.releases, p_plan public.fly_plans, out plan public.fly_plans, out kept jsonb)
language plpgsql immutable set search_path = ''
as $$
declare
  -- A plan that is newer than the release was not edited.
  v_was public.fly_plans := jsonb_populate_record(p_plan, p_release.plans_at_start -> 'plans' -> p_plan.tier);
  v_names text[];
begin
  plan := p_plan;
  kept := '[]';
  if p_release.region is not null and (p_release.tiers is not null or p_plan.region is not null) then
    if p_plan.region is not distinct from v_was.region then
      plan.region := p_release.region;
    elsif p_plan.region is distinct from p_release.region then
      kept := kept || jsonb_build_object('what', 'region', 'tier', p_plan.tier, 'value', p_plan.region);
    end if;
  end if;
  if p_release.image is not null and (p_release.tiers is not null or p_plan.docker_image is not null) then
    if p_plan.docker_image is not distinct from v_was.docker_image then
      plan.docker_image := hangar.release_image(p_release);
    elsif not hangar.has_same_image(p_plan.docker_image, p_release.image) then
      kept := kept || jsonb_build_object('what', 'image', 'tier', p_plan.tier, 'value', p_plan.docker_image);
    end if;
  end if;
  if p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null then
    if (p_plan.cpu_kind, p_plan.cpu_count, p_plan.memory_mb) = (v_was.cpu_kind, v_was.cpu_count, v_was.memory_mb) then
      plan.cpu_kind := coalesce(p_release.cpu_kind, p_plan.cpu_kind);
      plan.cpu_count := coalesce(p_release.cpu_count, p_plan.cpu_count);
      plan.memory_mb := coalesce(p_release.memory_mb, p_plan.memory_mb);
    else
      kept := kept || jsonb_build_object('what', 'size', 'tier', p_plan.tier, 'value',
        format('%s %s vCPU, %s MB', p_plan.cpu_count, p_plan.cpu_kind, p_plan.memory_mb));
    end if;
  end if;
  v_names := array(select e.key from jsonb_each(p_release.env) e
                    where p_plan.env -> e.key is distinct from v_was.env -> e.key and p_plan.env -> e.key is distinct from e.value order by e.key);
  plan.env := p_plan.env || (p_release.env - v_names);
  if v_names <> '{}' then
    kept := kept || jsonb_build_object('what', 'env', 'tier', p_plan.tier, 'names', v_names);
  end if;
end
$$;

-- Makes plans and settings say what the release has given to everybody whom they concern, so that new apps get it too. A release for chosen
-- users, regions or a share leaves them alone.
create function hangar.adopt_release(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_before jsonb;
  v_start jsonb := p_release.plans_at_start;
  v_plan record;
  v_kept jsonb := '[]';
begin
  if hangar.changes_plans(p_release) then
    v_before := hangar.read_plans(p_release);
    perform hangar.set_actor(p_release.created_by, format('release %s', p_release.id));
    if p_release.image is not null and p_release.tiers is null then
      if v_start is null or v_before -> 'default_image' = v_start -> 'default_image' then
        update hangar.settings set default_image = hangar.release_image(p_release) where only_row;
      elsif not hangar.has_same_image(v_before ->> 'default_image', p_release.image) then
        v_kept := v_kept || jsonb_build_object('what', 'image', 'value', v_before -> 'default_image');
      end if;
    end if;
    if p_release.region is not null and p_release.tiers is null then
      if v_start is null or v_before -> 'default_region' = v_start -> 'default_region' then
        update hangar.settings set default_region = p_release.region where only_row;
      elsif v_before ->> 'default_region' is distinct from p_release.region then
        v_kept := v_kept || jsonb_build_object('what', 'region', 'value', v_before -> 'default_region');
      end if;
    end if;
    for v_plan in
      select p.tier, n.plan, n.kept from public.fly_plans p cross join lateral hangar.adopt_plan(p_release, p) n
       where p.dedicated and (p_release.tiers is null or p.tier = any (p_release.tiers)) order by p.tier
    loop
      v_kept := v_kept || v_plan.kept;
      update public.fly_plans p
         set region = (v_plan.plan).region, docker_image = (v_plan.plan).docker_image, cpu_kind = (v_plan.plan).cpu_kind,
             cpu_count = (v_plan.plan).cpu_count, memory_mb = (v_plan.plan).memory_mb, env = (v_plan.plan).env
       where p.tier = v_plan.tier and p is distinct from v_plan.plan;
    end loop;
    perform hangar.clear_actor();
    perform hangar.end_what_plans_say(p_release);
  end if;
  update hangar.releases set adopted = true, adopted_from = v_before, kept = nullif(v_kept, '[]') where id = p_release.id;
end
$$;

select hangar.restrict_functions();
