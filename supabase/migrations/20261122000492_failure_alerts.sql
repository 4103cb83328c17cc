-- Alerts about apps that fail, grouped by cause: what concerns more than one app is one alert, however many apps fail for it.
-- Builds on: tables, alerts, host_binding.

-- The cause behind an error code, if it is not the app's own: what one change (of the token, the plan, the image) would mend for all, or
-- what Fly alone can end. Null for an error of this one app.
create function hangar.alert_cause(p_error_code text, p_row public.user_fly_apps) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_error_code in ('auth', 'unsupported', 'refused') then p_error_code
    when p_error_code in ('region_full', 'host', 'volume') then 'region_full/' || p_row.region
    when p_error_code = 'image' then 'image/' || p_row.docker_image
    when p_error_code = 'size' then 'size/' || coalesce(p_row.tier, p_row.cpu_kind || '-' || p_row.cpu_count || 'x-' || p_row.memory_mb)
    when p_error_code in ('transient', 'outcome_unknown', 'unavailable', 'rate_limited', 'not_fly') then 'fly_unavailable'
  end;
end
$$;
comment on function hangar.alert_cause(text, public.user_fly_apps) is 'The key of the alert that all apps with this cause share; null if the failure is the app''s own.';

-- The one owner of the rule. The codes are those of shared/fly/errors.py; docs/operating.md says what to do about each.
create function hangar.is_org_wide(p_code text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_code in ('billing', 'quota', 'policy', 'token', 'org'), false)
$$;
comment on function hangar.is_org_wide(text) is 'Whether an error with this code concerns Fly''s whole organisation, so that every user has it at once.';

-- The apps that fail now and belong to the alert with this key. An app with an alert of its own does not belong to that of its code. One that
-- Fly refuses for a cause of the organisation belongs to none: hangar.check_refusal.
create function hangar.list_failing(p_key text) returns setof public.user_fly_apps
language sql stable set search_path = ''
as $$
  select a.*
    from public.user_fly_apps a
   where a.deleted_at is null and a.status = 'error' and a.error_code is not null and not hangar.is_org_wide(a.error_code)
     and case when hangar.alert_cause(a.error_code, a) is not null then hangar.alert_cause(a.error_code, a) = p_key
              else a.id::text = p_key
                or a.error_code = p_key and not exists (
                  select 1 from hangar.alerts l
                   where l.key = a.id::text and l.resolved_at is null and l.kind in ('provision_failed', 'deprovision_failed')) end
$$;

-- The keys to which hangar.list_failing finds an app, all at once: for one key after another, every failing app would be looked at for each.
create function hangar.list_failure_keys() returns text[]
language sql stable set search_path = ''
as $$
  select coalesce(array_agg(distinct k.key), '{}')
    from public.user_fly_apps a
    cross join lateral (select hangar.alert_cause(a.error_code, a) as cause) c
    left join hangar.alerts l on l.key = a.id::text and l.resolved_at is null and l.kind in ('provision_failed', 'deprovision_failed')
    cross join lateral (values (c.cause), (case when c.cause is null then a.id::text end),
                               (case when c.cause is null and l.id is null then a.error_code end)) k (key)
   where a.deleted_at is null and a.status = 'error' and a.error_code is not null and not hangar.is_org_wide(a.error_code) and k.key is not null
$$;

-- The key of the alert about this row's failure. An error of the app's own has an alert of its own, unless five other apps have the same
-- error now: then it shares the alert of the error's code with all further ones, for as long as that is open.
create function hangar.choose_failure_key(p_row public.user_fly_apps) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_cause text := hangar.alert_cause(p_row.error_code, p_row);
begin
  if v_cause is not null then
    return v_cause;
  elsif exists (select 1 from hangar.alerts l
                 where l.key = p_row.id::text and l.resolved_at is null and l.kind in ('provision_failed', 'deprovision_failed'))
        or not exists (select 1 from hangar.alerts l
                        where l.key = p_row.error_code and l.resolved_at is null and l.kind in ('provision_failed', 'deprovision_failed'))
       and (select count(*) from public.user_fly_apps a
             where a.deleted_at is null and a.status = 'error' and a.error_code = p_row.error_code) <= 5 then
    return p_row.id::text;
  end if;
  return p_row.error_code;
end
$$;

create function hangar.format_user_app(p_row public.user_fly_apps) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return format('%s (app %s)', coalesce(hangar.user_email(p_row.user_id), p_row.user_id::text), p_row.fly_app_name);
end
$$;

-- Resolves the alerts about failures that no longer concern any app: it has recovered, fails for another reason, or is not wanted any more.
create function hangar.resolve_failure_alerts(p_row_id uuid default null) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_keys text[];
begin
  if not exists (select 1 from hangar.alerts l
                  where l.kind in ('provision_failed', 'deprovision_failed') and l.resolved_at is null
                    and (p_row_id is null or l.key = p_row_id::text or l.metadata ? 'cause')) then
    return;
  end if;
  v_keys := hangar.list_failure_keys();
  -- Locked before the update looks: another transaction may just be adding an app to the alert.
  perform 1 from hangar.alerts l
    where l.kind in ('provision_failed', 'deprovision_failed') and l.resolved_at is null
      and (p_row_id is null or l.key = p_row_id::text or l.metadata ? 'cause')
      and not exists (select 1 from unnest(v_keys) k where k = l.key)
    order by l.id for no key update;
  if not found then
    return;
  end if;
  v_keys := hangar.list_failure_keys();
  update hangar.alerts l set resolved_at = hangar.now()
   where l.kind in ('provision_failed', 'deprovision_failed') and l.resolved_at is null
     and (p_row_id is null or l.key = p_row_id::text or l.metadata ? 'cause')
     and not exists (select 1 from unnest(v_keys) k where k = l.key);
