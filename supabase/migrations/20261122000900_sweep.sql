-- The second half of a sweep: what it observed, and the lease, cursor and report of the sweep itself.
-- Builds on: limits, settings_log, drift, watchdogs, nudge, refusals, health_alerts, alert_delivery.

create function public.fly_record_sweep(p_observations jsonb, p_started_at timestamptz) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_result jsonb;
  v_samples jsonb;
begin
  if p_observations is null or jsonb_typeof(p_observations) <> 'array' then
    raise exception 'p_observations must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_limit('observations in one call', greatest(jsonb_array_length(p_observations), 1), 500);
  with seen as (
    -- One observation per row, should there be two.
    select distinct on (o.id) o.*
      from pg_catalog.jsonb_to_recordset(p_observations)
           as o (id uuid, machine_state text, health text, direct boolean, due boolean, reason text, symptom text, detail text,
                 drift jsonb, observed_spec jsonb, machine_region text, price_usd_per_s numeric)
     order by o.id
  ), mine as (
    select a.id, a.health_status as was
      from public.user_fly_apps a join seen o on o.id = a.id
     where a.deleted_at is null and a.desired_state <> 'legacy' and a.updated_at <= p_started_at
       and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
     order by a.id
       for no key update of a skip locked
  ), judged as (
    select a.id, mine.was, o.health, o.machine_state, o.direct, o.due, o.reason, nullif(o.drift, 'null') as drift,
           nullif(o.observed_spec, 'null') as observed_spec, o.machine_region, o.price_usd_per_s,
           coalesce(o.symptom, case when o.health = 'bad' then 'check_critical' end) as symptom, coalesce(o.detail, o.reason) as detail, counted.bad_samples, counted.counts,
           case o.health
             when 'healthy' then 'healthy'
             when 'unknown' then 'unknown'
             when 'bad' then case when counted.bad_samples >= g.unhealthy_after then 'unhealthy' else a.health_status end
             else a.health_status end as becomes
      from mine
      join public.user_fly_apps a on a.id = mine.id
      join seen o on o.id = mine.id
      cross join hangar.settings g
      cross join lateral (select coalesce(
        o.health = 'bad' and (a.bad_sample_at is null
                              or a.bad_sample_at <= v_now - make_interval(secs => g.bad_sample_gap_s::double precision)), false) as yes) sample
      cross join lateral (select sample.yes as counts,
        case when o.health = 'healthy' then 0 else a.bad_samples + sample.yes::integer end as bad_samples) counted
  ), updated as (
    update public.user_fly_apps a
       set machine_state = coalesce(j.machine_state, a.machine_state),
           machine_region = coalesce(j.machine_region, a.machine_region),
           price_usd_per_s = coalesce(j.price_usd_per_s, a.price_usd_per_s),
           observed_spec = coalesce(j.observed_spec, a.observed_spec),
           drift = coalesce(j.drift, a.drift),
           health_status = j.becomes,
           last_health_check = case when j.health is null then a.last_health_check else v_now end,
           bad_samples = j.bad_samples,
           bad_sample_at = case when j.health = 'healthy' then null when j.counts then v_now else a.bad_sample_at end,
           observed_at = case when j.direct then v_now else a.observed_at end,
           next_attempt_at = case when j.due then least(a.next_attempt_at, v_now) else a.next_attempt_at end
      from judged j
     where a.id = j.id
    returning a.id, a.user_id, a.machine_state, j.was, j.becomes, j.reason, j.bad_samples, j.symptom, j.detail,
              j.health = 'healthy' or coalesce(j.direct, false) and j.health is null as is_well
  ), transitions as (
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    select u.id, u.user_id,
           case u.becomes when 'healthy' then 'health_check_passed' else 'health_check_failed' end,
           case u.becomes when 'healthy' then 'succeeded' when 'unhealthy' then 'failed' else 'unknown' end,
           jsonb_strip_nulls(jsonb_build_object('from', u.was, 'to', u.becomes, 'reason', u.reason,
                                                'machine_state', u.machine_state, 'bad_samples', u.bad_samples))
      from updated u
     where u.becomes is distinct from u.was and u.becomes is not null
    returning 1
  )
  select jsonb_build_object(
           'updated', count(*), 'skipped', (select count(*) from seen) - count(*),
           'healthy', count(*) filter (where u.becomes = 'healthy'), 'unhealthy', count(*) filter (where u.becomes = 'unhealthy'),
           'unknown', count(*) filter (where u.becomes = 'unknown'), 'transitions', (select count(*) from transitions)),
         jsonb_agg(jsonb_build_object('id', u.id, 'symptom', u.symptom, 'detail', u.detail, 'well', u.symptom is null and coalesce(u.is_well, false)))
           filter (where u.symptom is not null or u.id in (select h.fly_app_id from hangar.app_health h))
    into v_result, v_samples
    from updated u;
  if v_samples is not null then
    perform hangar.record_symptoms(v_samples);
  end if;
  return v_result;
