-- Events and intents: what a save may announce, what is refused, and how an intent ends.

-- A JSON object with known keys only, or 22023 that names the unknown ones.
create function hangar.check_keys(p_what text, p_object jsonb, p_known text[]) returns void
language plpgsql immutable set search_path = ''
as $$
declare
  v_unknown text;
begin
  if p_object is null or jsonb_typeof(p_object) <> 'object' then
    raise exception '% must be a JSON object', p_what using errcode = 'invalid_parameter_value';
  end if;
  select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_object) k where k <> all (p_known);
  if v_unknown is not null then
    raise exception 'unknown % key: %', p_what, v_unknown using errcode = 'invalid_parameter_value',
      hint = 'Known: ' || array_to_string(p_known, ', ');
  end if;
end
$$;

-- Refuses a list of events that is not one; returns the one intent in it, or null.
create function hangar.find_intent(p_events jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_event jsonb;
  v_intent jsonb;
begin
  if p_events is null or jsonb_typeof(p_events) <> 'array' then
    raise exception 'p_events must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  for v_event in select e from jsonb_array_elements(p_events) e loop
    perform hangar.check_keys('event', v_event, array['id', 'event_type', 'status', 'metadata', 'error_details']);
    if v_event ->> 'id' is null or v_event ->> 'event_type' is null or v_event ->> 'status' is null then
      raise exception 'an event needs id, event_type and status' using errcode = 'invalid_parameter_value';
    end if;
    if v_event ->> 'event_type' = 'action' and v_event ->> 'status' = 'intent' then
      if v_intent is not null then
        raise exception 'one save may carry one intent' using errcode = 'invalid_parameter_value';
      elsif v_event -> 'metadata' ->> 'action' is null then
        raise exception 'an intent needs metadata.action' using errcode = 'invalid_parameter_value';
      end if;
      v_intent := v_event;
    end if;
  end loop;
  return v_intent;
end
$$;

-- Stores events in their order. A repeated save stores none twice.
create function hangar.store_events(p_app uuid, p_user uuid, p_events jsonb, p_but_not uuid default null) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (id, fly_app_id, user_id, event_type, status, metadata, error_details, created_at)
  select (e.event ->> 'id')::uuid, p_app, p_user, e.event ->> 'event_type', e.event ->> 'status',
         coalesce(nullif(e.event -> 'metadata', 'null'), '{}'), e.event ->> 'error_details', hangar.now()
    from pg_catalog.jsonb_array_elements(p_events) with ordinality as e (event, nr)
   where p_but_not is null or (e.event ->> 'id')::uuid <> p_but_not
   order by e.nr
  on conflict (id) do nothing
$$;

-- Opens an alert, or counts one more sight of the open one. True when it is new.
create function hangar.raise_alert(p_kind text, p_key text, p_message text, p_metadata jsonb default '{}', p_told boolean default false,
                                   out fresh boolean, out id uuid)
language plpgsql volatile set search_path = ''
as $$
begin
  insert into hangar.alerts as a (kind, key, message, metadata, told_at)
  values (p_kind, p_key, p_message, coalesce(p_metadata, '{}'), case when p_told then hangar.now() end)
  on conflict (kind, key) where resolved_at is null
  do update set seen_at = hangar.now(), times = a.times + 1, message = excluded.message, metadata = excluded.metadata
  returning a.times = 1, a.id into fresh, id;
  if fresh then
    insert into public.user_fly_app_events (event_type, status, metadata, error_details)
    values ('alert_raised', 'info', jsonb_build_object('kind', p_kind, 'key', p_key, 'alert_id', id), p_message);
  end if;
end
$$;

-- How the brake stands, since its last release. `gone`: what was taken from somebody in the last hour; an app counts once, so stopping,
-- destroying and deleting it are one. An orphan is another app than its row's. `lost`: apps whose rows this database never had, and of which
-- nobody has spoken; too many of them, or any beside no row at all, and the database is not what it was: restored, emptied, or not the
-- only one. A release in the future (a clock set back) is none.
create function hangar.read_brake(out gone text[], out most numeric, out lost bigint, out why text)
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_released timestamptz := (select g.brake_released_at from hangar.settings g where g.brake_released_at <= v_now);
  v_fleet bigint := (select count(*) from public.user_fly_apps a where a.deleted_at is null);
begin
  select coalesce(array_agg(distinct case e.metadata ->> 'purpose' when 'orphan' then e.metadata ->> 'app' else e.fly_app_id::text end), '{}') into gone
    from public.user_fly_app_events e
   where e.event_type = 'action' and e.status = 'intent' and (e.metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app')
     and e.created_at >= greatest(v_now - interval '1 hour', v_released);
  select count(*) into lost from public.fly_orphans o where hangar.awaits_word(o);
  select greatest(g.brake_floor, g.brake_share * v_fleet),
         case when lost > g.brake_lost or (lost > 0 and v_fleet = 0) then 'lost'
              when cardinality(gone) >= greatest(g.brake_floor, g.brake_share * v_fleet) then 'many' end
    into most, why
    from hangar.settings g;
end
$$;

-- Null when this app (a row's id, or an orphan's name) may go, else why not.
create function hangar.judge_brake(p_app text) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_brake record;
begin
  -- One at a time, else two workers both see room for one more.
  perform pg_advisory_xact_lock(hashtextextended('hangar.brake', 0));
  select b.* into v_brake from hangar.read_brake() b;
  if v_brake.why is null or v_brake.why = 'many' and p_app = any (v_brake.gone) then
    return null;
  end if;
  return jsonb_build_object('why', v_brake.why, 'destroyed_last_hour', cardinality(v_brake.gone), 'most', trunc(v_brake.most, 2)::text,
    'lost_apps', v_brake.lost);
end
$$;

-- Says once that the brake holds something back, why, and what to do.
create function hangar.tell_brake(p_brake jsonb, p_row uuid, p_user uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_message text := case p_brake ->> 'why'
    when 'lost' then format(
      'The brake is on, nothing is destroyed: %s Fly app(s) carry this installation''s proof and name rows that this database never had. It '
      'was restored from an older copy, or emptied, or a second Hangar runs with the same HANGAR_INSTALLATION_ID. First bring '
      'user_subscriptions up to date: whoever is entitled gets their app back. Then `hangar orphans` shows what is left, and '
      '`hangar brake --release` lets that go', p_brake ->> 'lost_apps')
    else format(
      'The brake is on, nothing more is destroyed: %s apps were taken away in the last hour, %s is the most. See which: '
      '`hangar events --type action --since 1h`. If it was a mistake, undo it in user_subscriptions or fly_plans (or `hangar pause` first): who '
      'is entitled again keeps the app. If it was meant: `hangar brake --release`; by itself it goes on as the hour passes',
      p_brake ->> 'destroyed_last_hour', p_brake ->> 'most') end;
begin
  if (select r.fresh from hangar.raise_alert('brake', case p_brake ->> 'why' when 'lost' then 'database' else 'fleet' end, v_message, p_brake) r) then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (p_row, p_user, 'brake_tripped', 'info', p_brake);
  end if;
end
$$;

-- The operator's caps, counting every app that exists or is being made. One at a time, else two workers both see room for one more.
create function hangar.judge_caps(p_row public.user_fly_apps, p_settings hangar.settings) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_apps bigint;
  v_cost numeric;
begin
  if p_settings.max_apps is null and p_settings.max_monthly_cost_usd is null then
    return null;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('hangar.caps', 0));
  select count(*), sum(a.monthly_cost_estimate_usd) into v_apps, v_cost
    from public.user_fly_apps a
   where a.deleted_at is null
     and (a.id = p_row.id or a.deployed_at is not null or a.open_intent is not null or a.machine_id is not null
          or a.secrets_version is not null or a.create_unknown_at is not null);
  return case when v_apps > p_settings.max_apps then 'max_apps' when v_cost > p_settings.max_monthly_cost_usd then 'max_cost' end;
end
$$;

-- Whether an operator restarted this app's machine within the last minute, or is at it. One that failed may be tried again at once.
create function hangar.was_restarted(p_row_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select 1 from public.user_fly_app_events e
     where e.fly_app_id = p_row_id and e.created_at > hangar.now() - interval '60 seconds'
       and e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'restart_machine'
       and not exists (
         select 1 from public.user_fly_app_events f
          where f.fly_app_id = e.fly_app_id and f.created_at >= e.created_at
            and f.event_type = 'action' and f.status = 'failed' and f.metadata ->> 'intent_id' = e.id::text))
$$;

-- Why this intent may not go out now; null when it may. The row is locked.
create function hangar.judge_intent(p_row public.user_fly_apps, p_intent jsonb) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_meta jsonb := p_intent -> 'metadata';
  v_destroys boolean := v_meta ->> 'action' in ('destroy_machine', 'delete_app');
  v_takes_away boolean := v_destroys or v_meta ->> 'action' = 'stop_machine';
  v_brake jsonb;
begin
  select * into strict v_settings from hangar.settings;
  if p_row.network not like hangar.network_name(v_settings.installation_id, p_row.id)
     or v_meta ->> 'installation_id' <> v_settings.installation_id::text then
    return 'installation';  -- a cloned database: what the row names belongs to somebody else
  elsif v_settings.paused then
    return 'paused';
  elsif v_destroys and v_settings.deletes_paused then
    return 'deletes_paused';
  elsif v_meta ->> 'action' = 'restart_machine' and hangar.was_restarted(p_row.id) then
    return 'restarted';
  elsif v_meta ->> 'action' = 'create_app' then
    return hangar.judge_caps(p_row, v_settings);
  end if;
  -- Before the entitlement, because it waits its turn, and a renewal that is committed meanwhile has to be seen.
  v_brake := case when v_takes_away then hangar.judge_brake(p_row.id::text) end;
  -- Stopping counts too: it is no destroy, but an entitled user's machine should not even pause.
  if v_meta ->> 'purpose' = 'deprovision' then
    perform hangar.apply(p_row.user_id, 'save');
    if (select a.desired_state from public.user_fly_apps a where a.id = p_row.id) = 'present' then
      return 'entitled';
    end if;
  end if;
  if v_brake is not null then
    perform hangar.tell_brake(v_brake, p_row.id, p_row.user_id);
    return 'brake';
  end if;
  return case when v_meta ->> 'action' = 'delete_app' and not hangar.take_turn(p_row) then 'rate' end;
end
$$;

-- The row as events leave it: an outcome closes the open intent, a new intent takes its place, and a withheld one is open no more.
create function hangar.settle_intents(p_row public.user_fly_apps, p_events jsonb, p_intent jsonb, p_withheld uuid)
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
  -- Whose worker went on without a word about it, or was stored by a save whose repetition is refused.
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

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
