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

-- Resolves the alerts about a row's failure: it has recovered, or what failed is no longer desired.
create function hangar.resolve_failure_alerts(p_row_id uuid) returns void
language sql volatile set search_path = ''
as $$
  update hangar.alerts set resolved_at = hangar.now()
   where key = p_row_id::text and kind in ('provision_failed', 'deprovision_failed') and resolved_at is null
$$;

-- Keeps the alert about a row's failure in step with the row. It runs in the save's transaction, so a crash cannot separate the two.
create function hangar.sync_failure_alert(p_row public.user_fly_apps, p_moved boolean, p_patch jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  if not p_moved and p_patch ->> 'status' = 'error' then
    perform hangar.raise_alert(
      case p_row.desired_state when 'present' then 'provision_failed' else 'deprovision_failed' end, p_row.id::text,
      format('%s failed for user %s (app %s): %s; %s',
        case p_row.desired_state when 'present' then 'Provisioning' else 'Deprovisioning' end, p_row.user_id, p_row.fly_app_name,
        p_row.error_message, case when p_row.next_attempt_at is null then 'Hangar does not retry it, an operator must act'
          else 'the next attempt is at ' || to_char(p_row.next_attempt_at at time zone 'UTC', 'HH24:MI:SS "UTC"') end),
      jsonb_build_object('user_id', p_row.user_id, 'error_code', p_row.error_code, 'retry_count', p_row.retry_count));
  elsif p_row.error_code is null or p_row.deleted_at is not null then
    perform hangar.resolve_failure_alerts(p_row.id);
  end if;
end
$$;

create function public.fly_raise_alert(p_kind text, p_key text, p_message text, p_metadata jsonb default '{}') returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('new', r.fresh, 'id', r.id)
    from hangar.raise_alert(p_kind, p_key, p_message, p_metadata) r
$$;
comment on function public.fly_raise_alert(text, text, text, jsonb) is 'Opens an alert and stores its messages in the outbox. `new` is true only for the first of a kind and key. docs/database.md.';

create function public.fly_resolve_alert(p_kind text, p_key text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  return jsonb_build_object('resolved', hangar.resolve_alert(p_kind, p_key));
end
$$;
comment on function public.fly_resolve_alert(text, text) is 'Closes an open alert. docs/database.md.';

select hangar.restrict_functions();
