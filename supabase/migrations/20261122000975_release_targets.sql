-- Which apps a release concerns and in which wave, and the machine that it gives to each.
-- Builds on: release_tables, user_spec, region_moves, desired_state, failure_alerts.

-- The image that a release deploys: with its digest as soon as that is known, so that a moved tag changes nothing on the way.
create function hangar.release_image(p_release hangar.releases) returns text
language sql immutable set search_path = ''
as $$
  select case when p_release.image like '%@%' or p_release.image_digest is null then p_release.image
              else p_release.image || '@' || p_release.image_digest end
$$;

-- Whether a row that runs already has this image, as far as that is known.
create function hangar.runs_image(p_row public.user_fly_apps, p_image text, p_digest text) returns boolean
language sql immutable set search_path = ''
as $$
  select hangar.without_digest(p_row.docker_image) = hangar.without_digest(p_image)
    and coalesce(p_digest, nullif(pg_catalog.split_part(p_image, '@', 2), ''))
        = coalesce(nullif(pg_catalog.split_part(p_row.docker_image, '@', 2), ''), p_row.observed_spec ->> 'image_digest', p_row.image_digest)
$$;

-- Whether a row need not change its image to have this one. A tag without a digest is kept as it runs, wherever it points by now.
create function hangar.keeps_image(p_row public.user_fly_apps, p_image text) returns boolean
language sql immutable set search_path = ''
as $$
  select hangar.without_digest(p_row.docker_image) = hangar.without_digest(p_image)
     and (p_image not like '%@%' or hangar.runs_image(p_row, p_image, null))
$$;

-- The machine that each plan describes now, by tier.
create function hangar.read_plan_specs() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_object_agg(p.tier, pg_catalog.to_jsonb(s))
    from public.fly_plans p cross join hangar.settings g cross join lateral hangar.spec_for(p, g, null, null) s
$$;

-- What a release of kind plan gives to this plan's users: what the plan described when the release was started, or describes now for a draft.
create function hangar.plan_spec(p_release hangar.releases, p_plan public.fly_plans, p_settings hangar.settings) returns hangar.machine_spec
language plpgsql stable set search_path = ''
as $$
begin
  if p_release.plan_specs is null then
    return hangar.spec_for(p_plan, p_settings, null, null);
  elsif p_release.plan_specs ? p_plan.tier then
    return jsonb_populate_record(null::hangar.machine_spec, p_release.plan_specs -> p_plan.tier);
  end if;
  return null;
end
$$;

-- `image`: what the release calls the image that it gives the row; null if the row keeps its own.
create type hangar.given_machine as (spec hangar.machine_spec, env jsonb, image text);

-- The machine and the further environment that this release gives to a row.
create function hangar.release_spec(p_release hangar.releases, p_row public.user_fly_apps) returns hangar.given_machine
language plpgsql stable set search_path = ''
as $$
declare
  v_spec hangar.machine_spec;
  v_env jsonb;
  v_given hangar.given_machine;
  v_plan public.fly_plans;
  v_pin hangar.user_pins;
  v_settings hangar.settings;
begin
  select p.* into v_plan from public.fly_plans p where p.tier = p_row.tier;
  select n.* into v_pin from hangar.user_pins n where n.user_id = p_row.user_id and (n.ends_at is null or n.ends_at > hangar.now());
  if p_release.kind = 'plan' then
    select * into strict v_settings from hangar.settings;
    v_spec := coalesce(hangar.plan_spec(p_release, v_plan, v_settings), hangar.spec_of(p_row));
    if hangar.keeps_image(p_row, v_spec.docker_image) then
      v_spec.docker_image := p_row.docker_image;
    else
      v_given.image := v_spec.docker_image;
    end if;
    if v_plan.tier is not null then
      v_spec.env_version := hangar.env_version(hangar.env_for(v_plan, null, v_pin));
    end if;
    v_given.spec := v_spec;
    v_given.env := '{}';
    return v_given;
  end if;
  -- What a pin that has ended left in the machine ends with the next release. Its image ends only with a release that proves images.
  v_spec := hangar.without_pin(p_row, hangar.spec_of(p_row), true);
  v_spec.docker_image := p_row.docker_image;
  v_env := coalesce((select y.env from hangar.user_specs y where y.user_id = p_row.user_id), '{}') || p_release.env;
  v_spec.region := coalesce(p_release.region, v_spec.region);
  v_spec.docker_image := coalesce(hangar.release_image(p_release), v_spec.docker_image);
  v_spec.cpu_kind := coalesce(p_release.cpu_kind, v_spec.cpu_kind);
  v_spec.cpu_count := coalesce(p_release.cpu_count, v_spec.cpu_count);
  v_spec.memory_mb := coalesce(p_release.memory_mb, v_spec.memory_mb);
  v_spec.env_version := hangar.env_version(coalesce(v_plan.env, '{}') || v_env || coalesce(v_pin.env, '{}'));
  v_given.spec := v_spec;
  v_given.env := v_env;
  v_given.image := p_release.image;
  return v_given;
end
$$;

-- Whether this pin keeps the user away from a release that changes these things.
create function hangar.is_pinned(p_pin hangar.user_pins, p_release hangar.releases) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_pin.image is not null and (p_release.image is not null or p_release.kind = 'plan'), false)
      or coalesce(p_pin.cpu_count is not null and (p_release.cpu_count is not null or p_release.memory_mb is not null
                                                   or p_release.cpu_kind is not null or p_release.kind = 'plan'), false)
$$;

-- Whether an app desires another machine than a plan describes: the plan was edited, or a release gave the app something else. The variables
-- of one user (p_pin) are no difference.
create function hangar.differs_from(
  p_row public.user_fly_apps, p_wanted hangar.machine_spec, p_plan public.fly_plans, p_pin hangar.user_pins
) returns boolean
language plpgsql stable set search_path = ''
as $$
declare
  v_row hangar.machine_spec := hangar.spec_of(p_row);
