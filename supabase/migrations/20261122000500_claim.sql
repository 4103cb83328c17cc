-- Leases: who may act on an app now. Judged by hangar.now() alone.
-- The procedures are SECURITY DEFINER: service_role may call them and read, and nothing else can change a row.

-- PL/pgSQL, because every answer carries a row, and as an expression it costs half.
create function hangar.row_json(p_row public.user_fly_apps, p_with_token boolean default false) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return case when p_row.id is not null then
    to_jsonb(p_row) || jsonb_build_object(
      'generation', p_row.generation::text,
      'observed_generation', p_row.observed_generation::text,
      'secrets_version', p_row.secrets_version::text,
      'monthly_cost_estimate_usd', p_row.monthly_cost_estimate_usd::text,
      'price_usd_per_s', p_row.price_usd_per_s::text)
    || case when p_with_token then '{}' else '{"lease_token": null}'::jsonb end end;
end
$$;
comment on function hangar.row_json(public.user_fly_apps, boolean) is 'The row as the procedures return it: bigints and money as text; the lease token only for its holder.';

create function hangar.check_limit(p_name text, p_value integer, p_most integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_value is null or p_value < 1 or p_value > p_most then
    raise exception '% must be from 1 to %, not %', p_name, p_most, coalesce(p_value::text, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;

create function hangar.is_create(p_action text) returns boolean
language sql immutable set search_path = ''
as $$ select coalesce(p_action in ('create_app', 'create_machine'), false) $$;

-- Leases a row that is locked and free. An intent without an outcome is closed as unknown here: its worker is gone.
create function hangar.lease_row(p_row public.user_fly_apps, p_holder text) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_lease_s numeric := (select g.lease_s from hangar.settings g);
  v_intent jsonb := p_row.open_intent;
begin
  if v_intent is not null then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (p_row.id, p_row.user_id, 'action', 'unknown', jsonb_strip_nulls(jsonb_build_object(
      'action', v_intent -> 'action', 'attempt', v_intent -> 'attempt', 'purpose', v_intent -> 'purpose',
      'intent_id', v_intent -> 'id', 'generation', p_row.generation, 'actor', p_holder, 'closed_by', 'claim')));
  end if;
  update public.user_fly_apps a
     set lease_token = gen_random_uuid(), lease_holder = p_holder, lease_expires_at = v_now + make_interval(secs => v_lease_s),
         open_intent = null,
         create_unknown_at = case when hangar.is_create(v_intent ->> 'action')
                                  then greatest(a.create_unknown_at, (v_intent ->> 'at')::timestamptz) else a.create_unknown_at end,
         -- Due until somebody saves otherwise: should this worker vanish, the drain finds the row when the lease ends.
         next_attempt_at = least(a.next_attempt_at, v_now)
   where a.id = p_row.id
  returning a.* into p_row;
  return p_row;
end
$$;

create function public.fly_claim(p_user uuid, p_holder text default 'unknown', p_force boolean default false) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz;
  v_nudges text := hangar.mute_nudges();  -- whoever claims is already looking
  v_row public.user_fly_apps;
  v_last public.user_fly_apps;
  v_want record;
  v_outcome text;
  v_closed boolean := false;
begin
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.apply(p_user, 'claim');
  select d.known, d.entitled into v_want from hangar.derive(array[p_user]) d;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  v_now := hangar.now();
  if v_row.id is null then
    v_outcome := 'none';
    select a.* into v_last from public.user_fly_apps a
     where a.user_id = p_user order by a.deleted_at desc, a.name_seq desc limit 1;
  elsif v_row.lease_expires_at > v_now then
    v_outcome := 'leased';
  elsif not coalesce(p_force, false)
    and (v_row.status = 'error' and (v_row.next_attempt_at is null or v_row.next_attempt_at > v_now)
      or v_row.desired_state = 'absent' and v_row.delete_after > v_now and v_row.next_attempt_at > v_now) then
    v_outcome := 'waiting';
  else
    v_outcome := 'claimed';
    v_closed := v_row.open_intent is not null;
    v_row := hangar.lease_row(v_row, coalesce(p_holder, 'unknown'));
  end if;
  perform set_config('hangar.nudges', v_nudges, true);
  return jsonb_build_object(
    'outcome', v_outcome, 'row', hangar.row_json(v_row, v_outcome = 'claimed'), 'last', hangar.row_json(v_last),
    'settings', hangar.settings_json(), 'now', v_now, 'entitled', v_want.entitled,
    'known', coalesce(v_want.known, false) or v_row.id is not null or v_last.id is not null, 'closed_unknown', v_closed);
end
$$;
comment on function public.fly_claim(uuid, text, boolean) is 'Derives one user''s desired state and leases the live row. docs/database.md.';

create function public.fly_claim_due(p_limit integer default 20, p_holder text default 'unknown', p_first text default 'present') returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_nudges text := hangar.mute_nudges();
  v_row public.user_fly_apps;
  v_queue text;
  v_round integer := 0;
  v_due bigint;
  v_closed boolean;
  v_claimed jsonb := '[]';
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  if p_first is null or p_first not in ('present', 'absent') then
    raise exception 'p_first must be present or absent' using errcode = 'invalid_parameter_value';
  end if;
  select count(*) into v_due from public.user_fly_apps a
   where a.deleted_at is null and a.next_attempt_at <= v_now and (a.lease_expires_at is null or a.lease_expires_at <= v_now);
  -- Two queues, so that an upgrade does not wait for a thousand deletions, nor they for it: half of the places for the one that is
  -- asked for first, the others for the other, and what is then left over for the first again.
  foreach v_queue in array array[p_first, case p_first when 'present' then 'absent' else 'present' end, p_first] loop
    exit when v_due <= jsonb_array_length(v_claimed) or (select g.paused from hangar.settings g);
    v_round := v_round + 1;
    for v_row in
      select a.* from public.user_fly_apps a
       where a.deleted_at is null and a.desired_state = v_queue and a.next_attempt_at <= v_now
         and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
       order by a.next_attempt_at, a.id
       limit case v_round when 1 then (p_limit + 1) / 2 else p_limit - jsonb_array_length(v_claimed) end
         for no key update skip locked
    loop
      -- The row may be due for a reason that has passed; what the user is entitled to now decides.
      perform hangar.apply(v_row.user_id, 'claim');
      select a.* into v_row from public.user_fly_apps a where a.id = v_row.id;
      v_closed := v_row.open_intent is not null;
      v_row := hangar.lease_row(v_row, coalesce(p_holder, 'unknown'));
      v_claimed := v_claimed || jsonb_build_object('row', hangar.row_json(v_row, true), 'closed_unknown', v_closed);
    end loop;
  end loop;
  perform set_config('hangar.nudges', v_nudges, true);
  return jsonb_build_object(
    'claimed', v_claimed, 'settings', hangar.settings_json(), 'now', v_now,
    -- More can be claimed than were counted: each statement sees what was committed before it.
    'due_left', greatest(v_due - jsonb_array_length(v_claimed), 0));
end
$$;
comment on function public.fly_claim_due(integer, text, text) is 'Leases rows that are due, oldest first in each of two queues; none while paused. docs/database.md.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
revoke all on function public.fly_claim(uuid, text, boolean), public.fly_claim_due(integer, text, text) from public, anon, authenticated;
grant execute on function public.fly_claim(uuid, text, boolean), public.fly_claim_due(integer, text, text) to service_role;
