-- What `hangar doctor` checks about the operation: switches, brake, limits, operators, alerts, failures, regions, the organisation.
-- Builds on: doctor_calls, limits, caps, host_loss, refusals, regions.

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
  end if;
  return hangar.doctor_says('ok', 'neither Hangar nor its deletions are paused');
end
$$;

create function hangar.doctor_brake() returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_brake jsonb := hangar.brake_json();
begin
  if v_brake -> 'host_loss' <> 'null' then
    return hangar.doctor_says('wrong', format('%s of %s apps lost their entitlement at once, which waits for an operator', v_brake #>> '{host_loss,losing}',
      v_brake #>> '{host_loss,present}'), 'hangar brake --release --reason "the subscriptions of the host are right"');
  elsif v_brake ->> 'why' = 'lost' then
    return hangar.doctor_says('wrong', format('the brake is on: %s app(s) on Fly belong to rows that this database never had', v_brake ->> 'lost_apps'), 'hangar orphans');
  elsif (v_brake ->> 'tripped')::boolean then
    return hangar.doctor_says('wrong', format('the brake is on: %s app(s) were destroyed in the last hour, the limit is %s, %s wait', v_brake ->> 'destroyed_last_hour',
      v_brake ->> 'most', v_brake ->> 'waiting_apps'), 'hangar brake --release --reason "the removals are intended"');
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

select hangar.restrict_functions();
