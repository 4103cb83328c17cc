-- Leases: which worker may act on an app now, decided by hangar.now() alone.
-- Builds on: desired_state, drift, marks, nudge, audit_log.
-- The procedures are SECURITY DEFINER: service_role may call them and read, and nothing else can change a row.

-- Leases a row that is locked and free. Closes an intent without an outcome as unknown, because its worker is gone.
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
    select p_row.id, p_row.user_id, 'action', 'unknown', jsonb_strip_nulls(jsonb_build_object(
      'action', v_intent -> 'action', 'attempt', v_intent -> 'attempt', 'purpose', v_intent -> 'purpose',
      'intent_id', v_intent -> 'id', 'generation', p_row.generation, 'actor', p_holder, 'closed_by', 'claim'))
     -- A worker whose lease had just ended has recorded the outcome, but could not write the row.
     where not exists (select 1 from public.user_fly_app_events o
                        where o.event_type = 'action' and o.status <> 'intent' and o.metadata ->> 'intent_id' = v_intent ->> 'id');
  end if;
  update public.user_fly_apps a
     set lease_token = gen_random_uuid(), lease_holder = p_holder, lease_expires_at = v_now + make_interval(secs => v_lease_s),
         open_intent = null,
         create_unknown_at = case when hangar.is_create(v_intent ->> 'action')
                                  then greatest(a.create_unknown_at, (v_intent ->> 'at')::timestamptz) else a.create_unknown_at end,
         -- Due until a save says otherwise: if this worker dies, the drain finds the row when the lease ends.
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
  v_row public.user_fly_apps;
  v_last public.user_fly_apps;
  v_want record;
  v_outcome text;
  v_closed boolean := false;
begin
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.take_marks(500, p_user);
  perform hangar.sync_desired_state(p_user, 'claim');
  select e.known, e.entitled, e.why into v_want from hangar.entitlements(array[p_user]) e;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  v_now := hangar.now();
  if v_row.id is null then
    v_outcome := 'none';
    select a.* into v_last from public.user_fly_apps a
     where a.user_id = p_user order by a.deleted_at desc, a.name_seq desc limit 1;
  elsif v_row.desired_state = 'legacy' then
    v_outcome := 'legacy';
  elsif v_row.lease_expires_at > v_now then
    v_outcome := 'leased';
  elsif not coalesce(p_force, false)
    and (v_row.status = 'error' and (v_row.next_attempt_at is null or v_row.next_attempt_at > v_now)
      or v_row.desired_state = 'absent' and greatest(v_row.hold_until, v_row.delete_after) > v_now and v_row.next_attempt_at > v_now) then
    v_outcome := 'waiting';
  else
    v_outcome := 'claimed';
    v_closed := v_row.open_intent is not null;
    if p_force then
      perform hangar.request_drift_repair(v_row.id);
    end if;
    v_row := hangar.lease_row(v_row, coalesce(p_holder, 'unknown'));
  end if;
  return jsonb_build_object(
    'outcome', v_outcome, 'row', hangar.row_json(v_row, v_outcome = 'claimed'), 'last', hangar.row_json(v_last),
    'settings', hangar.settings_json(), 'now', v_now, 'entitled', v_want.entitled, 'why', v_want.why,
    'known', coalesce(v_want.known, false) or v_row.id is not null or v_last.id is not null, 'closed_unknown', v_closed);
end
$$;
comment on function public.fly_claim(uuid, text, boolean) is 'Brings one user''s desired state up to date and leases the live row. docs/database.md.';

-- Locks the rows of one queue that are due and free, oldest first, at most p_limit. Returns their users, in that order.
create function hangar.lock_due_rows(p_queue text, p_limit integer) returns uuid[]
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_users uuid[];
begin
  with due as materialized (
    select a.id, a.user_id, a.next_attempt_at from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = p_queue and a.next_attempt_at <= v_now
       and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
     order by a.next_attempt_at, a.id limit p_limit
       for no key update skip locked
  )
  select coalesce(array_agg(d.user_id order by d.next_attempt_at, d.id), '{}') into v_users from due d;
  return v_users;
end
$$;

create function public.fly_claim_due(p_limit integer default 20, p_holder text default 'unknown', p_first text default 'present') returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_pair record;
  v_row public.user_fly_apps;
  v_users uuid[];
  v_queue text;
  v_round integer := 0;
  v_due bigint;
  v_closed boolean;
  v_claimed jsonb := '[]'::jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  if p_first is null or p_first not in ('present', 'absent') then
    raise exception 'p_first must be present or absent' using errcode = 'invalid_parameter_value';
  end if;
  select count(*) into v_due from public.user_fly_apps a
   where a.deleted_at is null and a.next_attempt_at <= v_now and (a.lease_expires_at is null or a.lease_expires_at <= v_now);
  -- Two queues, so that upgrades do not wait for a thousand deletions, nor deletions for upgrades: half of the places go to the queue
  -- p_first, the others to the other queue, and the places that are then left to the first again.
  foreach v_queue in array array[p_first, case p_first when 'present' then 'absent' else 'present' end, p_first]::text[] loop
    exit when v_due <= jsonb_array_length(v_claimed) or (select g.paused from hangar.settings g);
    v_round := v_round + 1;
    v_users := hangar.lock_due_rows(v_queue, case v_round when 1 then (p_limit + 1) / 2 else p_limit - jsonb_array_length(v_claimed) end);
    -- A row may be due for a reason that no longer holds. What its user is entitled to now decides. The host is read once for all of them,
    -- by a later statement than the locks, which sees what was committed before them.
    for v_pair in
      select e as want, a as app from unnest(v_users) with ordinality u (id, nr)
        join hangar.entitlements(v_users) e on e.user_id = u.id
        join public.user_fly_apps a on a.user_id = u.id and a.deleted_at is null order by u.nr
    loop
      perform hangar.apply_entitlement(v_pair.app, v_pair.want, 'claim', null);
      select a.* into v_row from public.user_fly_apps a where a.id = (v_pair.app).id;
      v_closed := v_row.open_intent is not null;
      v_row := hangar.lease_row(v_row, coalesce(p_holder, 'unknown'));
      v_claimed := v_claimed || jsonb_build_object('row', hangar.row_json(v_row, true), 'closed_unknown', v_closed);
    end loop;
  end loop;
  return jsonb_build_object(
    'claimed', v_claimed, 'settings', hangar.settings_json(), 'now', v_now,
    -- More rows can be claimed than were counted, because each statement sees what was committed before it.
    'due_left', greatest(v_due - jsonb_array_length(v_claimed), 0));
end
$$;
comment on function public.fly_claim_due(integer, text, text) is 'Leases rows that are due, oldest first in each of two queues; none while paused. docs/database.md.';

select hangar.restrict_functions();