begin
  if p_wanted is null then
    return false;  -- a plan that was renamed or removed: the row keeps what it bought
  end if;
  p_wanted.env_version := hangar.env_version(hangar.env_for(p_plan, null, p_pin));
  if hangar.keeps_image(p_row, p_wanted.docker_image) then
    p_wanted.docker_image := v_row.docker_image;
  end if;
  return v_row is distinct from p_wanted or hangar.needs_move(p_row, p_wanted.region);
end
$$;

create function hangar.differs_from_plan(
  p_row public.user_fly_apps, p_plan public.fly_plans, p_settings hangar.settings, p_pin hangar.user_pins
) returns boolean
language sql stable set search_path = ''
as $$ select hangar.differs_from(p_row, hangar.spec_for(p_plan, p_settings, null, null), p_plan, p_pin) $$;

create type hangar.found_target as (
  row_id uuid, user_id uuid, app text, tier text, wave integer, place integer, was_unhealthy boolean, left_out text
);

-- Every app that the release concerns, in its order, with the wave, or with the reason why it is left out. Reads without locks. It looks at
-- the whole fleet: whoever needs the answer twice keeps it.
create function hangar.find_targets(p_release hangar.releases) returns setof hangar.found_target
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_settings hangar.settings;
begin
  select * into strict v_settings from hangar.settings;
  return query
  with chosen as (
    select a.id, a.user_id, a.fly_app_name, a.tier, a.machine_region, coalesce(a.health_status = 'unhealthy' and not hangar.was_token_refused(a), false) as ill,
           a.status = 'active' and a.observed_generation = a.generation and a.machine_state = 'started'
             and a.health_status is distinct from 'unhealthy' as steady,
           -- Other users come first in another release, and a dry run shows the same order as the release.
           md5(coalesce(p_release.image, '') || coalesce(p_release.region, '') || p_release.env::text || a.user_id::text) as hash,
           a.user_id = any (p_release.canary_users) as named,
           case when n.held_back_until > v_now then 'held_back'
                when hangar.is_pinned(n, p_release) then 'pinned'
                when p_release.region is not null and a.power = 'on_demand' then 'on_demand'
                when exists (select 1 from hangar.release_targets t join hangar.releases r on r.id = t.release_id
                              where t.row_id = a.id and r.id is distinct from p_release.id and r.state in ('rolling', 'paused', 'rolling_back')
                                and t.state in ('pending', 'applying', 'verifying', 'failed')) then 'other_release'
                when p_release.kind = 'machine' and (p_release.image is null or hangar.runs_image(a, p_release.image, p_release.image_digest))
                 and (select (s.spec).cpu_kind = a.cpu_kind and (s.spec).cpu_count = a.cpu_count and (s.spec).memory_mb = a.memory_mb
                             and (s.spec).env_version is not distinct from a.env_version and (s.spec).region = a.region
                             and (p_release.region is null or not hangar.needs_move(a, p_release.region)) from hangar.release_spec(p_release, a) s)
                 -- A size that only an ended pin has left is not one that a release has given.
                 and (select (w.cpu_kind, w.cpu_count, w.memory_mb) = (a.cpu_kind, a.cpu_count, a.memory_mb)
                        from hangar.without_pin(a, hangar.spec_of(a), true) w) then 'already'
           end as left_out
      from public.user_fly_apps a
      left join hangar.user_pins n on n.user_id = a.user_id and (n.ends_at is null or n.ends_at > v_now)
      left join public.fly_plans p on p.tier = a.tier
     where a.deleted_at is null and a.desired_state = 'present'
       and (p_release.tiers is null or a.tier = any (p_release.tiers))
       and (p_release.regions is null or coalesce(a.machine_region, a.region) = any (p_release.regions))
       and (p_release.users is null or a.user_id = any (p_release.users))
       and (p_release.kind <> 'plan' or hangar.differs_from(a, hangar.plan_spec(p_release, p, v_settings), p, n))
  ), shared as (
    -- A share of few apps is at least one app. What pins or holds back an app does not use the share up.
    select c.*, row_number() over (order by c.left_out is null or c.left_out = 'already' desc, c.hash)
                <= ceil(p_release.share * count(*) filter (where c.left_out is null or c.left_out = 'already') over ()) as drawn from chosen c
  ), ranked as (
    -- The first of each tier and region come before the second of any, so that an early wave meets every kind.
    select s.*, row_number() over (partition by s.steady, s.tier, s.machine_region order by s.hash) as nr
      from shared s where s.left_out is null and (s.drawn or coalesce(s.named, false))
  ), placed as (
    select r.*, row_number() over (order by coalesce(r.named, false) desc, r.steady desc, r.nr, r.hash) as place,
           count(*) over () as total, count(*) filter (where r.named) over () as named_total
      from ranked r
  ), sized as (
    -- A named canary who has left since is replaced: no release begins without one.
    select p.*, least(p.total, case when p_release.canary_users is null then p_release.canary_size else greatest(1, p.named_total) end) as canaries
      from placed p
  )
  select z.id, z.user_id, z.fly_app_name, z.tier,
         case when z.place <= z.canaries then 0
              else (select min(w.nr)::integer from unnest(p_release.wave_shares) with ordinality w (share, nr)
                     where z.place <= z.canaries + ceil((z.total - z.canaries) * w.share)) end,
         z.place::integer, z.ill, null::text
    from sized z
  union all
  select s.id, s.user_id, s.fly_app_name, s.tier, null, null, s.ill, s.left_out from shared s where s.left_out is not null
  order by 6, 3;
end
$$;

select hangar.restrict_functions();
