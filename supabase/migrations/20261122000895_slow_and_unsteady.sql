-- What no error tells of: an app that is mended again and again, and one that is on its way for too long.

-- How often this app was mended within the last hour: calls to Fly that succeeded, by the audit log.
create function hangar.count_repairs(p_app uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*) from public.user_fly_app_events e
   where e.fly_app_id = p_app and e.created_at > hangar.now() - interval '1 hour'
     and e.event_type = 'action' and e.status = 'succeeded' and e.metadata ->> 'purpose' in ('repair', 'replace')
$$;

-- Called by every save, so it counts only when a repair is among the events. A row in error has an alert of its own.
create function hangar.tell_crash_loop(p_row public.user_fly_apps, p_events jsonb) returns void
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
      format('The app %s of user %s does not stay up: it was repaired %s times within the last hour, and Hangar goes on repairing it. '
        'Why it ends is in its own output: `fly logs -a %s`; what was done: `hangar events --app %s --since 2h`; what is next: '
        '`hangar explain %s`. The alert ends by itself once the app has been steady for an hour',
        p_row.fly_app_name, p_row.user_id, v_repairs, p_row.fly_app_name, p_row.fly_app_name, p_row.user_id),
      jsonb_build_object('user_id', p_row.user_id, 'app', p_row.fly_app_name, 'repairs', v_repairs));
  end if;
end
$$;

-- Steady: wanted no more, or neither mended within an hour nor unhealthy.
create function hangar.end_crash_loops() returns void
language sql volatile set search_path = ''
as $$
  update hangar.alerts l set resolved_at = hangar.now()
   where l.kind = 'crash_loop' and l.resolved_at is null
     and not exists (
       select 1 from public.user_fly_apps a
        where a.id::text = l.key and a.deleted_at is null and a.desired_state = 'present'
          and (a.health_status = 'unhealthy' or hangar.count_repairs(a.id) > 0))
$$;

-- Rows that have been in between for an hour although nothing holds them: no failure (it has its own alert), no grace, no pause, no brake,
-- no cap, no turn among deletions. A change of the settings, and the end of what held them, begin the hour anew; one in the future (a clock
-- set back) is none.
create function hangar.find_slow() returns setof public.user_fly_apps
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_settings hangar.settings;
  v_held text[];
  v_freed timestamptz;
  v_anew tstzrange := tstzrange(v_now - interval '1 hour', v_now, '(]');
begin
  select * into strict v_settings from hangar.settings;
  select coalesce(array_agg(distinct l.kind) filter (where l.resolved_at is null), '{}'), max(l.resolved_at) into v_held, v_freed
    from hangar.alerts l where l.kind in ('brake', 'max_apps', 'max_cost', 'installation');
  if v_settings.paused or 'installation' = any (v_held) or v_anew @> v_settings.updated_at or v_anew @> v_freed then
    return;
  end if;
  return query
    select a.* from public.user_fly_apps a
     where a.deleted_at is null and a.status <> 'error'
       and (a.status in ('provisioning', 'deprovisioning') or a.observed_generation is distinct from a.generation)
       and greatest(a.created_at, a.delete_after, a.delete_turn_at) <= v_now - interval '1 hour'
       and case a.desired_state
             when 'absent' then not (v_settings.deletes_paused or 'brake' = any (v_held))
             else a.deployed_at is not null or not v_held && array['max_apps', 'max_cost'] end
       and not exists (
         select 1 from public.user_fly_app_events e
          where e.fly_app_id = a.id and e.created_at > v_now - interval '1 hour' and e.event_type = 'desired_changed')
     order by a.next_attempt_at, a.id;
end
$$;

create function hangar.tell_slow() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_slow bigint;
  v_some text;
begin
  select count(*), string_agg(format('%s (user %s)', s.fly_app_name, s.user_id), ', ') filter (where s.nr <= 3)
    into v_slow, v_some
    from (select f.*, row_number() over () as nr from hangar.find_slow() f) s;
  if v_slow = 0 then
    update hangar.alerts set resolved_at = hangar.now() where kind = 'provisioning_slow' and key = 'fleet' and resolved_at is null;
    return;
  end if;
  perform hangar.raise_alert('provisioning_slow', 'fleet',
    format('%s app(s) have been on the way for more than an hour, although none has failed and nothing holds them: %s%s. '
      'What one of them waits for: `hangar explain USER`. If many are due (`hangar status`), nobody drains: look at what calls '
      'health every minute, and run `hangar sweep`', v_slow, v_some, case when v_slow > 3 then ', …' else '' end),
    jsonb_build_object('apps', v_slow));
end
$$;

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
