-- Pins: an operator fixes image, size or further environment for one user, or keeps releases away until a date.
-- Builds on: release_targets, settings (the form of an image).

create function hangar.pin_json(p_pin hangar.user_pins) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when p_pin.user_id is not null then pg_catalog.jsonb_strip_nulls(
    pg_catalog.to_jsonb(p_pin) - 'env' - 'ended' || pg_catalog.jsonb_build_object(
      -- Names only: a value may be somebody's secret.
      'env', (select pg_catalog.jsonb_agg(k order by k) from pg_catalog.jsonb_object_keys(p_pin.env) k))) end
$$;

-- Why this pin cannot be set, as a sentence; null if it can.
create function hangar.explain_refused_pin(p_pin jsonb, p_row public.user_fly_apps) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_refused text;
begin
  if p_pin ->> 'image' is not null then
    v_refused := hangar.explain_refused_setting('default_image', p_pin -> 'image');
    if v_refused is not null then
      return replace(v_refused, 'default_image', 'image');
    end if;
  end if;
  if p_pin ? 'env' then
    -- Null removes a name.
    v_refused := hangar.explain_refused_env(case when jsonb_typeof(p_pin -> 'env') = 'object' then jsonb_strip_nulls(p_pin -> 'env') else p_pin -> 'env' end);
    if v_refused is not null then
      return v_refused;
    end if;
  end if;
  if (p_pin ? 'cpu_count' and jsonb_typeof(p_pin -> 'cpu_count') not in ('number', 'null'))
     or (p_pin ? 'memory_mb' and jsonb_typeof(p_pin -> 'memory_mb') not in ('number', 'null')) then
    return 'cpu_count and memory_mb must be whole numbers';
  end if;
  if p_pin ->> 'cpu_count' is not null or p_pin ->> 'memory_mb' is not null or p_pin ->> 'cpu_kind' is not null then
    if p_row.id is null then
      return 'a size can be pinned only for a user who has an app';
    end if;
    return hangar.explain_refused_size(coalesce(p_pin ->> 'cpu_kind', p_row.cpu_kind), coalesce((p_pin ->> 'cpu_count')::integer, p_row.cpu_count),
                                       coalesce((p_pin ->> 'memory_mb')::integer, p_row.memory_mb));
  end if;
  return null;
end
$$;

-- What pins in force fix of the machine itself.
create function hangar.pinned_parts(p_pin hangar.user_pins) returns jsonb
language sql stable set search_path = ''
as $$
  select case when p_pin.ends_at is null or p_pin.ends_at > hangar.now() then pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'image', p_pin.image, 'cpu_kind', p_pin.cpu_kind, 'cpu_count', p_pin.cpu_count, 'memory_mb', p_pin.memory_mb, 'env', nullif(p_pin.env, '{}')))
    else '{}' end
$$;

