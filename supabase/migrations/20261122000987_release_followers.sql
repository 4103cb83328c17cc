-- Users who have what a release brought although the release did not move their app: their plan gave it to them. A rollback brings them back too.
-- Builds on: release_adoption, release_plans_back, release_waves.

-- The machine and environment of each plan that this release has changed, as they are now: {"pro": {"spec", "env"}}.
create function hangar.plan_machines(p_release hangar.releases) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_object_agg(p.tier, pg_catalog.jsonb_build_object('spec', pg_catalog.to_jsonb(s), 'env', p.env)), '{}')
    from public.fly_plans p cross join hangar.settings g cross join lateral hangar.spec_for(p, g, null, null) s
   where p_release.adopted_from -> 'plans' ? p.tier
$$;

-- What an app would have if it followed its plan from what that said before a rollback to what it says now: only what the app has from the
-- plan, and only what the rollback has changed. Without a pin.
create function hangar.follow_plan(p_row public.user_fly_apps, p_given hangar.user_specs, p_from hangar.machine_spec, p_to hangar.machine_spec)
returns hangar.machine_spec
language plpgsql stable set search_path = ''
as $$
declare
  v_spec hangar.machine_spec := hangar.without_pin(p_row, hangar.spec_of(p_row));
begin
  if p_given.image is null and p_from.docker_image is distinct from p_to.docker_image and hangar.has_same_image(v_spec.docker_image, p_from.docker_image) then
    v_spec.docker_image := p_to.docker_image;
  end if;
  if p_given.region is null and v_spec.region = p_from.region and p_row.power = 'always_on' then
    v_spec.region := p_to.region;
  end if;
  if p_given.cpu_count is null and not hangar.has_same_size(p_from, p_to) and hangar.has_same_size(v_spec, p_from) then
    v_spec := hangar.with_size_of(v_spec, p_to);
  end if;
  return v_spec;
end
$$;

-- Makes this app a target that goes back to that machine. A user who has left and returned keeps the one target, with the new app.
create function hangar.recall_follower(p_release hangar.releases, p_row public.user_fly_apps, p_given hangar.user_specs, p_spec hangar.machine_spec)
returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_previous jsonb;
begin
  update hangar.release_targets t set row_id = p_row.id
    from public.user_fly_apps a
   where t.release_id = p_release.id and t.user_id = p_row.user_id and a.id = t.row_id and a.deleted_at is not null
     and not exists (select 1 from hangar.release_targets o where o.release_id = t.release_id and o.row_id = p_row.id);
  v_previous := jsonb_build_object('tier', p_row.tier, 'spec', to_jsonb(p_spec), 'given', case when p_given.user_id is not null then to_jsonb(p_given) end,
    'gave', to_jsonb(hangar.without_pin(p_row, hangar.spec_of(p_row))), 'image', p_spec.docker_image)
    -- The image by the digest that the others ran, wherever its tag points by now.
    || coalesce((select jsonb_build_object('digest', t.previous ->> 'digest', 'seen_digest', max(t.previous ->> 'seen_digest'))
                   from hangar.release_targets t
                  where t.release_id = p_release.id and t.previous ->> 'digest' is not null
                    and hangar.has_same_image(t.previous -> 'spec' ->> 'docker_image', p_spec.docker_image)
                    and coalesce(nullif(split_part(p_spec.docker_image, '@', 2), ''), t.previous ->> 'digest') = t.previous ->> 'digest'
                  group by t.previous ->> 'digest' order by count(*) desc limit 1), '{}');
  insert into hangar.release_targets as t (release_id, row_id, user_id, wave, place, state, must_go_back, previous, generation)
  values (p_release.id, p_row.id, p_row.user_id, p_release.wave, 0, 'done', true, v_previous, p_row.generation)
  on conflict (release_id, row_id) do update
    set state = 'done', must_go_back = true, goes_back = false, ends_as = 'reverted', previous = excluded.previous, generation = excluded.generation,
        reason_code = null, reason = null;
  update hangar.release_targets t
     set place = (select max(o.place) + 1 from hangar.release_targets o where o.release_id = p_release.id)
   where t.release_id = p_release.id and t.row_id = p_row.id and t.place = 0;
end
$$;

-- After plans and settings have got their former values back: every app that has the release's values from its plan follows it back: of users
-- who joined, returned or changed the plan since. p_were: what hangar.plan_machines said before. What a later release has given them stays.
create function hangar.recall_followers(p_release hangar.releases, p_were jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_found record;
  v_row public.user_fly_apps;
  v_from hangar.machine_spec;
  v_spec hangar.machine_spec;
  v_wanted hangar.machine_spec;
begin
  if p_were = '{}' then
    return;
  end if;
  for v_found in
    select a as app_row, y as given, n as pin, p as plan, s as spec
      from public.user_fly_apps a
      join public.fly_plans p on p.tier = a.tier
      cross join hangar.settings g
      cross join lateral hangar.spec_for(p, g, null, null) s
      left join hangar.user_specs y on y.user_id = a.user_id
      left join hangar.user_pins n on n.user_id = a.user_id and (n.ends_at is null or n.ends_at > hangar.now())
     where p_were ? a.tier and a.deleted_at is null and a.desired_state = 'present'
       and not exists (select 1 from hangar.release_targets t
                        where t.release_id = p_release.id and t.row_id = a.id
                          and (t.goes_back or t.must_go_back and a.tier is not distinct from t.previous ->> 'tier'))
     order by a.fly_app_name
  loop
    v_row := v_found.app_row;
    v_from := jsonb_populate_record(null::hangar.machine_spec, p_were -> v_row.tier -> 'spec');
    v_spec := hangar.follow_plan(v_row, v_found.given, v_from, v_found.spec);
    v_wanted := hangar.with_pin(v_spec, v_found.pin);
    if p_were -> v_row.tier -> 'env' <> (v_found.plan).env then
      v_wanted.env_version := hangar.env_version(hangar.env_for(v_found.plan, v_found.given, v_found.pin));
    end if;
    if v_wanted is distinct from hangar.spec_of(v_row) then
      perform hangar.recall_follower(p_release, v_row, v_found.given, v_spec);
    end if;
  end loop;
end
$$;

select hangar.restrict_functions();
