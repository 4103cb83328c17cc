-- Which machine a user's app should have: what the plan says, unless a release or an operator's pin says otherwise. Decided here only.
-- Builds on: tables, release_tables.

-- An image without its digest: "registry/app:tag".
create function hangar.without_digest(p_image text) returns text
language sql immutable set search_path = ''
as $$ select pg_catalog.split_part(p_image, '@', 1) $$;

-- Whether what a release has given a user also holds with another tier.
create function hangar.is_kept_with_tier(p_given hangar.user_specs, p_tier text) returns boolean
language sql immutable set search_path = ''
as $$
  select (p_given.image is not null or p_given.region is not null) and (p_given.tiers is null or p_tier = any (p_given.tiers))
$$;

create function hangar.env_version(p_env jsonb) returns text
language sql immutable set search_path = ''
as $$ select case when p_env <> '{}' then pg_catalog.left(pg_catalog.md5(p_env::text), 16) end $$;

-- The further environment of a user with this plan: the plan's, then the release's, then the pin's; a later one wins.
create function hangar.env_for(p_plan public.fly_plans, p_given hangar.user_specs, p_pin hangar.user_pins) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return coalesce(p_plan.env, '{}')
    || coalesce(case when p_given.tier = p_plan.tier or hangar.is_kept_with_tier(p_given, p_plan.tier)
                     then p_given.env end, '{}')
    || coalesce(p_pin.env, '{}');
end
$$;

-- A machine with the image and the size that this pin fixes.
create function hangar.with_pin(p_spec hangar.machine_spec, p_pin hangar.user_pins) returns hangar.machine_spec
language plpgsql immutable set search_path = ''
as $$
begin
  p_spec.docker_image := coalesce(p_pin.image, p_spec.docker_image);
  p_spec.cpu_kind := coalesce(p_pin.cpu_kind, p_spec.cpu_kind);
  p_spec.cpu_count := coalesce(p_pin.cpu_count, p_spec.cpu_count);
  p_spec.memory_mb := coalesce(p_pin.memory_mb, p_spec.memory_mb);
  return p_spec;
end
$$;

-- What a release gives counts on top of the plan: image and regions also with another tier, the size only with the tier for which it was
-- given. While the release moves the app, or takes it back, the whole machine counts.
create function hangar.spec_for(p_plan public.fly_plans, p_settings hangar.settings, p_given hangar.user_specs, p_pin hangar.user_pins)
returns hangar.machine_spec
language plpgsql immutable set search_path = ''
as $$
declare
  v_spec hangar.machine_spec;
  v_is_own boolean := coalesce(p_given.tier = p_plan.tier, false);
begin
  if p_plan.tier is null then
    return null;
  end if;
  if v_is_own and not (p_given.spec is null) then
    v_spec := p_given.spec;
  else
    v_spec := row(coalesce(p_plan.region, p_settings.default_region), coalesce(p_plan.docker_image, p_settings.default_image), p_plan.cpu_kind,
                  p_plan.cpu_count, p_plan.memory_mb, p_plan.power, p_plan.public_service, null)::hangar.machine_spec;
    if v_is_own or hangar.is_kept_with_tier(p_given, p_plan.tier) then
      v_spec.docker_image := coalesce(p_given.image, v_spec.docker_image);
      v_spec.region := coalesce(p_given.region, v_spec.region);
    end if;
    if v_is_own and p_given.cpu_count is not null then
      v_spec.cpu_kind := p_given.cpu_kind;
      v_spec.cpu_count := p_given.cpu_count;
      v_spec.memory_mb := p_given.memory_mb;
    end if;
  end if;
  v_spec := hangar.with_pin(v_spec, p_pin);
  v_spec.env_version := hangar.env_version(hangar.env_for(p_plan, p_given, p_pin));
  return v_spec;
end
$$;
comment on function hangar.spec_for(public.fly_plans, hangar.settings, hangar.user_specs, hangar.user_pins) is 'The machine of one user: plan, then release, then pin. Null without a plan.';

-- A user's machine without what only a pin has brought into it, so that a pin that ends leaves nothing behind. p_only_ended: what a pin in
-- force has brought stays.
create function hangar.without_pin(p_row public.user_fly_apps, p_spec hangar.machine_spec, p_only_ended boolean default false)
returns hangar.machine_spec
language plpgsql stable set search_path = ''
as $$
declare
  v_spec hangar.machine_spec := p_spec;
  v_unpinned hangar.machine_spec;
  v_pin hangar.user_pins;
  v_counts boolean;
  v_image boolean;
  v_size boolean;
begin
  select n.* into v_pin from hangar.user_pins n where n.user_id = p_row.user_id;
  v_counts := v_pin.ends_at <= hangar.now() or not p_only_ended;
  v_image := coalesce(v_counts and p_spec.docker_image = v_pin.image, false) or coalesce(p_spec.docker_image = v_pin.ended ->> 'image', false);
  v_size := coalesce(v_counts and (p_spec.cpu_kind, p_spec.cpu_count, p_spec.memory_mb) = (v_pin.cpu_kind, v_pin.cpu_count, v_pin.memory_mb), false)
    or coalesce((p_spec.cpu_kind, p_spec.cpu_count, p_spec.memory_mb)
                = (v_pin.ended ->> 'cpu_kind', (v_pin.ended ->> 'cpu_count')::integer, (v_pin.ended ->> 'memory_mb')::integer), false);
  if not v_image and not v_size then
    return v_spec;
  end if;
  select s.* into v_unpinned
    from public.fly_plans p cross join hangar.settings g left join hangar.user_specs y on y.user_id = p_row.user_id
    cross join lateral hangar.spec_for(p, g, y, null) s
   where p.tier = p_row.tier;
  if v_image then
    v_spec.docker_image := coalesce(v_unpinned.docker_image, p_spec.docker_image);
  end if;
  if v_size and v_unpinned.cpu_count is not null then
    v_spec.cpu_kind := v_unpinned.cpu_kind;
    v_spec.cpu_count := v_unpinned.cpu_count;
    v_spec.memory_mb := v_unpinned.memory_mb;
  end if;
  return v_spec;
end
$$;

-- Whether a machine is as wanted: also with the digest that it runs, where only a tag is wanted.
create function hangar.is_as_wanted(p_has hangar.machine_spec, p_wanted hangar.machine_spec) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  if p_wanted.docker_image not like '%@%' and p_wanted.docker_image = hangar.without_digest(p_has.docker_image) then
    p_has.docker_image := p_wanted.docker_image;
  end if;
  return p_has is not distinct from p_wanted;
end
$$;

create function hangar.extra_env(p_user uuid, p_tier text) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce((select hangar.env_for(p, y, n)
    from public.fly_plans p
    left join hangar.user_specs y on y.user_id = p_user
    left join hangar.user_pins n on n.user_id = p_user and (n.ends_at is null or n.ends_at > hangar.now())
   where p.tier = p_tier), '{}');
end
$$;

select hangar.restrict_functions();