end
$$;
comment on function public.fly_record_sweep(jsonb, timestamptz) is 'Up to 500 observations in one statement. Leased rows, and rows changed since the listing began, are skipped. docs/database.md.';

create function public.fly_sweep_claim(p_name text default 'fleet', p_holder text default 'unknown') returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_sweep hangar.sweeps;
begin
  perform hangar.check_nudges();
  insert into hangar.sweeps (name) values (coalesce(p_name, 'fleet')) on conflict do nothing;
  update hangar.sweeps w
     set token = gen_random_uuid(), holder = coalesce(p_holder, 'unknown'), started_at = v_now, heartbeat_at = v_now,
         lease_expires_at = v_now + make_interval(secs => g.sweep_lease_s::double precision),
         unfinished = w.unfinished + 1, unfinished_since = coalesce(w.unfinished_since, v_now)
    from hangar.settings g
   where w.name = coalesce(p_name, 'fleet') and (w.lease_expires_at is null or w.lease_expires_at <= v_now)
  returning w.* into v_sweep;
  if found then
    perform hangar.check_unfinished_sweeps(v_sweep);
    return jsonb_build_object('outcome', 'claimed', 'token', v_sweep.token, 'cursor', v_sweep.cursor, 'started_at', v_sweep.started_at,
      'held_by', null, 'settings', hangar.settings_json(), 'now', v_now,
      'fleet', (select count(*) from public.user_fly_apps a where a.deleted_at is null and a.desired_state <> 'legacy'),
      'alerts', (select coalesce(jsonb_agg(jsonb_build_array(a.kind, a.key) order by a.kind, a.key), '[]')
                   from hangar.alerts a where a.resolved_at is null and (a.key in ('fleet', 'listing') or a.kind in ('fly_refused', 'orphan_look'))));
  end if;
  select w.* into v_sweep from hangar.sweeps w where w.name = coalesce(p_name, 'fleet');
  return jsonb_build_object('outcome', 'held', 'token', null, 'cursor', v_sweep.cursor, 'started_at', v_sweep.started_at,
    'held_by', v_sweep.holder, 'settings', hangar.settings_json(), 'now', v_now, 'fleet', 0, 'alerts', '[]'::jsonb);
end
$$;
comment on function public.fly_sweep_claim(text, text) is 'Starts a sweep unless one is running; it continues where the last one stopped. docs/database.md.';

