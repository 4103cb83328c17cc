-- What a release may do now: what holds it, when its failures pause it, which apps go back and which move.
-- Builds on: release_progress, alerts, settings.

-- Why this release may move nothing now, as a code; null if it may. An incident that the release's own apps make up is no reason to wait:
-- it is judged, so that the release pauses. Apps whose tokens the project refuses are another incident.
create function hangar.find_release_hold(p_release hangar.releases) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_hold text;
begin
  v_hold := (select case when g.paused then 'paused' when g.deletes_paused then 'deletes_paused' end from hangar.settings g);
  if v_hold is null then
    select l.kind into v_hold from hangar.alerts l
     where l.resolved_at is null and l.kind in ('installation', 'fly_unreachable', 'fly_refused', 'brake', 'incident')
     order by array_position(array['installation', 'fly_unreachable', 'fly_refused', 'brake', 'incident'], l.kind) limit 1;
  end if;
  if v_hold = 'incident' and (
    select count(*) filter (where t.row_id is not null and not hangar.was_token_refused(a))
             >= count(*) filter (where t.row_id is null or hangar.was_token_refused(a))
      from public.user_fly_apps a
      left join hangar.release_targets t on t.row_id = a.id and t.release_id = p_release.id and t.state in ('applying', 'verifying', 'done', 'failed')
     where a.deleted_at is null and a.desired_state = 'present'
       and (a.health_status = 'unhealthy' or a.bad_samples > 0 or a.status = 'error')) then
    v_hold := null;
  end if;
  return v_hold;
end
$$;

create function hangar.record_release(p_release hangar.releases, p_what text, p_actor text, p_detail text default null) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (event_type, status, metadata, error_details)
  values ('release_changed', 'info', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('release', p_release.id, 'state', p_release.state,
    'wave', p_release.wave, 'what', p_what, 'actor', p_actor)), p_detail)
$$;

-- "1 app (app-a)", or "12 apps (for example app-a)".
create function hangar.format_apps(p_apps bigint, p_example text) returns text
language sql immutable set search_path = ''
as $$
  select case when p_apps = 1 then pg_catalog.format('1 app (%s)', p_example) else pg_catalog.format('%s apps (for example %s)', p_apps, p_example) end
$$;

-- The failures of a wave by reason, for people: "12 apps (for example app-a): the check ready is critical …". What each code means in general
-- is said by shared/domain/release_text.py.
create function hangar.describe_failures(p_release integer, p_wave integer) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.string_agg(pg_catalog.format('%s: %s', hangar.format_apps(f.apps, f.example), coalesce(f.reason, pg_catalog.replace(f.code, '_', ' '))), '; '
                               order by f.apps desc, f.code)
    from (select coalesce(t.reason_code, 'failed') as code, pg_catalog.count(*) as apps, pg_catalog.min(a.fly_app_name) as example,
                 pg_catalog.min(t.reason) as reason
            from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
           where t.release_id = p_release and t.wave = p_wave and t.failed_at is not null
           group by 1) f
$$;

-- Pauses the release by itself and tells the operator.
create function hangar.pause_release(
  p_release hangar.releases, p_wave integer, p_reason text, p_follows text, p_is_failure boolean default true
) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  update hangar.releases r set state = 'paused', held_by = null, held_since = null, reason = p_reason, failed_at = case when p_is_failure then hangar.now() end
   where r.id = p_release.id returning r.* into v_release;
  perform hangar.raise_alert('release_failed', v_release.id::text,
    format('Release %s has paused itself: %s. %s. Look at `hangar release status %s`. Then `hangar release abort %s` puts everything back, or '
      '`hangar release resume %s` tries again', v_release.id, v_release.reason, p_follows, v_release.id, v_release.id, v_release.id),
    jsonb_build_object('release', v_release.id, 'wave', p_wave));
  perform hangar.record_release(v_release, 'paused', 'hangar', v_release.reason);
  return v_release;
end
$$;

-- Pauses the release because of failures. After the canary or the first wave everything that it touched goes back; later only what failed.
create function hangar.pause_failed_release(p_release hangar.releases, p_wave integer) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
begin
  if p_release.wave <= 1 then
    update hangar.release_targets t set must_go_back = true
     where t.release_id = p_release.id and t.state in ('applying', 'verifying', 'done') and not t.goes_back;
    perform hangar.recall_users_who_left(p_release);
  end if;
  return hangar.pause_release(p_release, p_wave,
    format('%s failed: %s', case p_wave when 0 then 'the canary' else 'wave ' || p_wave end, hangar.describe_failures(p_release.id, p_wave)),
    case when p_release.wave <= 1 then 'Every app that it touched is put back' else 'The failed apps are put back' end
    || '; each runs its former version again as soon as Fly has updated it');
