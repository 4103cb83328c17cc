-- What everybody sees of releases: waves, targets, reasons, and how many apps differ from their plan.
-- Builds on: release_plan.

create function hangar.wave_counts(p_id integer) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('wave', w.wave, 'size', w.size, 'done', w.done, 'failed', w.failed,
           'pending', w.pending, 'moving', w.moving, 'skipped', w.skipped, 'reverted', w.reverted, 'not_back', w.not_back,
           'to_go_back', w.to_go_back) order by w.wave), '[]')
    from (select t.wave, count(*) as size, count(*) filter (where t.state = 'done' and not t.must_go_back) as done, count(*) filter (where t.failed_at is not null) as failed,
                 count(*) filter (where t.state = 'failed' and not t.must_go_back and not t.goes_back) as not_back,
                 count(*) filter (where t.must_go_back) as to_go_back,
                 count(*) filter (where t.state = 'pending') as pending, count(*) filter (where t.state in ('applying', 'verifying')) as moving,
                 count(*) filter (where t.state = 'skipped') as skipped, count(*) filter (where t.state = 'reverted') as reverted
            from hangar.release_targets u cross join lateral hangar.see_target(u) t
           where u.release_id = p_id and not (u.state = 'skipped' and u.place = 0) group by t.wave) w
$$;

create function hangar.target_json(p_release hangar.releases, p_target hangar.release_targets) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('app', a.fly_app_name, 'user_id', p_target.user_id,
      'wave', case when p_target.place > 0 then p_target.wave end, 'state', t.state, 'goes_back', p_target.goes_back or p_target.must_go_back,
      'running', coalesce(a.observed_spec ->> 'image', a.docker_image)
                 || case when coalesce(a.observed_spec ->> 'image', a.docker_image) like '%@%' then ''
                         else coalesce('@' || nullif(a.observed_spec ->> 'image_digest', ''), '') end,
      'previous', p_target.previous ->> 'image',
      'should_run', a.docker_image, 'region', a.machine_region, 'previous_region', p_target.previous ->> 'machine_region',
      'should_run_in', a.region, 'code', coalesce(p_target.reason_code, w.code),
      'reason', coalesce(
         nullif(pg_catalog.concat_ws('. Not back yet: ', coalesce(t.reason, case when p_target.goes_back then p_target.reason_code end),
           case when p_target.goes_back then coalesce(a.error_message, p_target.look_reason) end), ''),
         case when p_target.reason_code is null then w.reason end, p_target.reason_code, w.code))
    from public.user_fly_apps a cross join lateral hangar.see_target(p_target) t cross join lateral hangar.find_wait(p_release, p_target, a) w
   where a.id = p_target.row_id
$$;

create function hangar.release_json(p_release hangar.releases, p_targets integer default 0, p_offset integer default 0) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
      'id', p_release.id, 'kind', p_release.kind, 'wave', p_release.wave,
      'changes', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('region', p_release.region, 'image', p_release.image, 'image_digest', p_release.image_digest,
        'cpu_kind', p_release.cpu_kind, 'cpu_count', p_release.cpu_count, 'memory_mb', p_release.memory_mb, 'version', p_release.version,
        -- Names only: a value may be somebody's secret.
        'env', case when p_release.env <> '{}' then (select pg_catalog.jsonb_agg(k order by k) from pg_catalog.jsonb_object_keys(p_release.env) k) end)),
      'selection', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('tiers', p_release.tiers, 'regions', p_release.regions,
        'users', p_release.users, 'share', nullif(p_release.share, 1))),
      'canary', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('users', p_release.canary_users, 'size', p_release.canary_size)),
      'wave_shares', p_release.wave_shares, 'soak_s', p_release.soak_s, 'deadline_s', p_release.deadline_s, 'max_moving', p_release.max_moving,
      'moving_share', p_release.moving_share, 'failure_share', p_release.failure_share, 'held_by', p_release.held_by, 'reason', p_release.reason,
      'why', p_release.why, 'created_by', p_release.created_by, 'created_at', p_release.created_at, 'started_at', p_release.started_at,
      'ended_at', p_release.ended_at, 'kept', p_release.kept))
    || pg_catalog.jsonb_build_object('state', p_release.state, 'waves', hangar.wave_counts(p_release.id),
      'back', (select count(*) from hangar.release_targets t where t.release_id = p_release.id and (t.goes_back or t.must_go_back)),
      'targets', coalesce((select pg_catalog.jsonb_agg(hangar.target_json(p_release, t) order by t.place = 0, t.place, t.row_id)
        from (select u.* from hangar.release_targets u where u.release_id = p_release.id order by u.place = 0, u.place, u.row_id
               limit p_targets offset p_offset) t), '[]'))