create function public.fly_sweep_progress(p_name text, p_token uuid, p_cursor jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  update hangar.sweeps w
     set cursor = nullif(p_cursor, 'null'), heartbeat_at = v_now,
         lease_expires_at = v_now + make_interval(secs => g.sweep_lease_s::double precision)
    from hangar.settings g
   where w.name = p_name and w.token = p_token;  -- no other sweep has started, however long this page took
  return jsonb_build_object('ok', found);
end
$$;
comment on function public.fly_sweep_progress(text, uuid, jsonb) is 'Renews the sweep''s lease and stores its cursor. `ok` is false if the lease is lost. docs/database.md.';

-- Resolves what the whole pass has not seen again. An alert never ends because nobody looked: an app that a cap holds back is tried every
-- few minutes, not in every pass, so the cap itself is asked; an orphan that a sweep had no time for may still be unreadable; one of Fly's
-- lists may lack an orphan, two in a row do not; and one function with a wrong installation id is seen when it is called, not by a sweep
-- that runs in another function.
create function hangar.resolve_after_pass(p_started_at timestamptz) returns void
language sql volatile set search_path = ''
as $$
  update hangar.alerts a set resolved_at = hangar.now()
   where a.resolved_at is null and a.seen_at < p_started_at
     and case a.kind
           when 'installation' then not a.metadata ? 'app' or a.seen_at <= hangar.now() - interval '1 hour'
           when 'orphan_look' then not exists (select 1 from public.fly_orphans o where o.app = a.key)
           when 'orphans' then not exists (select 1 from public.fly_orphans) and a.seen_at <= hangar.now() - interval '8 minutes'
           when 'max_apps' then not hangar.is_cap_in_force(a.kind)
           when 'max_cost' then not hangar.is_cap_in_force(a.kind)
           else false end
$$;

create function public.fly_sweep_finish(p_name text, p_token uuid, p_report jsonb, p_complete boolean default true) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_pass_started_at timestamptz;
  v_ended boolean;
begin
  -- A pass over the fleet may take several sweeps; the first of them has put its start into the cursor.
  select coalesce((w.cursor ->> 'started_at')::timestamptz, w.started_at) into v_pass_started_at
    from hangar.sweeps w where w.name = p_name and w.token = p_token;
  update hangar.sweeps w
     set cursor = case when coalesce(p_complete, true) then null else w.cursor end,
         completed_at = case when coalesce(p_complete, true) then v_now else w.completed_at end,
         unfinished = case when coalesce(p_complete, true) then 0 else w.unfinished end,
         unfinished_since = case when coalesce(p_complete, true) then null else w.unfinished_since end,
         finished_at = v_now, heartbeat_at = v_now, report = p_report, token = null, holder = null, lease_expires_at = null
   where w.name = p_name and w.token = p_token;  -- no other sweep has started, however long the last page took
  v_ended := found;
  if v_ended and coalesce(p_complete, true) then
    perform hangar.resolve_after_pass(v_pass_started_at);
    perform hangar.resolve_alert('sweep_unfinished', p_name);
    perform hangar.resolve_crash_loops();
  end if;
  if v_ended then
    perform hangar.record_late_stops();
    perform hangar.check_health();
    perform hangar.check_stalled();
    perform hangar.check_drift();
    perform hangar.check_signing_key();
    perform hangar.check_tokens();
    perform hangar.check_user_secrets();
    perform hangar.check_refusals();
    perform hangar.check_legacy_apps();
    perform hangar.resolve_brake_alerts();
    perform hangar.resolve_failure_alerts();
    perform hangar.end_snoozes();
    perform hangar.tidy_deliveries();
  end if;
  return jsonb_build_object('ok', v_ended);
end
$$;
comment on function public.fly_sweep_finish(text, uuid, jsonb, boolean) is 'Ends a sweep. One that is not complete keeps its cursor for the next. docs/database.md.';

create function public.fly_end_outage() returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_due integer;
begin
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.status = 'error' and a.next_attempt_at > v_now
       and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = v_now from waiting w where a.id = w.id;
  get diagnostics v_due = row_count;
  return jsonb_build_object('due', v_due);
end
$$;
comment on function public.fly_end_outage() is 'Fly answers again: up to 500 rows that wait after a failure are due now, the others at their own time. docs/database.md.';

select hangar.restrict_functions();
