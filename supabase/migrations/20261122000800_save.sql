-- The save: compare-and-set on lease and generation. The only way a worker's findings reach a row.
-- Builds on: intents, drift, lease, watchdogs, refusals.

-- Facts: true whatever the row desires by now.
create function hangar.apply_facts(p_row public.user_fly_apps, p_patch jsonb) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_patch -> 'rename' = 'true' then
    select n.seq, n.name into p_row.name_seq, p_row.fly_app_name
      from hangar.next_name((select g.app_prefix from hangar.settings g), p_row.user_id,
        (select max(a.name_seq) + 1 from public.user_fly_apps a where a.user_id = p_row.user_id)) n;
    p_row.machine_id := null;
    p_row.spare_machine_id := null;
    p_row.machine_state := null; p_row.machine_region := null;
    p_row.secrets_version := null;
    p_patch := p_patch || '{"secrets_version": null}';
    p_row.addresses := null;
  end if;
  if p_patch ? 'machine_id' then
    p_row.machine_id := p_patch ->> 'machine_id';
  end if;
  if p_patch ? 'spare_machine_id' then
    p_row.spare_machine_id := p_patch ->> 'spare_machine_id';
  end if;
  if p_row.spare_machine_id = p_row.machine_id then
    p_row.spare_machine_id := null;  -- it has become the app's own
  end if;
  if p_patch ? 'machine_state' then
    p_row.machine_state := p_patch ->> 'machine_state';
  end if;
  if p_patch ? 'machine_region' then
    p_row.machine_region := p_patch ->> 'machine_region';
  end if;
  if p_patch ? 'secrets_version' then
    -- Versions of one app only grow; a secret that an operator has set meanwhile has a later one.
    p_row.secrets_version := case when p_patch ->> 'secrets_version' is not null
                                  then greatest(p_row.secrets_version, (p_patch ->> 'secrets_version')::bigint) end;
    p_row.token_issued_at := (p_patch ->> 'token_issued_at')::timestamptz;
    p_row.token_expires_at := (p_patch ->> 'token_expires_at')::timestamptz;
    p_row.token_key_id := p_patch ->> 'token_key_id';
    if p_row.secrets_version is null then
      p_row.token_running_until := null;
      perform hangar.mark_secrets_lost(p_row);
    end if;
  elsif (p_patch ->> 'secrets_running')::bigint = p_row.secrets_version then
    p_row.token_running_until := p_row.token_expires_at;
  end if;
  if p_patch ? 'addresses' then
    p_row.addresses := nullif(p_patch -> 'addresses', 'null');
  end if;
  if p_patch ? 'price_usd_per_s' then
    p_row.price_usd_per_s := (p_patch ->> 'price_usd_per_s')::numeric;
  end if;
  if p_patch ? 'observed_spec' then
    p_row.observed_spec := nullif(p_patch -> 'observed_spec', 'null');
  end if;
  if p_patch ? 'drift_error' then
    p_row.drift_error := p_patch ->> 'drift_error';
  end if;
  if p_patch -> 'observed' = 'true' then
    p_row.observed_at := v_now;
    if p_row.create_unknown_at <= v_now - interval '120 seconds' then
      p_row.create_unknown_at := null;
    end if;
  end if;
  return p_row;
end
$$;

-- Verdicts: made for one generation, and valid for that one only.
create function hangar.apply_verdict(p_row public.user_fly_apps, p_patch jsonb, p_generation bigint) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_patch ? 'status' then
    p_row.status := p_patch ->> 'status';
  end if;
  if p_patch ? 'health_status' then
    p_row.health_status := p_patch ->> 'health_status';
    p_row.last_health_check := v_now;
    if p_row.health_status is distinct from 'unhealthy' then
      p_row.bad_samples := 0;
      p_row.bad_sample_at := null;
    end if;
  end if;
  if p_patch ? 'drift' then
    p_row.drift := coalesce(nullif(p_patch -> 'drift', 'null'), '{}');
  end if;
  if p_patch ? 'image_digest' then
    p_row.image_digest := p_patch ->> 'image_digest';
  end if;
  if p_patch -> 'deployed' = 'true' then
    p_row.deployed_at := v_now;
  end if;
  if p_patch -> 'converged' = 'true' then
    p_row.observed_generation := p_generation;
    if p_row.spare_machine_id is null and p_row.desired_state = 'present' then
      p_row.move_release_id := null;
    end if;
    p_row.drift_repair := case when p_row.drift <> '{}' then p_row.drift_repair end;
    p_row.retry_count := 0;
    p_row.error_code := null;
    p_row.error_message := null;
    p_row.next_attempt_at := case when p_row.desired_state = 'present' then null when p_row.hold_until > v_now then p_row.hold_until
                                  when p_row.delete_after > v_now then p_row.delete_after end;
  end if;
  if p_patch ? 'error_code' then
    p_row.error_code := p_patch ->> 'error_code';
  end if;
  if p_patch ? 'error_message' then
    p_row.error_message := p_patch ->> 'error_message';
  end if;
  if p_patch ? 'retry_count' then
    p_row.retry_count := coalesce((p_patch ->> 'retry_count')::integer, 0);
  end if;
  if p_patch ? 'next_attempt_in_s' then
    p_row.next_attempt_at := v_now + make_interval(secs => (p_patch ->> 'next_attempt_in_s')::double precision);
  end if;
  return p_row;
