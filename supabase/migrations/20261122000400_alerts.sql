-- Alerts: one open alert per kind and key. The database alone decides whether one opens or resolves, also when a function asks for it;
-- `outbox` stores their messages.
-- Builds on: tables, audit_log.

-- Opens an alert, or counts one more sighting of the open one. `fresh` is true if it is new.
create function hangar.raise_alert(p_kind text, p_key text, p_message text, p_metadata jsonb default '{}', out fresh boolean, out id uuid)
language plpgsql volatile set search_path = ''
as $$
begin
  insert into hangar.alerts as a (kind, key, message, metadata) values (p_kind, p_key, p_message, coalesce(p_metadata, '{}'))
  on conflict (kind, key) where resolved_at is null
  do update set seen_at = hangar.now(), times = a.times + 1, message = excluded.message, metadata = excluded.metadata
  returning a.times = 1, a.id into fresh, id;
  if fresh then
    insert into public.user_fly_app_events (event_type, status, metadata, error_details)
    values ('alert_raised', 'info', jsonb_build_object('kind', p_kind, 'key', p_key, 'alert_id', id), p_message);
  end if;
end
$$;

create function hangar.resolve_alert(p_kind text, p_key text) returns boolean
language plpgsql volatile set search_path = ''
as $$
begin
  update hangar.alerts set resolved_at = hangar.now() where kind = p_kind and key = p_key and resolved_at is null;
  return found;
end
$$;

select hangar.restrict_functions();