create function public.fly_set_user_pin(p_user uuid, p_pin jsonb, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_was hangar.user_pins;
  v_pin hangar.user_pins;
  v_ended jsonb;
  v_sized boolean := coalesce(p_pin ->> 'cpu_kind', p_pin ->> 'cpu_count', p_pin ->> 'memory_mb') is not null;
  -- A size that is named and null is no longer pinned.
  v_unsized boolean := not v_sized and coalesce(p_pin ?| array['cpu_kind', 'cpu_count', 'memory_mb'], false);
  v_refused text;
  v_env jsonb;
  v_want record;
begin
  perform hangar.require_actor(p_actor);
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  select n.* into v_was from hangar.user_pins n where n.user_id = p_user;
  if p_pin is null or p_pin = 'null' then
    delete from hangar.user_pins n where n.user_id = p_user;
  else
    perform hangar.check_keys('pin', p_pin, array['image', 'cpu_kind', 'cpu_count', 'memory_mb', 'env', 'held_back_until', 'ends_at']);
    v_refused := hangar.explain_refused_pin(p_pin, v_row);
    if v_refused is not null then
      raise exception '%', v_refused using errcode = 'invalid_parameter_value';
    end if;
    if v_was.ends_at <= hangar.now() then
      -- The parts of a pin end together, and a later pin brings none of them back.
      v_ended := jsonb_strip_nulls(jsonb_build_object('image', v_was.image, 'cpu_kind', v_was.cpu_kind, 'cpu_count', v_was.cpu_count,
                                                      'memory_mb', v_was.memory_mb));
      if p_pin - 'ends_at' = '{}' then
        raise exception 'the pin of this user has ended: name what the new one fixes' using errcode = 'invalid_parameter_value';
      end if;
    else
      v_pin := v_was;
    end if;
    v_ended := nullif(coalesce(v_was.ended, '{}') || coalesce(v_ended, '{}'), '{}');
    v_env := jsonb_strip_nulls(coalesce(v_pin.env, '{}') || coalesce(p_pin -> 'env', '{}'));
    insert into hangar.user_pins as n (user_id, image, cpu_kind, cpu_count, memory_mb, env, held_back_until, ends_at, ended, reason, actor)
    values (p_user, case when p_pin ? 'image' then p_pin ->> 'image' else v_pin.image end,
      case when v_sized then coalesce(p_pin ->> 'cpu_kind', v_row.cpu_kind) when not v_unsized then v_pin.cpu_kind end,
      case when v_sized then coalesce((p_pin ->> 'cpu_count')::integer, v_row.cpu_count) when not v_unsized then v_pin.cpu_count end,
      case when v_sized then coalesce((p_pin ->> 'memory_mb')::integer, v_row.memory_mb) when not v_unsized then v_pin.memory_mb end,
      v_env, case when p_pin ? 'held_back_until' then (p_pin ->> 'held_back_until')::timestamptz else v_pin.held_back_until end,
      case when p_pin ? 'ends_at' then (p_pin ->> 'ends_at')::timestamptz else v_pin.ends_at end, v_ended, coalesce(p_reason, v_pin.reason), p_actor)
    on conflict (user_id) do update set image = excluded.image, cpu_kind = excluded.cpu_kind, cpu_count = excluded.cpu_count,
      memory_mb = excluded.memory_mb, env = excluded.env, held_back_until = excluded.held_back_until, ends_at = excluded.ends_at, ended = excluded.ended,
      reason = excluded.reason, actor = excluded.actor, created_at = hangar.now();
    -- What pins nothing any more is no pin.
    delete from hangar.user_pins n
     where n.user_id = p_user and n.image is null and n.cpu_count is null and n.env = '{}' and n.held_back_until is null;
  end if;
  select n.* into v_pin from hangar.user_pins n where n.user_id = p_user;
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (v_row.id, p_user, 'pin_set', 'info', jsonb_strip_nulls(jsonb_build_object('actor', p_actor, 'reason', p_reason,
    'pin', coalesce(hangar.pin_json(v_pin) - 'user_id' - 'actor' - 'reason', '"none"'))));
  -- A hold-back, an end or a reason says nothing about the machine, which stays as it is.
  if v_row.id is not null and v_row.desired_state = 'present'
     and (v_pin.user_id is null or hangar.pinned_parts(v_was) is distinct from hangar.pinned_parts(v_pin)) then
    update hangar.user_pins n set ended = null where n.user_id = p_user and n.ended is not null;
    select e.* into v_want from hangar.entitlements(array[p_user]) e;
    if v_want.entitled and v_want.spec is distinct from hangar.spec_of(v_row) then
      v_row := hangar.make_present(v_row.id, v_row.tier, v_want.spec);
      perform hangar.record_desired_change(v_row, jsonb_build_object('desired_state', 'present', 'tier', v_row.tier), 'pin', 'pin');
      perform hangar.wake_up(array[p_user]);
    end if;
  end if;
  return jsonb_build_object('pin', hangar.pin_json(v_pin), 'row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_set_user_pin(uuid, jsonb, text, text) is 'Pins image, size, environment or a date before which no release touches one user; null removes the pin. docs/database.md.';

select hangar.restrict_functions();