end
$$;

-- Gives the row its new name. The one possible conflict is a name that another user was given at the same moment.
create function hangar.store_name(p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_stored boolean := false;
begin
  while not v_stored loop
    begin
      update public.user_fly_apps a set fly_app_name = p_row.fly_app_name, name_seq = p_row.name_seq where a.id = p_row.id;
      v_stored := true;
    exception when unique_violation then
      select n.seq, n.name into p_row.name_seq, p_row.fly_app_name
        from hangar.next_name((select g.app_prefix from hangar.settings g), p_row.user_id, p_row.name_seq + 1) n;
    end;
  end loop;
end
$$;

-- Writes the columns that a save may change. The name is written only when it changes: an UPDATE that lists a unique column locks the row
-- against every insert of the host that refers to it, even if the value stays.
create function hangar.store_row(p_row public.user_fly_apps) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
begin
  if p_row.fly_app_name <> (select a.fly_app_name from public.user_fly_apps a where a.id = p_row.id) then
    perform hangar.store_name(p_row);
  end if;
  update public.user_fly_apps a
     set (machine_id, spare_machine_id, move_release_id, machine_state, machine_region, secrets_version, token_issued_at, token_expires_at,
          token_key_id, token_running_until, addresses, price_usd_per_s, observed_at, observed_spec, image_digest, env_digest,
          env_version_deployed, drift, drift_repair, drift_repair_at, drift_repairs, drift_error, create_unknown_at, open_intent, status,
          deleted_at, health_status, last_health_check, bad_samples, bad_sample_at, error_code, error_message, retry_count, next_attempt_at,
          deployed_at, observed_generation, new_name_request, lease_token, lease_holder, lease_expires_at)
       = (p_row.machine_id, p_row.spare_machine_id, p_row.move_release_id, p_row.machine_state, p_row.machine_region, p_row.secrets_version,
          p_row.token_issued_at, p_row.token_expires_at, p_row.token_key_id, p_row.token_running_until, p_row.addresses,
          p_row.price_usd_per_s, p_row.observed_at, p_row.observed_spec, p_row.image_digest, p_row.env_digest, p_row.env_version_deployed,
          p_row.drift, p_row.drift_repair, p_row.drift_repair_at, p_row.drift_repairs, p_row.drift_error, p_row.create_unknown_at,
          p_row.open_intent, p_row.status, p_row.deleted_at, p_row.health_status, p_row.last_health_check, p_row.bad_samples,
          p_row.bad_sample_at, p_row.error_code, p_row.error_message, p_row.retry_count, p_row.next_attempt_at, p_row.deployed_at,
          p_row.observed_generation, p_row.new_name_request, p_row.lease_token, p_row.lease_holder, p_row.lease_expires_at)
   where a.id = p_row.id
  returning a.* into strict p_row;
  return p_row;
end
$$;

-- After a row was closed: a user who is entitled by now gets a new row with a new name. If that is unknown, the closed row decides.
create function hangar.open_successor(p_closed public.user_fly_apps) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_want record;
begin
  select e.* into v_want from hangar.entitlements(array[p_closed.user_id]) e;
  if v_want.entitled then
    return hangar.create_app_row(p_closed.user_id, v_want.plan, v_want.spec, v_want.why, 'successor');
  elsif v_want.entitled is null and p_closed.desired_state = 'present' then
    return hangar.create_app_row(p_closed.user_id, p_closed.tier, hangar.spec_of(p_closed), v_want.why, 'successor');
  end if;
  return null;
end
$$;

create function public.fly_save(
  p_id uuid, p_lease_token uuid, p_planned_generation bigint, p_patch jsonb default '{}', p_events jsonb default '[]',
  p_release boolean default false
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz;
  v_intent jsonb := hangar.find_intent(p_events);
  v_row public.user_fly_apps;
  v_moved boolean;
  v_refused text;
  v_withheld uuid;  -- the intent that was refused
  v_deleted boolean := p_patch -> 'deleted' is not distinct from 'true';
  v_successor uuid;
  v_was text;  -- the error code before this save
begin
  perform hangar.check_keys('patch', p_patch, array[
    'machine_id', 'spare_machine_id', 'machine_state', 'machine_region', 'secrets_version', 'token_issued_at', 'token_expires_at', 'token_key_id', 'secrets_running', 'price_usd_per_s', 'rename', 'observed', 'observed_spec',
    'host_ok', 'image_digest', 'deploying', 'drift', 'drift_error', 'status', 'health_status', 'error_code', 'error_message', 'retry_count',
    'next_attempt_in_s', 'deployed', 'converged', 'deleted', 'region_capacity', 'addresses', 'new_name_judged']);
  if not v_deleted and p_patch ->> 'status' = 'deleted' then
    raise exception 'status deleted is set by deleted: true' using errcode = 'invalid_parameter_value';
  end if;
  select a.* into v_row from public.user_fly_apps a where a.id = p_id for no key update;
  if v_row.id is null then
    return 'null'::jsonb;
  end if;
  v_now := hangar.now();  -- after the wait for the lock: an expired lease never writes
  if v_row.lease_token is distinct from p_lease_token or p_lease_token is null or v_row.lease_expires_at <= v_now then
    perform hangar.store_events(v_row.id, v_row.user_id, p_events, (v_intent ->> 'id')::uuid);
    return 'null'::jsonb;
  end if;

  v_was := v_row.error_code;
  v_moved := v_row.generation is distinct from p_planned_generation;
  if v_intent is not null then
    v_refused := case when v_moved then 'stale' else hangar.check_intent(v_row, v_intent) end;
    if v_refused is not null then
      v_withheld := (v_intent ->> 'id')::uuid;
      v_intent := null;
    end if;
    -- The check may have made the row present again.
    select a.* into v_row from public.user_fly_apps a where a.id = p_id;
    v_moved := v_row.generation is distinct from p_planned_generation;
    if v_refused = 'entitlement_unknown' and v_row.status = 'error' and not hangar.is_org_wide(v_row.error_code) then
      -- The removal waits for the host now, not for the failure of an earlier attempt, whose alert would otherwise stay open.
      v_row := hangar.without_failure(v_row, 'deprovisioning');
    end if;
  end if;
  if v_intent is not null then
    perform hangar.record_machine_change(v_row.id, v_row.machine_id, v_intent);
  end if;
  if p_events <> '[]' then
    perform hangar.store_events(v_row.id, v_row.user_id, p_events, v_withheld);
    v_row := hangar.end_refusal(hangar.close_intents(v_row, p_events, v_intent, v_withheld), p_events);
  end if;
  if v_intent is not null then
    v_row := hangar.record_deploying(v_row, v_intent, p_patch -> 'deploying');
  end if;
  v_row := hangar.apply_facts(v_row, p_patch);
  if v_moved then
    v_row.next_attempt_at := least(v_row.next_attempt_at, v_now);
  else
    v_row := hangar.apply_verdict(v_row, p_patch - 'deleted', p_planned_generation);
  end if;
  if v_deleted then
    v_row.status := 'deleted';
    v_row.deleted_at := v_now;
    v_row.machine_state := 'absent';
    v_row.spare_machine_id := null;
    v_row.move_release_id := null;
    v_row.addresses := null;
    v_row.create_unknown_at := null;
    v_row.next_attempt_at := null;
    v_row.open_intent := null;
  end if;
  v_row.new_name_request := case when v_deleted or not v_moved and (p_patch -> 'converged' = 'true' or p_patch -> 'new_name_judged' = 'true') then null else v_row.new_name_request end;
  if v_row.status in ('provisioning', 'deprovisioning') and v_row.next_attempt_at is null then
    -- A row in progress without a next attempt would stay so forever.
    v_row.next_attempt_at := v_now + make_interval(secs => (select g.retry_base_s from hangar.settings g)::double precision);
  end if;
  v_row.lease_expires_at := v_now + make_interval(secs => (select g.lease_s from hangar.settings g)::double precision);
  if coalesce(p_release, false) or v_deleted then
    v_row.lease_token := null;
    v_row.lease_holder := null;
    v_row.lease_expires_at := null;
  end if;
  v_row := hangar.store_row(v_row);
  if not v_moved and p_patch -> 'converged' = 'true' then
    perform hangar.record_machine_up(v_row.id);
  end if;
  perform hangar.record_out_of_reach(v_row, p_patch);
  perform hangar.record_region_capacity(v_row.cpu_kind, p_patch -> 'region_capacity');
  perform hangar.sync_alerts(v_row, v_moved, p_patch, v_was);
  perform hangar.check_crash_loop(v_row, p_events);
  if v_deleted then
    v_successor := hangar.open_successor(v_row);
  end if;
  return jsonb_build_object('row', hangar.row_json(v_row, v_row.lease_token is not null), 'settings', hangar.settings_json(),
    'now', v_now, 'generation_moved', v_moved, 'refused', v_refused, 'successor', v_successor,
    'retry_in_s', case when v_refused = 'rate' then greatest(extract(epoch from v_row.delete_turn_at - v_now), 0.1) end);
end
$$;
comment on function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) is 'Saves a worker''s findings, outcome and next intent under its lease. docs/database.md.';

select hangar.restrict_functions();
