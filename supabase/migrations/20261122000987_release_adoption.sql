-- Plans and settings follow a release that concerned everybody, so that new apps get what it brought; and go back with a rollback.
-- Builds on: release_waves, settings.

-- Whether what a release has given a user is what the plan gives by now.
create function hangar.adds_nothing(p_given hangar.user_specs, p_plan public.fly_plans, p_settings hangar.settings) returns boolean
language plpgsql immutable set search_path = ''
as $$
declare
  v_plan hangar.machine_spec := hangar.spec_for(p_plan, p_settings, null, null);
begin
  if hangar.without_digest(v_plan.docker_image) = hangar.without_digest((p_given.spec).docker_image) then
    v_plan.docker_image := (p_given.spec).docker_image;
  end if;
  v_plan.env_version := (p_given.spec).env_version;
  return v_plan is not distinct from p_given.spec and p_plan.env @> p_given.env;
end
$$;

-- A user without an app gets, on return, what this release gave to everybody, and not what an earlier release gave to that user.
create function hangar.bring_to_absent_users(p_release hangar.releases) returns void
language sql volatile set search_path = ''
as $$
  update hangar.user_specs y
     set spec = row(coalesce(p_release.region, (y.spec).region), coalesce(hangar.release_image(p_release), (y.spec).docker_image),
                    coalesce(p_release.cpu_kind, (y.spec).cpu_kind), coalesce(p_release.cpu_count, (y.spec).cpu_count),
                    coalesce(p_release.memory_mb, (y.spec).memory_mb), (y.spec).power, (y.spec).public_service, (y.spec).env_version)::hangar.machine_spec,
         env = y.env || p_release.env,
         image = case when y.image is not null then coalesce(hangar.release_image(p_release), y.image) end,
         region = case when y.region is not null then coalesce(p_release.region, y.region) end,
         release_id = p_release.id, updated_at = hangar.now()
   where (p_release.tiers is null or y.tier = any (p_release.tiers))
     and not exists (select 1 from public.user_fly_apps a where a.user_id = y.user_id and a.deleted_at is null and a.desired_state = 'present')
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
  v_settings hangar.settings;
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
    perform hangar.bring_to_absent_users(p_release);
    -- Who has exactly what the plan says now needs nothing of their own.
    select * into strict v_settings from hangar.settings;
    delete from hangar.user_specs y using public.fly_plans p
     where y.release_id = p_release.id and p.tier = y.tier and hangar.adds_nothing(y, p, v_settings);
  end if;
  update hangar.releases set adopted = true, adopted_from = v_before where id = p_release.id;
end
$$;

-- A rollback of a release that plans and settings have followed: they say again what they said before, unless somebody has edited them since.
create function hangar.unadopt_release(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  if p_release.adopted_from is null then
    return;
  end if;
  perform hangar.set_actor(p_release.created_by, format('rollback of release %s', p_release.id));
  update hangar.settings g set default_image = p_release.adopted_from ->> 'default_image'
   where g.only_row and g.default_image = hangar.release_image(p_release) and g.default_image <> p_release.adopted_from ->> 'default_image';
  update hangar.settings g set default_region = p_release.adopted_from ->> 'default_region'
   where g.only_row and g.default_region = p_release.region and g.default_region <> p_release.adopted_from ->> 'default_region';
  update public.fly_plans p
     set region = case when p.region = p_release.region then b.value ->> 'region' else p.region end,
         docker_image = case when p.docker_image = hangar.release_image(p_release) then b.value ->> 'docker_image' else p.docker_image end,
         cpu_kind = case when p.cpu_kind = p_release.cpu_kind then b.value ->> 'cpu_kind' else p.cpu_kind end,
         cpu_count = case when p.cpu_count = p_release.cpu_count then (b.value ->> 'cpu_count')::integer else p.cpu_count end,
         memory_mb = case when p.memory_mb = p_release.memory_mb then (b.value ->> 'memory_mb')::integer else p.memory_mb end,
         -- Only the variables of the release: an operator may have edited others since.
         env = case when p.env @> p_release.env then (p.env - array(select jsonb_object_keys(p_release.env)))
                    || coalesce((select jsonb_object_agg(k, b.value -> 'env' -> k) from jsonb_object_keys(p_release.env) k
                                  where b.value -> 'env' ? k), '{}') else p.env end
    from jsonb_each(p_release.adopted_from -> 'plans') b
   where b.key = p.tier;
  perform hangar.clear_actor();
  update hangar.releases set adopted = false, adopted_from = null where id = p_release.id;
end
$$;

select hangar.restrict_functions();
