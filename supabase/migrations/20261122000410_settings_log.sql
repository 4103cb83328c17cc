-- Every change of the settings is in the audit log, also one made by plain SQL. Only what stops Hangar takes effect without an entry.
-- Builds on: access (the actor), audit_log, alerts.

-- What an operator has stopped while the log could not be written: an alert keeps who, when and why until a sweep can record it.
create function hangar.note_unrecorded_stop(p_event jsonb, p_error text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  raise warning 'Hangar: a stop is in force without an entry in the audit log (%): %', p_error, p_event;
  insert into hangar.alerts as a (kind, key, message, metadata)
  values ('log_unwritable', 'settings',
    format('%s stopped Hangar (%s), and the audit log could not be written: %s. The stop is in force. Hangar adds the entry with the next '
      'sweep that can write the log; before that it changes nothing on Fly, because every change needs an entry first. Look at the '
      'table public.user_fly_app_events: its triggers, its locks, and the disk of the database',
      p_event ->> 'actor', (select string_agg(replace(k, '_', ' '), ', ' order by k) from jsonb_object_keys(p_event -> 'changes') k), p_error),
    jsonb_build_object('entries', jsonb_build_array(p_event), 'error', p_error))
  on conflict (kind, key) where resolved_at is null
  do update set seen_at = hangar.now(), times = a.times + 1, message = excluded.message,
                metadata = excluded.metadata || jsonb_build_object('entries', (a.metadata -> 'entries') || p_event);
exception when others then
  raise warning 'Hangar: no alert could be raised about it either: %', sqlerrm;
end
$$;

-- Called before the next change of the settings is recorded, so that the log keeps their order, and at the end of each sweep.
create function hangar.record_late_stops() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_alert hangar.alerts;
begin
  for v_alert in select * from hangar.alerts l where l.kind = 'log_unwritable' and l.key = 'settings' and l.resolved_at is null for update loop
    insert into public.user_fly_app_events (event_type, status, metadata)
    select 'settings_changed', 'info', e.entry from jsonb_array_elements(v_alert.metadata -> 'entries') with ordinality e (entry, nr) order by e.nr;
    update hangar.alerts set resolved_at = hangar.now() where id = v_alert.id;
  end loop;
exception when others then
  -- The sweep itself has written nothing to the log and may end. The alert stays for the next one.
  raise warning 'Hangar: the audit log still cannot be written: %', sqlerrm;
end
$$;

-- The limit counts for plain SQL, too: a stop waits no longer than this for a lock of the log.
create function hangar.record_settings_change() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_changes jsonb;
  v_event jsonb;
begin
  select jsonb_object_agg(n.key, jsonb_build_object('from', o.value, 'to', n.value))
    into v_changes
    from jsonb_each(to_jsonb(new) - 'updated_at') n
    join jsonb_each(to_jsonb(old)) o using (key)
   where n.value is distinct from o.value;
  if v_changes is null then
    return null;
  end if;
  v_event := hangar.actor_json() || jsonb_build_object('changes', v_changes);
  perform hangar.record_late_stops();
  insert into public.user_fly_app_events (event_type, status, metadata) values ('settings_changed', 'info', v_event);
  return null;
exception when others then
  -- An operator who stops Hangar at night must not be refused because the log is locked or broken. Every other change waits for the log.
  if v_event is null or exists (
    select 1 from jsonb_each(v_changes) c where c.key not in ('paused', 'deletes_paused') or c.value -> 'to' <> 'true') then
    raise;
  end if;
  perform set_config('hangar.unrecorded', sqlerrm, true);
  perform hangar.note_unrecorded_stop(v_event || jsonb_build_object('changed_at', hangar.now()), sqlerrm);
  return null;
end
$$;
create trigger record_settings_change after update on hangar.settings
  for each row execute function hangar.record_settings_change();

select hangar.restrict_functions();
