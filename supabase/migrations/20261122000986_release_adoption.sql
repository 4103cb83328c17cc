-- Plans and settings follow a release that concerned everybody, so that new apps get what it brought; and go back with a rollback.
-- Builds on: release_waves, given_machines, settings.

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

-- Makes plans and settings say what the release has given to everybody whom they concern, so that new apps get it too. A release for chosen
-- users, regions or a share leaves them alone.
create function hangar.adopt_release(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_before jsonb;
begin
  if hangar.changes_plans(p_release) then
    select jsonb_build_object('default_image', g.default_image, 'default_region', g.default_region, 'plans', (
             select jsonb_object_agg(p.tier, jsonb_build_object('docker_image', p.docker_image, 'region', p.region, 'cpu_kind', p.cpu_kind, 'cpu_count', p.cpu_count,
                      'memory_mb', p.memory_mb, 'env', p.env))
               from public.fly_plans p where p.dedicated and (p_release.tiers is null or p.tier = any (p_release.tiers))))
      into v_before from hangar.settings g;
    perform hangar.set_actor(p_release.created_by, format('release %s', p_release.id));
    if p_release.image is not null and p_release.tiers is null then
      update hangar.settings set default_image = hangar.release_image(p_release) where only_row;
    end if;
    if p_release.region is not null and p_release.tiers is null then
      update hangar.settings set default_region = p_release.region where only_row;
    end if;
    update public.fly_plans p
       set region = case when p_release.region is null or p_release.tiers is null and p.region is null then p.region else p_release.region end,
           docker_image = case when p_release.image is null or p_release.tiers is null and p.docker_image is null then p.docker_image
                               else hangar.release_image(p_release) end,
           cpu_kind = coalesce(p_release.cpu_kind, p.cpu_kind), cpu_count = coalesce(p_release.cpu_count, p.cpu_count),
           memory_mb = coalesce(p_release.memory_mb, p.memory_mb), env = p.env || p_release.env
     where p.dedicated and (p_release.tiers is null or p.tier = any (p_release.tiers));
    perform hangar.clear_actor();
    perform hangar.end_what_plans_say(p_release);
  end if;
  update hangar.releases set adopted = true, adopted_from = v_before where id = p_release.id;
end
$$;

-- Takes back what this release has brought to one plan, part by part: what somebody has edited since stays, and is named. A size is one
-- thing: an edit of its memory keeps its vCPU too. The size that results is one that the plan has had, so Fly accepts it.
create function hangar.unadopt_plan(p_release hangar.releases, p_plan public.fly_plans, p_before jsonb, out plan public.fly_plans, out kept jsonb)
language plpgsql immutable set search_path = ''
as $$
declare
  v_was public.fly_plans := jsonb_populate_record(p_plan, p_before);
  v_names jsonb;
begin
  plan := p_plan;
  kept := '[]';
  if p_release.region is not null and v_was.region is distinct from p_plan.region then
    if p_plan.region = p_release.region then
      plan.region := v_was.region;
    else
      kept := kept || jsonb_build_object('what', 'region', 'tier', p_plan.tier, 'value', p_plan.region);
    end if;
  end if;
  if p_release.image is not null and v_was.docker_image is distinct from p_plan.docker_image then
    if p_plan.docker_image = hangar.release_image(p_release) then
      plan.docker_image := v_was.docker_image;
    else
      kept := kept || jsonb_build_object('what', 'image', 'tier', p_plan.tier, 'value', p_plan.docker_image);
    end if;
  end if;
  if (p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null)
     and (v_was.cpu_kind, v_was.cpu_count, v_was.memory_mb) <> (p_plan.cpu_kind, p_plan.cpu_count, p_plan.memory_mb) then
    if (p_plan.cpu_kind, p_plan.cpu_count, p_plan.memory_mb) = (coalesce(p_release.cpu_kind, v_was.cpu_kind),
        coalesce(p_release.cpu_count, v_was.cpu_count), coalesce(p_release.memory_mb, v_was.memory_mb)) then
      plan.cpu_kind := v_was.cpu_kind;
      plan.cpu_count := v_was.cpu_count;
      plan.memory_mb := v_was.memory_mb;
    else
      kept := kept || jsonb_build_object('what', 'size', 'tier', p_plan.tier, 'value',
        format('%s %s vCPU, %s MB', p_plan.cpu_count, p_plan.cpu_kind, p_plan.memory_mb));
    end if;
  end if;
  plan.env := (p_plan.env - array(select e.key from jsonb_each(p_release.env) e where p_plan.env -> e.key = e.value))
    || coalesce((select jsonb_object_agg(e.key, v_was.env -> e.key) from jsonb_each(p_release.env) e
                  where p_plan.env -> e.key = e.value and v_was.env ? e.key), '{}');
  select jsonb_agg(e.key order by e.key) into v_names from jsonb_each(p_release.env) e
   where p_plan.env -> e.key is distinct from e.value and p_plan.env -> e.key is distinct from v_was.env -> e.key;
  if v_names is not null then
    kept := kept || jsonb_build_object('what', 'env', 'tier', p_plan.tier, 'names', v_names);
  end if;
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
begin
  if p_release.adopted_from is null then
    return null;
  end if;
  select * into strict v_settings from hangar.settings for no key update;
  perform hangar.set_actor(p_release.created_by, format('rollback of release %s', p_release.id));
  if p_release.image is not null and p_release.tiers is null and v_settings.default_image is distinct from p_release.adopted_from ->> 'default_image' then
    if v_settings.default_image = hangar.release_image(p_release) then
      update hangar.settings g set default_image = p_release.adopted_from ->> 'default_image' where g.only_row;
    else
      v_kept := v_kept || jsonb_build_object('what', 'image', 'value', v_settings.default_image);
    end if;
  end if;
  if p_release.region is not null and p_release.tiers is null and v_settings.default_region is distinct from p_release.adopted_from ->> 'default_region' then
    if v_settings.default_region = p_release.region then
      update hangar.settings g set default_region = p_release.adopted_from ->> 'default_region' where g.only_row;
    else
      v_kept := v_kept || jsonb_build_object('what', 'region', 'value', v_settings.default_region);
    end if;
  end if;
  for v_plan in
    select p.* from public.fly_plans p where p_release.adopted_from -> 'plans' ? p.tier order by p.tier for no key update
  loop
    v_back := hangar.unadopt_plan(p_release, v_plan, p_release.adopted_from -> 'plans' -> v_plan.tier);
    v_kept := v_kept || v_back.kept;
    if v_back.plan is distinct from v_plan then
      update public.fly_plans p
         set region = (v_back.plan).region, docker_image = (v_back.plan).docker_image, cpu_kind = (v_back.plan).cpu_kind,
             cpu_count = (v_back.plan).cpu_count, memory_mb = (v_back.plan).memory_mb, env = (v_back.plan).env
       where p.tier = v_plan.tier;
    end if;
  end loop;
  perform hangar.clear_actor();
  update hangar.releases set adopted = false, adopted_from = null, kept = nullif(v_kept, '[]') where id = p_release.id;
  return nullif(v_kept, '[]');
end
$$;

select hangar.restrict_functions();
