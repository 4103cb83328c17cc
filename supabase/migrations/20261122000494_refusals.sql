-- Refusals of Fly that concern the whole organisation: one alert for each cause, not one for each user.
-- Builds on: tables, failure_alerts.

-- Brings the alert about one cause in line with the rows: how many users have it, and whether Fly's lists are refused for it.
-- p_listing: what Fly said to the listing, or '' when it can be listed again; null changes nothing about that.
create function hangar.check_refusal(p_code text, p_listing text default null) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_counted constant integer := 1000;  -- every failing save counts, so a large fleet must not be counted to the end
  v_listing text;
  v_users bigint;
  v_some text;
  v_ids jsonb;
  v_words text;
begin
  v_listing := nullif(coalesce(p_listing, (select a.metadata ->> 'listing' from hangar.alerts a
    where a.kind = 'fly_refused' and a.key = p_code and a.resolved_at is null)), '');
  select count(*), string_agg(format('%s (app %s)', coalesce(hangar.user_email(s.user_id), s.user_id::text), s.fly_app_name), ', ' order by s.nr) filter (where s.nr <= 3),
         jsonb_agg(s.user_id order by s.nr) filter (where s.nr <= 10),
         (array_agg(s.error_message order by s.updated_at desc, s.nr))[1]
    into v_users, v_some, v_ids, v_words
    from (select f.*, row_number() over (order by f.fly_app_name) as nr
            from (select a.fly_app_name, a.user_id, a.error_message, a.updated_at from public.user_fly_apps a
                   where a.deleted_at is null and a.error_code = p_code limit v_counted + 1) f) s;
  if v_users = 0 and v_listing is null then
    perform hangar.resolve_alert('fly_refused', p_code);
    return;
  end if;
  perform hangar.raise_alert('fly_refused', p_code,
    format('Fly refuses this organisation (%s): %s. %sNothing is destroyed or replaced because of this. Hangar asks again at least every '
      '%s, and at once for everybody when Fly accepts one user again; the alert then resolves', p_code, coalesce(v_words, v_listing),
      case when v_users = 0 then 'No user waits for it yet, but the fleet cannot be listed, so no health is known. '
           else format('It concerns %s user(s): %s%s. ', case when v_users > v_counted then 'more than ' || v_counted else v_users::text end,
                       v_some, case when v_users > 3 then ', …' else '' end) end,
      (select make_interval(secs => greatest(g.retry_cap_s, 300)::double precision)::text from hangar.settings g)),
    jsonb_strip_nulls(jsonb_build_object('error_code', p_code, 'users', v_users, 'some_users', v_ids, 'listing', v_listing)));
end
$$;

-- After each sweep: rows may have left a cause without a save, for example when their user left.
create function hangar.check_refusals() returns void
language sql volatile set search_path = ''
as $$
  select hangar.check_refusal(a.key) from hangar.alerts a where a.kind = 'fly_refused' and a.resolved_at is null
$$;

-- The row without its failure. The caller keeps the alerts in step (hangar.sync_alerts).
create function hangar.without_failure(p_row public.user_fly_apps, p_status text) returns public.user_fly_apps
language plpgsql immutable set search_path = ''
as $$
begin
  p_row.status := p_status;
  p_row.error_code := null;
  p_row.error_message := null;
  p_row.retry_count := 0;
  return p_row;
end
$$;

-- The row after these events: Fly has made or started a machine, so it no longer refuses the organisation, whatever becomes of this machine.
create function hangar.end_refusal(p_row public.user_fly_apps, p_events jsonb) returns public.user_fly_apps
language plpgsql immutable set search_path = ''
as $$
begin
  if p_row.status = 'error' and hangar.is_org_wide(p_row.error_code) and exists (
    select 1 from jsonb_array_elements(p_events) e
     where e ->> 'event_type' = 'action' and e ->> 'status' = 'succeeded'
       and e -> 'metadata' ->> 'action' in ('create_machine', 'update_machine', 'start_machine')) then
    return hangar.without_failure(p_row, 'provisioning');
  end if;
  return p_row;
end
$$;

-- Fly has accepted one user again: others with this cause are due now, 50 with each, so that a wrong hope costs few calls.
create function hangar.retry_refused(p_code text) returns void
language sql volatile set search_path = ''
as $$
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.error_code = p_code and a.next_attempt_at > hangar.now()
       and (a.lease_expires_at is null or a.lease_expires_at <= hangar.now())
     order by a.next_attempt_at limit 50
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = hangar.now() from waiting w where a.id = w.id
$$;

-- Keeps the alerts about a row's failure in step with the row: its own, or the one of a cause that it shares with the whole
-- organisation. p_was: the row's error code before this save. Runs in the save's transaction, so a crash cannot separate them.
create function hangar.sync_alerts(p_row public.user_fly_apps, p_moved boolean, p_patch jsonb, p_was text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  if p_row.deleted_at is null and hangar.is_org_wide(p_row.error_code) then
    perform hangar.resolve_failure_alerts(p_row.id);
    if not p_moved and p_patch ->> 'status' = 'error' then
      perform hangar.check_refusal(p_row.error_code);
    end if;
  else
    perform hangar.sync_failure_alert(p_row, p_moved, p_patch);
  end if;
  if hangar.is_org_wide(p_was) and (p_row.deleted_at is not null or p_row.error_code is distinct from p_was) then
    perform hangar.check_refusal(p_was);
    if p_row.error_code is null then
      perform hangar.retry_refused(p_was);
    end if;
  end if;
end
$$;

create function public.fly_record_refusal(p_code text, p_message text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  if p_code is null then
    -- Whoever waits for the same cause is tried at once: with a new token it is over for everybody.
    perform hangar.retry_refused(a.key), hangar.check_refusal(a.key, '') from hangar.alerts a
      where a.kind = 'fly_refused' and a.resolved_at is null and a.metadata ? 'listing';
  elsif hangar.is_org_wide(p_code) then
    perform hangar.check_refusal(p_code, coalesce(nullif(p_message, ''), p_code));
  end if;
  return jsonb_build_object('org_wide', hangar.is_org_wide(p_code));
end
$$;
comment on function public.fly_record_refusal(text, text) is 'Fly refused to be listed (code null: it was listed). True if the cause concerns the whole organisation, which then has one alert. docs/database.md.';

select hangar.restrict_functions();
