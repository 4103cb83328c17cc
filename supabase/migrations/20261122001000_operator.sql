-- What an operator decides about users: overrides, admission, and one failed user retried.
-- Builds on: entitlement, limits, nudge, access (the actor).

create function public.fly_set_override(
  p_user uuid, p_override text, p_plan text, p_actor text, p_reason text, p_ends_at timestamptz default null
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_plan text := p_plan;
  v_row public.user_fly_apps;
begin
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  elsif p_override is not null and p_override not in ('grant', 'deny') then
    raise exception 'p_override must be grant, deny or null, not %', p_override using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.require_actor(p_actor);
  -- The row first, as everywhere (docs/database.md, "Lock order"): an event that refers to it locks it too, and a worker that saves
  -- meanwhile would wait for us while we wait for it.
  perform 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  if p_override = 'grant' then
    v_plan := coalesce(v_plan, (select e.plan from hangar.entitlements(array[p_user]) e join public.fly_plans p on p.tier = e.plan
                                 where p.dedicated));
    if v_plan is null or not exists (select 1 from public.fly_plans p where p.tier = v_plan and p.dedicated) then
      raise exception 'a grant needs a dedicated plan, not %. Dedicated plans: %', coalesce(p_plan, 'null'),
        coalesce((select string_agg(p.tier, ', ' order by p.tier) from public.fly_plans p where p.dedicated), 'none')
        using errcode = 'invalid_parameter_value';
    end if;
    insert into public.fly_overrides (user_id, override, plan, actor, reason, ends_at)
    values (p_user, 'grant', v_plan, p_actor, p_reason, p_ends_at)
    on conflict (user_id) do update set override = excluded.override, plan = excluded.plan, actor = excluded.actor,
      reason = excluded.reason, ends_at = excluded.ends_at, created_at = hangar.now();
  elsif p_override = 'deny' then
    insert into public.fly_overrides (user_id, override, plan, actor, reason, ends_at)
    values (p_user, 'deny', null, p_actor, p_reason, p_ends_at)
    on conflict (user_id) do update set override = excluded.override, plan = null, actor = excluded.actor,
      reason = excluded.reason, ends_at = excluded.ends_at, created_at = hangar.now();
  else
    delete from public.fly_overrides where user_id = p_user;
  end if;
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values ((select a.id from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null), p_user, 'override_set', 'info',
    jsonb_strip_nulls(jsonb_build_object('override', coalesce(p_override, 'none'), 'plan', case when p_override = 'grant' then v_plan end,
      'actor', p_actor, 'reason', p_reason, 'ends_at', p_ends_at)));
  -- A grant is an operator's decision about this user, so it gives the user a row although Hangar is not live for everybody yet.
  perform hangar.sync_desired_state(p_user, 'override', p_admit => p_override is not distinct from 'grant');
  perform hangar.wake_up(array[p_user]);
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  return jsonb_build_object('row', hangar.row_json(v_row), 'entitled', (select e.entitled from hangar.entitlements(array[p_user]) e));
end
$$;
comment on function public.fly_set_override(uuid, text, text, text, text, timestamptz) is 'An operator''s decision about one user; null removes it. docs/database.md.';

create function public.fly_admit(p_users uuid[], p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_user uuid;
  v_done jsonb := '{}'::jsonb;
begin
  perform hangar.check_limit('users in one call', greatest(cardinality(p_users), 1), 500);
  -- Rows in the order of their ids, then new rows in the order of their users, as every procedure that takes several.
  perform 1 from public.user_fly_apps a where a.user_id = any (p_users) and a.deleted_at is null order by a.id for no key update;
  for v_user in select distinct u from unnest(p_users) u where u is not null order by u loop
    v_done := v_done || jsonb_build_object(v_user::text, hangar.sync_desired_state(v_user, 'admit:' || coalesce(p_actor, 'unknown'), p_admit => true));
  end loop;
  return jsonb_build_object('users', v_done);
end
$$;
comment on function public.fly_admit(uuid[], text) is 'Gives chosen entitled users a row although Hangar is not live for everybody yet. docs/database.md.';

-- An operator's own deprovision does not wait for the removal hold: it ends here, and the grace of the plan begins.
create function public.fly_end_removal_hold(p_user uuid, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
begin
  perform hangar.require_actor(p_actor);
  update public.user_fly_apps a
     set delete_after = a.delete_after - (a.hold_until - hangar.now()), hold_until = null, next_attempt_at = hangar.now()
   where a.user_id = p_user and a.deleted_at is null and a.desired_state = 'absent' and a.hold_until > hangar.now()
  returning a.* into v_row;
  if v_row.id is not null then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (v_row.id, p_user, 'recovery_attempted', 'info', jsonb_build_object('actor', p_actor, 'source', 'end_hold'));
  end if;
  return jsonb_build_object('ended', v_row.id is not null);
end
$$;
comment on function public.fly_end_removal_hold(uuid, text) is 'Ends the removal hold of a user''s app, so that its machine stops now. docs/database.md.';

-- Makes a failed app due at once, with the machine that plan and settings ask for now. The row copied them when it was created, so a
-- corrected image or size would not reach it otherwise.
create function public.fly_retry(p_user uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_want record;
  v_failed boolean;
  v_changed boolean;
begin
  perform hangar.require_actor(p_actor);
  perform hangar.refuse_legacy(p_user);
  select a.status = 'error' into v_failed from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  -- A row that never converged takes the corrected plan here already, which ends its failure.
  v_changed := hangar.sync_desired_state(p_user, 'retry:' || p_actor) = 'changed' and coalesce(v_failed, false);
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  if v_row.status = 'error' then
    select e.* into v_want from hangar.entitlements(array[p_user]) e;
    if v_row.desired_state = 'present' and v_want.entitled is true and hangar.spec_of(v_row) is distinct from v_want.spec then
      v_changed := true;
      v_row := hangar.make_present(v_row.id, v_row.tier, v_want.spec);
      perform hangar.record_desired_change(v_row, jsonb_build_object('desired_state', 'present', 'tier', v_row.tier), v_want.why, 'retry:' || p_actor);
    end if;
    update public.user_fly_apps a set next_attempt_at = hangar.now()
     where a.id = v_row.id and (a.next_attempt_at is null or a.next_attempt_at > hangar.now());
  elsif v_row.desired_state = 'present' and v_row.machine_state = 'absent' then
    -- A sweep makes none of several missing apps again while Fly's lists show nothing of ours: the operator knows that this one is gone.
    update public.user_fly_apps a set next_attempt_at = least(a.next_attempt_at, hangar.now()) where a.id = v_row.id;
  end if;
  if v_failed then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (v_row.id, p_user, 'recovery_attempted', 'info',
            jsonb_strip_nulls(jsonb_build_object('actor', p_actor, 'source', 'retry', 'reason', nullif(btrim(p_reason), ''))));
  end if;
  perform hangar.forget_health_steps(v_row.id);
  if v_row.drift <> '{}' then
    perform hangar.request_drift_repair(v_row.id);
    update public.user_fly_apps a set next_attempt_at = least(a.next_attempt_at, hangar.now()) where a.id = v_row.id;
  end if;
  return jsonb_build_object('changed', v_changed,
    'row', (select hangar.row_json(a) from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null));
end
$$;
comment on function public.fly_retry(uuid, text, text) is 'Makes a failed app due at once, with the machine that plan and settings ask for now, and lets drift be repaired at once. docs/database.md.';

select hangar.restrict_functions();
