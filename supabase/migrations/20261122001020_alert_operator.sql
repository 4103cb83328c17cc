-- What an operator does with alerts: list them with what is known about each, acknowledge one, snooze one.
-- Builds on: alert_handling, access (the actor), host_readers (e-mail addresses).

-- Who has acknowledged or snoozed an alert; null if nobody has, or the snooze is over.
create function hangar.alert_handling_json(p_alert uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('state', h.state, 'actor', h.actor, 'reason', h.reason, 'at', h.handled_at, 'until', h.until)
    from hangar.alert_handling h where h.alert_id = p_alert and (h.until is null or h.until > hangar.now())
$$;

-- How many of the open alerts are acknowledged, and how many snoozed.
create function hangar.count_handled_alerts() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('acknowledged', pg_catalog.count(*) filter (where h.state = 'acknowledged'),
      'snoozed', pg_catalog.count(*) filter (where h.state = 'snoozed' and h.until > hangar.now()))
    from hangar.alert_handling h join hangar.alerts l on l.id = h.alert_id and l.resolved_at is null
$$;

create function hangar.alert_json(p_alert hangar.alerts) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
begin
  if p_alert.key ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    select a.* into v_row from public.user_fly_apps a where a.id = p_alert.key::uuid;
  end if;
  return jsonb_build_object(
    'id', p_alert.id, 'kind', p_alert.kind, 'key', p_alert.key, 'message', p_alert.message, 'metadata', p_alert.metadata,
    'opened_at', p_alert.opened_at, 'seen_at', p_alert.seen_at, 'times', p_alert.times::text, 'told_at', p_alert.told_at,
    'user_id', v_row.user_id, 'app', v_row.fly_app_name, 'email', case when v_row.user_id is not null then hangar.user_email(v_row.user_id) end,
    'handling', hangar.alert_handling_json(p_alert.id));
end
$$;

create function public.fly_list_alerts(p_limit integer default 100) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform hangar.check_limit('p_limit', p_limit, 1000);
  return jsonb_build_object(
    'open', (select count(*) from hangar.alerts l where l.resolved_at is null),
    'alerts', (select coalesce(jsonb_agg(hangar.alert_json(t) order by hangar.alert_rank(t.kind), t.opened_at desc, t.id), '[]')
                 from (select l.* from hangar.alerts l where l.resolved_at is null order by hangar.alert_rank(l.kind), l.opened_at desc, l.id limit p_limit) t));
end
$$;
comment on function public.fly_list_alerts(integer) is 'The most urgent open alerts, each with its user and app, and with who has acknowledged or snoozed it. docs/database.md.';

-- The open alert, locked. Raises 22023 if there is none with this id, and PT409 if it has ended.
create function hangar.lock_open_alert(p_alert uuid) returns hangar.alerts
language plpgsql volatile set search_path = ''
as $$
declare
  v_alert hangar.alerts;
begin
  select l.* into v_alert from hangar.alerts l where l.id = p_alert for no key update;
  if v_alert.id is null then
    raise exception 'there is no alert %', coalesce(p_alert::text, 'null') using errcode = 'invalid_parameter_value';
  elsif v_alert.resolved_at is not null then
    raise exception 'the alert % % has ended at %, so nothing was changed', v_alert.kind, v_alert.key,
      to_char(v_alert.resolved_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') using errcode = 'PT409';
  end if;
  return v_alert;
end
$$;

create function hangar.record_handling(p_alert hangar.alerts, p_what text, p_until timestamptz, p_actor text, p_reason text) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (event_type, status, metadata, error_details)
  values ('alert_handled', 'info', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('what', p_what, 'kind', p_alert.kind, 'key', p_alert.key,
    'alert_id', p_alert.id, 'until', p_until, 'actor', p_actor, 'reason', nullif(p_reason, ''))), p_alert.message)
$$;

create function hangar.handle_alert(p_alert hangar.alerts, p_state text, p_until timestamptz, p_actor text, p_reason text) returns jsonb
language plpgsql volatile set search_path = ''
as $$
begin
  insert into hangar.alert_handling (alert_id, state, actor, reason, until) values (p_alert.id, p_state, p_actor, nullif(p_reason, ''), p_until)
  on conflict (alert_id) do update
    set state = excluded.state, actor = excluded.actor, reason = excluded.reason, handled_at = hangar.now(), until = excluded.until;
  perform hangar.record_handling(p_alert, p_state, p_until, p_actor, p_reason);
  return hangar.alert_json(p_alert);
end
$$;

create function public.fly_acknowledge_alert(p_alert uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  perform hangar.require_actor(p_actor);
  return hangar.handle_alert(hangar.lock_open_alert(p_alert), 'acknowledged', null, p_actor, p_reason);
end
$$;
comment on function public.fly_acknowledge_alert(uuid, text, text) is 'Records that somebody takes care of an open alert. It ends by itself as before. docs/database.md.';

create function public.fly_snooze_alert(p_alert uuid, p_until timestamptz, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  perform hangar.require_actor(p_actor);
  if p_until is null or p_until <= hangar.now() or p_until > hangar.now() + interval '30 days' then
    raise exception 'p_until must be a time in the next 30 days, not %', coalesce(p_until::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
  return hangar.handle_alert(hangar.lock_open_alert(p_alert), 'snoozed', p_until, p_actor, p_reason);
end
$$;
comment on function public.fly_snooze_alert(uuid, timestamptz, text, text) is 'Puts an open alert off until a time, at which it is sent again if it is still open. docs/database.md.';

create function public.fly_wake_alert(p_alert uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_alert hangar.alerts;
  v_handling jsonb;
begin
  perform hangar.require_actor(p_actor);
  v_alert := hangar.lock_open_alert(p_alert);
  v_handling := hangar.alert_handling_json(v_alert.id);
  if v_handling is not null then
    delete from hangar.alert_handling h where h.alert_id = v_alert.id;
    perform hangar.record_handling(v_alert, 'woken', null, p_actor, p_reason);
  end if;
  return hangar.alert_json(v_alert);
end
$$;
comment on function public.fly_wake_alert(uuid, text, text) is 'Takes back that an open alert was acknowledged or snoozed. It is not sent again. docs/database.md.';

select hangar.restrict_functions();