$$;

create function public.fly_release(p_id integer, p_targets integer default 1000, p_offset integer default 0) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  perform hangar.check_limit('p_targets', p_targets, 10000);
  if p_offset is null or p_offset < 0 then
    raise exception 'p_offset must be 0 or more, not %', coalesce(p_offset::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
  select r.* into v_release from hangar.releases r where r.id = p_id;
  if v_release.id is null then
    raise exception 'there is no release %. Releases: %', coalesce(p_id::text, 'null'),
      coalesce((select string_agg(x.id::text, ', ') from (select r.id from hangar.releases r order by r.id desc limit 10) x), 'none')
      using errcode = 'invalid_parameter_value';
  end if;
  return hangar.release_json(v_release, p_targets, p_offset);
end
$$;
comment on function public.fly_release(integer, integer, integer) is 'One release: waves, targets by state, reasons. docs/database.md.';

-- The release under way that concerns one app, and how far the app has come in it; null if there is none. `left_out`: it does not move the app.
create function hangar.user_release_json(p_row public.user_fly_apps) returns jsonb
language sql stable set search_path = ''
as $$
  select hangar.target_json(r, t) || pg_catalog.jsonb_build_object('id', r.id, 'release_state', r.state, 'held_by', r.held_by, 'left_out', t.place = 0)
    from hangar.release_targets t join hangar.releases r on r.id = t.release_id
   where t.row_id = p_row.id and r.state in ('rolling', 'paused', 'rolling_back')
   order by t.place = 0, r.id desc limit 1
$$;

-- How many apps (of one tier; null: of all) desire another machine than their plan describes, with three examples. Users with a pinned image
-- or size, or who are held back, are meant to differ. hangar.differs_from decides. It takes 30 microseconds an app, so what a comparison of
-- columns shows for certain is not asked: a row that is as the plan says, and one that differs in more than the image.
create function hangar.count_differing(p_tier text default null) returns jsonb
language sql stable set search_path = ''
as $$
  with wanted as materialized (
    select p, s as spec, s.region, s.docker_image, s.cpu_kind, s.cpu_count, s.memory_mb, s.power, s.public_service, s.env_version
      from public.fly_plans p cross join hangar.settings g cross join lateral hangar.spec_for(p, g, null, null) s)
  select pg_catalog.jsonb_build_object('apps', pg_catalog.count(*), 'examples', coalesce(pg_catalog.jsonb_agg(d.fly_app_name order by d.fly_app_name) filter (where d.nr <= 3), '[]'))
    from (select a.fly_app_name, row_number() over (order by a.fly_app_name) as nr
            from public.user_fly_apps a
            join wanted w on (w.p).tier = a.tier
            left join hangar.user_pins n on n.user_id = a.user_id and (n.ends_at is null or n.ends_at > hangar.now())
           where a.deleted_at is null and a.desired_state = 'present' and (p_tier is null or a.tier = p_tier)
             and n.image is null and n.cpu_count is null and coalesce(n.held_back_until <= hangar.now(), true)
             and case when n.user_id is not null then hangar.differs_from(a, w.spec, w.p, n)
                      when (a.region, a.cpu_kind, a.cpu_count, a.memory_mb, a.power, a.public_service, a.env_version)
                           is distinct from (w.region, w.cpu_kind, w.cpu_count, w.memory_mb, w.power, w.public_service, w.env_version) then true
                      when a.docker_image = w.docker_image and (a.machine_region is null or a.machine_region = w.region) then false
                      else hangar.differs_from(a, w.spec, w.p, n) end) d
$$;

create function public.fly_releases(p_limit integer default 20) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  return jsonb_build_object(
    'releases', coalesce((select jsonb_agg(hangar.release_json(r) order by r.id desc)
                            from (select x.* from hangar.releases x order by x.id desc limit p_limit) r), '[]'),
    'differ', hangar.count_differing());
end
$$;
comment on function public.fly_releases(integer) is 'The latest releases, and how many apps differ from their plan. docs/database.md.';

select hangar.restrict_functions();
