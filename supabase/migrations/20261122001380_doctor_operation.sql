-- What `hangar doctor` checks about the operation: switches, brake, limits, operators, alerts, failures, regions, the organisation, and apps
-- of the original system.
-- Builds on: doctor_calls, limits, caps, host_loss, refusals, regions, legacy_apps.

create function hangar.doctor_live() returns jsonb
language sql stable set search_path = ''
as $$
  select case when g.live then hangar.doctor_says('ok', 'Hangar is live')
              else hangar.doctor_says('warning', 'Hangar is not live: only admitted users are served', 'hangar settings set live=true') end
    from hangar.settings g
$$;

create function hangar.doctor_paused() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_age interval;
begin
  select g.* into strict v_settings from hangar.settings g;
  v_age := date_trunc('minute', hangar.now() - v_settings.updated_at);
  if v_settings.paused then
    return hangar.doctor_says(case when v_age > interval '1 day' then 'wrong' else 'warning' end,
      format('Hangar is paused, so it changes nothing on Fly; the settings last changed %s ago', v_age), 'hangar resume');
  elsif v_settings.deletes_paused then
    return hangar.doctor_says(case when v_age > interval '1 day' then 'wrong' else 'warning' end,
      format('deletions are paused; the settings last changed %s ago', v_age), 'hangar settings set deletes_paused=false');
  elsif v_settings.token_renewal_share = 0 then
    return hangar.doctor_says('warning', 'token_renewal_share is 0, so no machine gets a new token, and each loses the database when its token ends',
      'hangar settings set token_renewal_share=0.02');
  elsif v_settings.drift_share = 0 then
    return hangar.doctor_says('warning', 'drift_share is 0, so machines that differ from their plan stay as they are', 'hangar settings set drift_share=0.05');
  end if;
  return hangar.doctor_says('ok', 'neither Hangar nor its deletions are paused');
end
$$;

create function hangar.doctor_brake() returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_brake jsonb := hangar.brake_json();
  v_settings hangar.settings;
