-- What no single error shows: an app that is repaired again and again, apps that have been in progress for too long, and sweeps that
-- start but do not come to their end.
-- Builds on: audit_log, alerts.

-- Every save calls this, so it counts only if a repair is among the saved events. A row in error has an alert of its own.
create function hangar.check_crash_loop(p_row public.user_fly_apps, p_events jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_repairs bigint;
begin
  if p_row.desired_state <> 'present' or p_row.status = 'error'
     or not (p_events @> '[{"event_type": "action", "status": "succeeded", "metadata": {"purpose": "repair"}}]'
             or p_events @> '[{"event_type": "action", "status": "succeeded", "metadata": {"purpose": "replace"}}]') then
    return;
  end if;
  v_repairs := hangar.count_repairs(p_row.id);
  if v_repairs >= 3 then
    perform hangar.raise_alert('crash_loop', p_row.id::text,
      format('The app %s of user %s does not stay up: it was repaired %s times within the last hour, and Hangar continues to repair it. '
        'Read why it ends in its own output: `hangar logs %s`. See what was done: `hangar events --app %s --since 2h`, and what is next: '
        '`hangar explain %s`. The alert resolves when the app has been steady for an hour',
        p_row.fly_app_name, p_row.user_id, v_repairs, p_row.user_id, p_row.fly_app_name, p_row.user_id),
      jsonb_build_object('user_id', p_row.user_id, 'app', p_row.fly_app_name, 'repairs', v_repairs));
  end if;
end
$$;

-- Steady: no longer desired, or neither repaired within the last hour nor unhealthy.
create function hangar.resolve_crash_loops() returns void
language sql volatile set search_path = ''
as $$
  update hangar.alerts l set resolved_at = hangar.now()
   where l.kind = 'crash_loop' and l.resolved_at is null
     and not exists (
       select 1 from public.user_fly_apps a
        where a.id::text = l.key and a.deleted_at is null and a.desired_state = 'present'
          and (a.health_status = 'unhealthy' or hangar.count_repairs(a.id) > 0))
$$;

-- Rows that have been in progress for an hour although nothing holds them: no failure (it has an alert of its own), no grace, no pause,
-- no brake, no cap, no delete slot. A change of the settings, and the end of what held them, start the hour again, unless p_known: then
-- the rows are stalled already, and remain so. A change in the future (the clock was set back) does not count. At most p_limit rows.
create function hangar.find_stalled(p_known boolean, p_limit integer) returns setof public.user_fly_apps
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_settings hangar.settings;
  v_held text[];
  v_freed timestamptz;
  v_last_hour tstzrange := tstzrange(v_now - interval '1 hour', v_now, '(]');
begin
  select * into strict v_settings from hangar.settings;
  select coalesce(array_agg(distinct l.kind) filter (where l.resolved_at is null), '{}'), max(l.resolved_at) into v_held, v_freed
    from hangar.alerts l where l.kind in ('brake', 'max_apps', 'max_cost', 'installation');
  if v_settings.paused or 'installation' = any (v_held) or not p_known and (v_last_hour @> v_settings.updated_at or v_last_hour @> v_freed) then
    return;
  end if;
  return query
    select a.* from public.user_fly_apps a
     where a.deleted_at is null and a.status <> 'error' and a.desired_state <> 'legacy'
       and (a.status in ('provisioning', 'deprovisioning') or a.observed_generation is distinct from a.generation)
       and greatest(a.created_at, a.delete_after, a.delete_turn_at) <= v_now - interval '1 hour'
       and case a.desired_state
             when 'absent' then not (v_settings.deletes_paused or 'brake' = any (v_held))
             else not v_held && array['max_apps', 'max_cost']
                  or a.deployed_at is not null and a.monthly_cost_estimate_usd <= a.admitted_cost_usd end
       and not exists (
         select 1 from public.user_fly_app_events e
          where e.fly_app_id = a.id and e.created_at > v_now - interval '1 hour' and e.event_type = 'desired_changed')
     order by a.next_attempt_at, a.id limit p_limit;
end
$$;

create function hangar.check_stalled() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_counted constant integer := 1000;  -- a large fleet in an outage must not be counted to the end
  v_stalled bigint;
  v_some text;
begin
  select count(*), string_agg(format('%s (user %s)', s.fly_app_name, s.user_id), ', ') filter (where s.nr <= 3)
    into v_stalled, v_some
    from (select f.*, row_number() over () as nr from hangar.find_stalled(exists (
            select 1 from hangar.alerts l where l.kind = 'provisioning_slow' and l.resolved_at is null), v_counted + 1) f) s;
  if v_stalled = 0 then
    perform hangar.resolve_alert('provisioning_slow', 'fleet');
    return;
  end if;
  perform hangar.raise_alert('provisioning_slow', 'fleet',
    format('%s app(s) have been in progress for more than an hour, although none has failed and nothing holds them: %s%s. '
      'See what one of them waits for: `hangar explain USER`. If `hangar status` shows that many are due, nothing works on them: check '
      'what calls health every minute, and run `hangar sweep`',
      case when v_stalled > v_counted then 'More than ' || v_counted else v_stalled::text end, v_some, case when v_stalled > 3 then ', …' else '' end),
    jsonb_build_object('apps', least(v_stalled, v_counted)));
end
$$;

-- Called when a sweep starts, because one that is killed in its middle reaches no other place. An alert about Fly itself already says why
-- no sweep is complete.
create function hangar.check_unfinished_sweeps(p_sweep hangar.sweeps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_says text := nullif(p_sweep.report ->> 'detail', '');
begin
  if p_sweep.unfinished <= 3 or p_sweep.unfinished_since > hangar.now() - interval '15 minutes'
     or exists (select 1 from hangar.alerts l where l.resolved_at is null
                  and (l.kind = 'fly_unreachable' or l.kind = 'fly_refused' and l.metadata ? 'listing')) then
    return;
  end if;
  perform hangar.raise_alert('sweep_unfinished', p_sweep.name,
    format('%s sweeps have started since %s UTC, and none has looked at the whole fleet: health is not judged everywhere, and orphans and '
      'drift are not found. %s. Read the log of the function health from a sweep''s start to its end, and compare its time limit with '
      'CLOUD_RUN_TIMEOUT_SECONDS',
      p_sweep.unfinished - 1, to_char(p_sweep.unfinished_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
      case when p_sweep.finished_at >= p_sweep.unfinished_since then coalesce('The newest report says: ' || v_says, 'An error ended the one that reported last')
        else 'None of them has reported: the function was killed, or could not reach the database' end),
    jsonb_build_object('sweeps', p_sweep.unfinished - 1, 'since', p_sweep.unfinished_since));
end
$$;

select hangar.restrict_functions();
