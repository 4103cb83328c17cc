-- Intents: what a worker announces before a call that changes Fly, whether it may make that call, and how an intent ends.
-- Builds on: region_moves, limits, caps, drift, desired_state, audit_log, app_health.

-- Why this intent must be refused now, as a code of docs/database.md; null if it may be carried out. The row is locked.
create function hangar.check_intent(p_row public.user_fly_apps, p_intent jsonb) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_meta jsonb := p_intent -> 'metadata';
  v_destroys boolean := v_meta ->> 'action' in ('destroy_machine', 'delete_app');
  v_moves boolean := coalesce(v_meta ->> 'purpose' = 'move', false);
  -- What a release has begun may go back while the brake is on, but nothing is destroyed meanwhile.
  v_takes_away boolean := v_destroys or v_meta ->> 'action' = 'stop_machine' and not v_moves;
  v_refused text;
  -- Before another attempt of a call, its worker asks again. The call itself is in the log already, so it is not counted against itself.
  v_repeated boolean := coalesce(p_row.open_intent ->> 'id' = p_intent ->> 'id', false);
  v_brake jsonb;
  v_synced text;
begin
  select * into strict v_settings from hangar.settings;
  if p_row.network not like hangar.network_name(v_settings.installation_id, p_row.id)
     or v_meta ->> 'installation_id' <> v_settings.installation_id::text then
    return 'installation';  -- a cloned database: the app that the row names belongs to another installation
  elsif v_settings.paused then
    return 'paused';
  elsif v_meta ->> 'purpose' = 'drift' and not hangar.may_repair_drift(p_row.id) then
    return 'stale';
  elsif v_destroys and v_settings.deletes_paused then
    return 'deletes_paused';
  end if;
  v_refused := case when v_moves then hangar.check_move(p_row, v_meta) end;
  if v_refused is not null then
    return v_refused;
  elsif v_meta ->> 'purpose' = 'unhealthy' and not hangar.is_health_step(p_row.health_step, v_meta ->> 'action') then
    return 'stale';  -- taken back meanwhile: the app is well again, or many are unhealthy and are one incident
  elsif v_meta ->> 'action' = 'restart_machine' and v_meta ->> 'purpose' = 'restart' and not v_repeated and hangar.was_restarted(p_row.id) then
    return 'restarted';
  elsif v_meta ->> 'action' in ('create_app', 'create_machine', 'update_machine') then
    return hangar.check_caps(p_row, v_settings, v_meta ->> 'action');
  end if;
  -- Before the entitlement, because this waits for a lock, and a renewal that is committed meanwhile must be seen.
  v_brake := case when v_takes_away then hangar.check_brake(p_row.id::text) end;
  -- Stopping counts too: it destroys nothing, but an entitled user's machine should not even pause.
  if v_meta ->> 'purpose' = 'deprovision' then
    v_synced := hangar.sync_desired_state(p_row.user_id, 'save');
    if (select a.desired_state from public.user_fly_apps a where a.id = p_row.id) = 'present' then
      return 'entitled';
    elsif v_synced = 'unknown' then
      return 'entitlement_unknown';  -- the user may pay under a tier or status that Hangar does not know yet
    elsif (select a.hold_until > hangar.now() from public.user_fly_apps a where a.id = p_row.id) then
      return 'removal_hold';
    end if;
  end if;
  if v_brake is not null then
    perform hangar.raise_brake_alert(v_brake, p_row.id, p_row.user_id);
    return 'brake';
  end if;
  return case when v_meta ->> 'action' = 'delete_app' and not v_repeated and not hangar.reserve_delete_slot(p_row) then 'rate' end;
end
$$;

-- The row after these events: an outcome closes the open intent, a new intent replaces it, and a refused one does not stay open.
create function hangar.close_intents(p_row public.user_fly_apps, p_events jsonb, p_intent jsonb, p_withheld uuid)
returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_event jsonb;
  v_open jsonb := p_row.open_intent;
begin
  for v_event in select e from jsonb_array_elements(p_events) e where e ->> 'event_type' = 'action' and e ->> 'status' <> 'intent' loop
    if v_event -> 'metadata' ->> 'intent_id' = v_open ->> 'id' then
      if v_event ->> 'status' = 'unknown' and hangar.is_create(v_open ->> 'action') then
        p_row.create_unknown_at := hangar.now();
      end if;
      v_open := null;
    end if;
  end loop;
  -- Either the worker continued without recording an outcome, or an earlier save stored this intent and its repetition is refused.
  if v_open is not null and (p_intent ->> 'id' <> v_open ->> 'id' or p_withheld::text = v_open ->> 'id') then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (p_row.id, p_row.user_id, 'action', 'unknown', jsonb_strip_nulls(jsonb_build_object(
      'action', v_open -> 'action', 'attempt', v_open -> 'attempt', 'intent_id', v_open -> 'id', 'closed_by', 'save')));
    if hangar.is_create(v_open ->> 'action') then
      p_row.create_unknown_at := hangar.now();
    end if;
    v_open := null;
  end if;
  if p_intent is not null and v_open is null then
    v_open := jsonb_build_object('id', p_intent -> 'id', 'action', p_intent -> 'metadata' -> 'action', 'at', hangar.now(),
      'attempt', p_intent -> 'metadata' -> 'attempt', 'purpose', p_intent -> 'metadata' -> 'purpose');
  end if;
  p_row.open_intent := v_open;
  return p_row;
end
$$;

select hangar.restrict_functions();