begin
  select g.* into strict v_settings from hangar.settings g;
  if v_brake -> 'host_loss' <> 'null' then
    return hangar.doctor_says('wrong', format('%s of %s apps lost their entitlement at once, which waits for an operator', v_brake #>> '{host_loss,losing}',
      v_brake #>> '{host_loss,present}'), 'hangar brake --release --reason "after hangar doctor"  -- only if these users really left, because their apps are destroyed. Otherwise restore the '
        'rows in the tables of the host: each user who is entitled again keeps the app');
  elsif v_brake ->> 'why' = 'lost' then
    return hangar.doctor_says('wrong', format('the brake is on: %s app(s) on Fly belong to rows that this database never had', v_brake ->> 'lost_apps'), 'hangar orphans');
  elsif v_settings.brake_floor = 0 and v_settings.brake_share = 0 then
    return hangar.doctor_says('wrong', 'brake_floor and brake_share are 0, so the brake stops every removal', 'hangar settings set brake_floor=20 brake_share=0.05');
  elsif (v_brake ->> 'tripped')::boolean then
    return hangar.doctor_says('wrong', format('the brake is on: %s app(s) were stopped or destroyed in the last hour, the limit is %s, %s wait', v_brake ->> 'destroyed_last_hour',
      v_brake ->> 'most', v_brake ->> 'waiting_apps'), 'hangar brake --release --reason "after hangar doctor"  -- only if the removals are intended: look at `hangar events --type action --since 1h` first');
  end if;
  if v_settings.host_loss_floor = 0 and v_settings.host_loss_share = 0 then
    return hangar.doctor_says('wrong', 'host_loss_floor and host_loss_share are 0, so every user who stops paying waits for an operator',
      'hangar settings set host_loss_floor=5 host_loss_share=0.5');
  elsif v_settings.brake_share = 1 or v_settings.host_loss_share = 1 then
    return hangar.doctor_says('warning', 'brake_share or host_loss_share is 1, so nothing stops a mistake that removes every app',
      'hangar settings set brake_share=0.05 host_loss_share=0.5');
  end if;
  return hangar.doctor_says('ok', 'the brake is off');
end
$$;

create function hangar.doctor_caps() returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_count record;
begin
  select g.* into strict v_settings from hangar.settings g;
  select c.* into v_count from hangar.count_apps() c;
  if v_settings.max_apps = 0 or v_settings.max_monthly_cost_usd = 0 then
    return hangar.doctor_says('wrong', format('%s is 0, so no app is created', case when v_settings.max_apps = 0 then 'max_apps' else 'max_monthly_cost_usd' end),
      case when v_settings.max_apps = 0 then 'hangar settings set max_apps=none' else 'hangar settings set max_monthly_cost_usd=none' end || '  -- or the limit that you want');
  end if;
  if v_settings.max_apps < v_count.apps or hangar.is_cap_in_force('max_apps') then
    return hangar.doctor_says('wrong', format('max_apps is %s: %s app(s) exist and %s wait', v_settings.max_apps, v_count.apps, v_count.new_waiting),
      format('hangar settings set max_apps=%s', v_count.apps + v_count.new_waiting));
  elsif v_settings.max_monthly_cost_usd < v_count.cost_usd or hangar.is_cap_in_force('max_cost') then
    return hangar.doctor_says('wrong', format('max_monthly_cost_usd is %s: the apps are estimated at %s USD a month and %s app(s) wait', v_settings.max_monthly_cost_usd,
      coalesce(v_count.cost_usd, 0), v_count.new_waiting + v_count.dearer_waiting),
      format('hangar settings set max_monthly_cost_usd=%s', ceil(coalesce(v_count.cost_usd, 0) + coalesce(v_count.highest_waiting_usd, 0) * (v_count.new_waiting + v_count.dearer_waiting))));
  end if;
  return hangar.doctor_says('ok', format('%s app(s); max_apps is %s and max_monthly_cost_usd is %s', v_count.apps, coalesce(v_settings.max_apps::text, 'not set'),
    coalesce(v_settings.max_monthly_cost_usd::text, 'not set')));
end
$$;

create function hangar.doctor_operators() returns jsonb
language sql stable set search_path = ''
as $$
  select case when pg_catalog.count(*) = 0 then hangar.doctor_says('warning', 'nobody may sign in to the dashboard', 'hangar operators add YOU@EXAMPLE.COM')
              else hangar.doctor_says('ok', pg_catalog.format('%s operator(s)', pg_catalog.count(*))) end
    from hangar.operators
$$;

create function hangar.doctor_alert_delivery() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_failing record;
  v_seen timestamptz := (select max(d.seen_at) from hangar.alert_destinations d);
begin
  select d.destination, d.failing_since, d.last_error into v_failing from hangar.alert_destinations d where d.failing_since is not null order by d.failing_since limit 1;
  if v_seen is null then
    return hangar.doctor_says('warning', 'alerts are sent nowhere: no function has named a destination yet', 'Set HANGAR_ALERT_WEBHOOK_URL of the functions, then run `hangar sweep`');
  elsif v_failing.destination is not null then
    return hangar.doctor_says('wrong', format('alerts do not reach %s: %s', v_failing.destination, v_failing.last_error),
      'Correct HANGAR_ALERT_WEBHOOK_URL of the functions or repair the receiver, then run `hangar sweep`');
  elsif v_seen < hangar.now() - interval '1 day' then
    return hangar.doctor_says('warning', 'no function has named a destination of alerts for a day', 'Set HANGAR_ALERT_WEBHOOK_URL of the functions, then run `hangar sweep`');
  end if;
  return hangar.doctor_says('ok', format('alerts are sent to %s destination(s)', (select count(*) from hangar.alert_destinations)));
end
$$;

create function hangar.doctor_open_alerts() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text := (select string_agg(format('%s (%s)', x.kind, x.n), ', ' order by x.kind)
    from (select a.kind, count(*) as n from hangar.alerts a where a.resolved_at is null group by a.kind) x);
begin
  return case when v_found is null then hangar.doctor_says('ok', 'no alert is open') else hangar.doctor_says('warning', 'open alerts: ' || v_found, 'hangar status') end;
end
$$;

create function hangar.doctor_failures() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text := (select string_agg(format('%s (%s)', x.error_code, x.n), ', ' order by x.n desc, x.error_code)
    from (select a.error_code, count(*) as n from public.user_fly_apps a where a.deleted_at is null and a.error_code is not null group by a.error_code) x);
begin
  return case when v_found is null then hangar.doctor_says('ok', 'no app has failed')
              else hangar.doctor_says('warning', 'apps that failed, by cause: ' || v_found, 'hangar status; then hangar retry USER') end;
end
$$;

create function hangar.doctor_organisation() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_org text := (select g.fly_org_slug from hangar.settings g);
  v_alert record;
begin
  select a.key, a.message into v_alert from hangar.alerts a where a.kind = 'fly_refused' and a.resolved_at is null order by a.opened_at limit 1;
  if v_alert.key is null then
    return hangar.doctor_says('ok', format('Fly does not refuse the organisation %s. Fly''s API does not say whether it is a trial or has unpaid bills', v_org));
  end if;
  return hangar.doctor_says('wrong', left(v_alert.message, 400), case v_alert.key
    when 'billing' then format('Pay at https://fly.io/dashboard/%s/billing or add a payment method, then run `hangar sweep`', v_org)
    when 'quota' then format('Ask Fly to raise the limit of %s (support@fly.io), then run `hangar sweep`', v_org)
    when 'policy' then format('Open https://fly.io/dashboard/%s and do what it asks for, then run `hangar sweep`', v_org)
    when 'token' then format('fly tokens create org --org %s; set it as FLY_API_TOKEN of the functions, then run `hangar sweep`', v_org)
    else 'fly orgs list; set FLY_ORG_SLUG of the functions and `hangar settings set fly_org_slug=…` to one of them, then run `hangar sweep`' end);
end
$$;

create function hangar.doctor_full_regions() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text := (select string_agg(format('%s for %s sizes until %s', c.region, c.size_kind, to_char(c.until at time zone 'UTC', 'HH24:MI "UTC"')), ', ' order by c.region)
    from hangar.region_capacity c where c.until > hangar.now());
begin
  if v_found is not null then
    return hangar.doctor_says('warning', 'Fly has no room in ' || v_found,
      format('hangar settings set default_region=%s,nrt  -- a second region, also in fly_plans.region', (select g.default_region from hangar.settings g)));
  end if;
  return hangar.doctor_says('ok', 'Fly had room in every region that was asked for');
end
$$;

create function hangar.doctor_installation() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_message text := (select a.message from hangar.alerts a where a.kind = 'installation' and a.resolved_at is null limit 1);
begin
  if v_message is not null then
    return hangar.doctor_says('wrong', left(v_message, 400), format('Set HANGAR_INSTALLATION_ID of the functions to %s, if this is their database',
      (select g.installation_id from hangar.settings g)));
  end if;
  return hangar.doctor_says('ok', 'the functions work with this database');
end
$$;

create function hangar.doctor_legacy_apps() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_apps bigint := hangar.count_legacy_apps();
  v_some text := (select string_agg(x.fly_app_name, ', ' order by x.fly_app_name)
    from (select a.fly_app_name from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'legacy' order by 1 limit 3) x);
begin
  if v_apps > 0 then
    return hangar.doctor_says('warning', format('%s app(s) of the original system wait for a decision: %s%s. Until then Hangar does nothing with them',
      v_apps, v_some, case when v_apps > 3 then ', …' else '' end),
      'hangar adopt --apply --reason "taken over from the original system"  -- first `hangar adopt`, which only shows each app and its decision');
  end if;
  return hangar.doctor_says('ok', 'no app of the original system waits for a decision');
end
$$;

-- The rows that the original system closed, as pairs of app and organisation, which the command compares with Fly; null if there are none.
create function hangar.doctor_closed_originals() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.fly_app_name, a.fly_org_slug) order by a.fly_app_name)
    from public.user_fly_apps a where a.generation = 0 and a.deleted_at is not null
$$;

-- Whether events older than the retention are deleted. An event is deleted only after it is archived.
create function hangar.doctor_retention() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_days integer := (select g.events_retention_days from hangar.settings g);
  v_oldest timestamptz := (select min(e.created_at) from public.user_fly_app_events e);
begin
  if v_days is null then
    return hangar.doctor_says('ok', 'events_retention_days is not set, so the audit log is kept for ever');
  elsif v_oldest < hangar.now() - make_interval(days => v_days + 7) then
    return hangar.doctor_says('warning', format('events_retention_days is %s, and the oldest event is of %s: nothing is deleted before it is archived', v_days,
      to_char(v_oldest at time zone 'UTC', 'YYYY-MM-DD')), 'hangar archive run  -- needs a bucket (HANGAR_ARCHIVE_BUCKET); run it every day (docs/archive.md)');
  end if;
  return hangar.doctor_says('ok', format('no event is much older than %s days', v_days));
end
$$;

select hangar.restrict_functions();