end
$$;

-- Whether the failures of some wave are more than the release allows: any in the canary, a share of the apps later. An app that was unhealthy
-- before does not count, until three apps have failed in the canary.
create function hangar.find_failed_wave(p_release hangar.releases) returns integer
language sql stable set search_path = ''
as $$
  select w.wave from (
    select t.wave, pg_catalog.count(*) as size,
           case when t.wave = 0 and pg_catalog.count(*) filter (where t.failed_at is not null) >= 3 then pg_catalog.count(*) filter (where t.failed_at is not null)
                else pg_catalog.count(*) filter (where t.failed_at is not null and not t.was_unhealthy) end as failed
      from hangar.release_targets t where t.release_id = p_release.id and t.wave <= p_release.wave group by t.wave) w
   where w.failed > case w.wave when 0 then 0 else pg_catalog.floor(p_release.failure_share * w.size) end
   order by w.wave limit 1
$$;

-- Whether an app on its way back waits for something that may end without Hangar, such as a host out of reach, a lease or a refusal of the
-- organisation. It may wait for an hour, and the other apps must not stay on the release for as long.
create function hangar.waits_for_others(p_target hangar.release_targets) returns boolean
language sql stable set search_path = ''
as $$
  select p_target.goes_back and (
    p_target.state = 'verifying' and coalesce(p_target.look_code in ('host_unreachable', 'unreadable', 'gone'), false)
    or exists (select 1 from public.user_fly_apps a where a.id = p_target.row_id
                  and (a.error_code is not null and not hangar.is_release_fault(a.error_code)
                       or p_target.state = 'applying' and a.error_code is null and hangar.is_out_of_reach(a))))
$$;

-- How many more apps may begin to move. An app that waits for its way back is not counted, for example one whose new region is full. Otherwise
-- it would occupy the very place that its way back needs. Nor is an app that waits for a token, or on its way back for something else.
create function hangar.count_release_room(p_release hangar.releases) returns integer
language sql stable set search_path = ''
as $$
  select greatest(0, least(p_release.max_moving, greatest(1, pg_catalog.floor(p_release.moving_share * pg_catalog.count(*))::integer))
                     - pg_catalog.count(*) filter (where t.state in ('applying', 'verifying') and not t.must_go_back
                                                    and not hangar.waits_for_token(t) and not hangar.waits_for_others(t))::integer)
    from hangar.release_targets t where t.release_id = p_release.id and (t.state <> 'skipped' or t.previous is not null)
$$;

create function hangar.put_back_targets(p_release hangar.releases, p_room integer) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets;
  v_moved integer := 0;
begin
  for v_target in
    select t.* from hangar.release_targets t
     where t.release_id = p_release.id and t.must_go_back order by t.row_id limit greatest(p_room, 0)
  loop
    v_moved := v_moved + hangar.put_back(p_release, v_target)::integer;
  end loop;
  return v_moved;
end
$$;

create function hangar.move_targets(p_release hangar.releases, p_room integer) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets;
  v_moved integer := 0;
begin
  for v_target in
    select t.* from hangar.release_targets t
     where t.release_id = p_release.id and t.wave = p_release.wave and t.state = 'pending' order by t.place limit 500
  loop
    exit when v_moved >= p_room;
    v_moved := v_moved + hangar.move_target(p_release, v_target)::integer;
  end loop;
  if p_room > 0 and v_moved = 0 and greatest(p_release.wave_began_at, (select max(t.applied_at) from hangar.release_targets t
       where t.release_id = p_release.id and t.wave = p_release.wave)) <= hangar.now() - make_interval(secs => (2 * p_release.deadline_s)::double precision) then
    -- What could not be moved for so long, although there was room, is not waited for; it is named. An image's own canary is no such wait.
    update hangar.release_targets t
       set state = 'skipped', reason_code = coalesce(a.error_code, case when hangar.was_token_refused(a) then 'token_refused' else 'busy' end),
           reason = coalesce(a.error_message, case when hangar.was_token_refused(a) then 'the project refused the app''s token for as long as its wave lasted' end,
                             'the app was busy or not running for as long as its wave lasted')
      from public.user_fly_apps a
     where a.id = t.row_id and t.release_id = p_release.id and t.wave = p_release.wave and t.state = 'pending'
       and (p_release.wave = 0 or not exists (select 1 from hangar.release_targets c
             where c.release_id = p_release.id and c.wave = 0 and c.state in ('applying', 'verifying')));
  end if;
  return v_moved;
end
$$;

select hangar.restrict_functions();