end
$$;

-- What an operator can do when a move has left an app without a running machine, because its own host has no room. Null for other failures.
create function hangar.describe_stuck_move(p_row public.user_fly_apps) returns text
language sql immutable set search_path = ''
as $$
  select format('. This user has no running app: release %s moved it, and on the way back its former machine finds no room on the host where it was made. '
                'Hangar keeps trying to start it. To get a new machine on another host of %s: `fly machine destroy --force -a %s %s`, then `hangar retry %s`',
                p_row.move_release_id, p_row.machine_region, p_row.fly_app_name, p_row.machine_id, p_row.user_id)
   where p_row.spare_machine_id is not null and p_row.machine_state <> 'started' and p_row.error_code in ('host', 'region_full', 'quota')
     and p_row.desired_state = 'present'
$$;

create function hangar.describe_failure(p_key text, p_row public.user_fly_apps, p_since timestamptz) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_apps bigint;
  v_stuck bigint;
  v_some text;
  v_users jsonb;
  v_next text := case when p_row.next_attempt_at is null then 'Hangar does not retry it: an operator must act, then run `hangar retry USER`'
    else 'the next attempt is at ' || to_char(p_row.next_attempt_at at time zone 'UTC', 'HH24:MI:SS "UTC"') end;
begin
  select count(*), count(*) filter (where f.next_attempt_at is null),
         string_agg(hangar.format_user_app(f.app), ', ' order by f.nr) filter (where f.nr <= 3),
         jsonb_agg(f.user_id order by f.nr) filter (where f.nr <= 20)
    into v_apps, v_stuck, v_some, v_users
    from (select a as app, a.user_id, a.next_attempt_at, row_number() over (order by a.id = p_row.id desc, a.created_at, a.id) as nr
            from hangar.list_failing(p_key) a) f;
  return jsonb_build_object(
    'message', case when v_apps <= 1 then
      format('%s failed for user %s: %s; %s', case p_row.desired_state when 'present' then 'Provisioning' else 'Deprovisioning' end,
        hangar.format_user_app(p_row), p_row.error_message, v_next)
    else
      format('%s apps fail for the same reason (%s) since %s: %s%s. The latest error: %s. %s. `hangar status` lists all of them',
        v_apps, p_key, to_char(coalesce(p_since, hangar.now()) at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), v_some,
        case when v_apps > 3 then format(' and %s more', v_apps - 3) else '' end, p_row.error_message,
        case v_stuck when 0 then 'Hangar retries each of them' when v_apps then 'Hangar retries none of them: an operator must act, then run `hangar retry USER` for each'
          else format('Hangar retries them, except %s that need an operator and `hangar retry USER`', v_stuck) end)
    end || coalesce(hangar.describe_stuck_move(p_row), ''),
    'apps', v_apps, 'users', v_users);
end
$$;

-- Keeps the alert about a row's failure in step with the row. It runs in the save's transaction, so a crash cannot separate the two.
create function hangar.sync_failure_alert(p_row public.user_fly_apps, p_moved boolean, p_patch jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_key text;
  v_open hangar.alerts;
  v_told jsonb;
begin
  if not p_moved and p_patch ->> 'status' = 'error' then
    v_key := hangar.choose_failure_key(p_row);
    -- The same cause is one alert, whether apps are created or removed.
    select l.* into v_open from hangar.alerts l
     where l.key = v_key and l.resolved_at is null and l.kind in ('provision_failed', 'deprovision_failed') order by l.opened_at limit 1;
    v_told := hangar.describe_failure(v_key, p_row, v_open.opened_at);
    perform hangar.raise_alert(
      coalesce(v_open.kind, case p_row.desired_state when 'present' then 'provision_failed' else 'deprovision_failed' end), v_key,
      v_told ->> 'message',
      (v_told - 'message') || jsonb_build_object('user_id', p_row.user_id, 'app', p_row.fly_app_name, 'error_code', p_row.error_code,
        'retry_count', p_row.retry_count)
      || case when v_key = p_row.id::text then '{}' else jsonb_build_object('cause', v_key) end);
    perform hangar.resolve_failure_alerts(p_row.id);  -- of the reason for which it failed before
  elsif p_row.error_code is null or p_row.deleted_at is not null then
    perform hangar.resolve_failure_alerts(p_row.id);
  end if;
end
$$;

create function public.fly_raise_alert(p_kind text, p_key text, p_message text, p_metadata jsonb default '{}') returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('new', r.fresh, 'id', r.id) from hangar.raise_alert(p_kind, p_key, p_message, p_metadata) r
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
