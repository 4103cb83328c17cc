-- How a row's desired state follows from what its user is entitled to: hangar.sync_desired_state is the only way it changes.
-- Claim, marks, sync, save, overrides and orphans all call it.
-- Builds on: entitlement, host_loss, audit_log, alerts.

-- The next free app name of a user, and its number. A name is never used twice, not even after its row was closed.
create function hangar.next_name(p_prefix text, p_user uuid, inout seq integer, out name text)
language plpgsql stable set search_path = ''
as $$
begin
  loop
    name := hangar.app_name(p_prefix, p_user, seq);
    exit when not exists (select 1 from public.user_fly_apps a where a.fly_app_name = name);
    seq := seq + 1;
  end loop;
end
$$;

create function hangar.spec_of(p_row public.user_fly_apps) returns hangar.machine_spec
language plpgsql immutable set search_path = ''
as $$
begin
  return row(p_row.region, p_row.docker_image, p_row.cpu_kind, p_row.cpu_count, p_row.memory_mb, p_row.power,
             p_row.public_service, p_row.env_version)::hangar.machine_spec;
end
$$;

create function hangar.record_desired_change(p_row public.user_fly_apps, p_from jsonb, p_why text, p_source text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  select p_row.id, p_row.user_id, e.kind, 'info', jsonb_build_object(
           'generation', p_row.generation, 'desired_state', p_row.desired_state, 'tier', p_row.tier,
           'from', p_from, 'why', p_why, 'source', p_source)
    from (values
      ('desired_changed', true),
      ('provision_requested', p_row.desired_state = 'present' and p_from ->> 'desired_state' is distinct from 'present'),
      ('deprovision_requested', p_row.desired_state = 'absent' and p_from ->> 'desired_state' = 'present')
    ) as e (kind, applies)
   where e.applies;
end
$$;

-- Inserts a live row and records why. Null if the user has a live row already, or the name, the id or the network is taken.
-- p_create_unknown_at: since when it is uncertain whether the app exists on Fly.
create function hangar.insert_app_row(
  p_id uuid, p_user uuid, p_app text, p_seq integer, p_network text, p_plan text, p_spec hangar.machine_spec, p_why text, p_source text,
  p_create_unknown_at timestamptz default null
) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
begin
  insert into public.user_fly_apps (
    id, user_id, fly_app_name, fly_org_slug, network, status, desired_state, generation, next_attempt_at, tier, name_seq,
    region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, env_version, monthly_cost_estimate_usd, create_unknown_at, grace_s, token_wanted_at)
  select p_id, p_user, p_app, g.fly_org_slug, p_network, 'provisioning', 'present', 1, hangar.now(), p_plan, p_seq,
         p_spec.*, hangar.monthly_cost_estimate_usd(p_spec.cpu_count, p_spec.memory_mb), p_create_unknown_at,
         (select p.grace_s from public.fly_plans p where p.tier = p_plan),
         hangar.tokens_refused_up_to(p_user)  -- a token of that second is refused, too
    from hangar.settings g
  on conflict do nothing
  returning * into v_row;
  if v_row.id is not null then
    perform hangar.record_desired_change(v_row, null, p_why, p_source);
  end if;
  return v_row.id;
end
$$;

-- A new live row for an entitled user. Null if another transaction has just created one.
create function hangar.create_app_row(p_user uuid, p_plan text, p_spec hangar.machine_spec, p_why text, p_source text) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_id uuid := gen_random_uuid();
  v_seq integer;
  v_name text;
  v_created uuid;
begin
  select * into strict v_settings from hangar.settings;
  select coalesce(max(a.name_seq) + 1, 0) into v_seq from public.user_fly_apps a where a.user_id = p_user;
  loop
    select n.seq, n.name into v_seq, v_name from hangar.next_name(v_settings.app_prefix, p_user, v_seq) n;
    v_created := hangar.insert_app_row(v_id, p_user, v_name, v_seq, hangar.network_name(v_settings.installation_id, v_id), p_plan,
                                       p_spec, p_why, p_source);
    -- Otherwise either the user was given a row meanwhile, or another user was given the same name.
    exit when v_created is not null or exists (select 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null);
    v_seq := v_seq + 1;
  end loop;
  return v_created;
end
$$;

-- After the database was restored from an older copy: creates the row that belongs to an app which the last sweep found running for this
-- user. The reconciler then adopts its machine. The row counts as a create whose outcome is unknown, so that no second app is created if
-- Fly denies this one for a moment. Null if there is no such app, or another transaction is about to decide about it.
create function hangar.readopt_orphan(p_user uuid, p_plan text, p_spec hangar.machine_spec, p_why text) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_orphan public.fly_orphans;
begin
  select o.* into v_orphan from public.fly_orphans o
   where o.user_id = p_user and o.lost
     and not exists (select 1 from public.user_fly_apps a where a.fly_app_name = o.app or a.id = right(o.network, 32)::uuid)
   order by o.first_seen_at, o.app limit 1
     for no key update skip locked;
  if v_orphan.app is null or hangar.is_being_removed(v_orphan.app) then
    return null;
  end if;
  return hangar.insert_app_row(right(v_orphan.network, 32)::uuid, p_user, v_orphan.app,
    coalesce((select max(a.name_seq) + 1 from public.user_fly_apps a where a.user_id = p_user), 0), v_orphan.network, p_plan, p_spec,
    p_why, 'readopted', hangar.now());
end
$$;

-- Makes a live row desired with this plan and machine: a new generation, due now, without its old failure.
create function hangar.make_present(p_row_id uuid, p_plan text, p_spec hangar.machine_spec) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
begin
  update public.user_fly_apps a
     set desired_state = 'present', generation = a.generation + 1, tier = p_plan,
         status = case when a.desired_state = 'present' and a.status = 'active' then 'active' else 'provisioning' end,
         (region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, env_version) = (select p_spec.*),
         monthly_cost_estimate_usd = hangar.monthly_cost_estimate_usd(p_spec.cpu_count, p_spec.memory_mb),
         grace_s = coalesce((select p.grace_s from public.fly_plans p where p.tier = p_plan), a.grace_s),
         hold_until = null, delete_after = null, next_attempt_at = hangar.now(), retry_count = 0, error_code = null, error_message = null,
         -- A user may leave in the middle of a move and return after the release is done with the app. Then nothing moves the app any more.
         move_release_id = case when a.desired_state <> 'absent' or exists (
           select 1 from hangar.release_targets t join hangar.releases r on r.id = t.release_id
            where t.row_id = a.id and t.release_id = a.move_release_id and r.state in ('rolling', 'paused', 'rolling_back')
              and (t.state in ('applying', 'verifying') or t.must_go_back)) then a.move_release_id end
   where a.id = p_row_id
  returning a.* into v_row;
  return v_row;
end
$$;

-- A renewal within the removal hold: nothing was done to the machine, so the row is as it was, and no call to Fly is needed.
create function hangar.end_hold_by_renewal(p_row_id uuid, p_plan text) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
begin
  update public.user_fly_apps a
     set desired_state = 'present', generation = a.generation + 1, observed_generation = a.generation + 1, tier = p_plan, status = 'active',
         hold_until = null, delete_after = null, next_attempt_at = null
   where a.id = p_row_id
  returning a.* into v_row;
  return v_row;
end
$$;

-- Makes a live row unwanted: the removal hold comes first, then the grace of the plan that is lost, or, if that plan was renamed or removed,
-- the grace that the row was given with it. A deleted user has neither; one whom an operator denies has no hold.
create function hangar.make_absent(p_row_id uuid, p_tier text, p_why text) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_now timestamptz := hangar.now();
  v_hold_s numeric := case when p_why in ('user_deleted', 'override_deny') then 0 else (select g.removal_hold_s from hangar.settings g) end;
begin
  select a.* into v_row from public.user_fly_apps a where a.id = p_row_id;
  if v_row.machine_id is null and v_row.secrets_version is null and v_row.open_intent is null and v_row.create_unknown_at is null then
    v_hold_s := 0;  -- nothing runs that could be kept
  end if;
  v_row.grace_s := case when p_why = 'user_deleted' then 0
                        else coalesce((select p.grace_s from public.fly_plans p where p.tier = v_row.tier), v_row.grace_s, 0) end;
  v_row.hold_until := case when v_hold_s > 0 then v_now + make_interval(secs => v_hold_s::double precision) end;
  update public.user_fly_apps a
     set desired_state = 'absent', generation = a.generation + 1, tier = coalesce(p_tier, a.tier), status = 'deprovisioning',
         -- A row that was due, or that a worker had leased, has work left: a renewal must look at it again.
         converged_before_hold = a.status = 'active' and a.observed_generation = a.generation and a.error_code is null
                                 and a.next_attempt_at is null,
         hold_until = v_row.hold_until,
         delete_after = case when v_row.grace_s > 0 then coalesce(v_row.hold_until, v_now) + make_interval(secs => v_row.grace_s) end,
         next_attempt_at = coalesce(v_row.hold_until, v_now), retry_count = 0, error_code = null, error_message = null
   where a.id = p_row_id
  returning a.* into v_row;
  return v_row;
end
$$;

-- Creates the row of a user who has none and is entitled. Returns 'inserted', 'unknown' or 'none' as hangar.sync_desired_state does; null if
-- another transaction has created one meanwhile.
create function hangar.create_missing_row(p_want hangar.entitlement, p_source text, p_admit boolean) returns text
language plpgsql volatile set search_path = ''
as $$
begin
  if p_want.entitled is null then
    return case when p_want.user_exists or p_want.has_subscription then 'unknown' else 'none' end;
  elsif not p_want.entitled or not (p_admit
      or (select g.live from hangar.settings g)
      -- A row of the original system that was closed before Hangar says nothing about whom Hangar may serve.
      or exists (select 1 from public.user_fly_apps a where a.user_id = p_want.user_id and a.generation > 0)) then
    return 'none';
  elsif coalesce(hangar.readopt_orphan(p_want.user_id, p_want.plan, p_want.spec, p_want.why),
                 hangar.create_app_row(p_want.user_id, p_want.plan, p_want.spec, p_want.why, p_source)) is not null then
    return 'inserted';
  end if;
  return null;
end
$$;

-- Makes a live row, which the caller has locked before it read the host, desire what its user is entitled to. Returns 'changed',
-- 'unchanged', 'unknown', 'held' or 'legacy' as hangar.sync_desired_state does.
create function hangar.apply_entitlement(p_row public.user_fly_apps, p_want hangar.entitlement, p_source text, p_hold_losses boolean) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps := p_row;
  v_from jsonb := jsonb_strip_nulls(jsonb_build_object('desired_state', p_row.desired_state, 'tier', p_row.tier, 'error_code', p_row.error_code));
  v_kept boolean := greatest(p_row.hold_until, p_row.delete_after) > hangar.now() and p_want.user_exists = false;
begin
  if v_row.desired_state = 'legacy' then
    return 'legacy';
  elsif p_want.entitled is null then
    return 'unknown';
  end if;
  if p_want.entitled then
    if v_row.desired_state = 'present' and v_row.tier is not distinct from p_want.plan then
      -- A row that has not converged takes the plan as it is today: what failed may be what an operator has corrected since.
      if v_row.observed_generation is not distinct from v_row.generation or hangar.spec_of(v_row) is not distinct from p_want.spec then
        return 'unchanged';
      end if;
      v_row := hangar.make_present(v_row.id, p_want.plan, p_want.spec);
    -- An earlier attempt than the end of the hold is work that somebody found or began meanwhile.
    elsif v_row.hold_until > hangar.now() and v_row.converged_before_hold and v_row.next_attempt_at >= v_row.hold_until
      and hangar.is_as_wanted(hangar.spec_of(v_row), p_want.spec) and (v_row.token_issued_at <= v_row.token_wanted_at) is not true then
      v_row := hangar.end_hold_by_renewal(v_row.id, p_want.plan);
    else
      v_row := hangar.make_present(v_row.id, p_want.plan, p_want.spec);
    end if;
  elsif v_row.desired_state = 'present' then
    if p_want.why <> 'override_deny' and hangar.is_loss_held(p_want.user_id, p_hold_losses) then
      return 'held';
    end if;
    v_row := hangar.make_absent(v_row.id, p_want.tier, p_want.why);
  elsif v_kept and not hangar.is_loss_held(p_want.user_id, p_hold_losses) then
    -- The user is deleted, which ends the removal hold and the grace.
    update public.user_fly_apps a set hold_until = null, delete_after = null, generation = a.generation + 1, next_attempt_at = hangar.now()
     where a.id = v_row.id returning a.* into v_row;
  elsif v_row.hold_until > hangar.now() and p_want.why = 'override_deny' then
    update public.user_fly_apps a
       set hold_until = null, delete_after = a.delete_after - (a.hold_until - hangar.now()), generation = a.generation + 1, next_attempt_at = hangar.now()
     where a.id = v_row.id returning a.* into v_row;
  else
    return case when v_kept then 'held' else 'unchanged' end;
  end if;
  if v_from ->> 'error_code' is not null then
    perform hangar.resolve_failure_alerts(v_row.id);
  end if;
  perform hangar.record_desired_change(v_row, v_from, p_want.why, p_source);
  return 'changed';
end
$$;

-- Makes one user's row desire what the user is entitled to now. Returns what changed: 'inserted', 'changed', 'unchanged', 'unknown' (nothing is
-- known for certain about the user's entitlement), 'held' (a mass loss waits for an operator), 'legacy' (an app of the original system waits for
-- `hangar adopt`) or 'none' (there is no row and none is due). Leaves the live row locked, whether or not it changed. p_hold_losses: the caller
-- has looked at all losses together; null: look here. For many users: hangar.sync_users, which reads the host once.
-- NO KEY UPDATE, not UPDATE: it excludes every other writer, and does not block the host's own inserts that refer to the row.
create function hangar.sync_desired_state(p_user uuid, p_source text, p_admit boolean default false, p_hold_losses boolean default null) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_want hangar.entitlement;
  v_done text;
begin
  for v_try in 1..3 loop
    select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
    -- A later statement than the lock, hence a later snapshot: it sees what was committed while we waited.
    select e.* into v_want from hangar.entitlements(array[p_user]) e;
    if v_row.id is not null then
      return hangar.apply_entitlement(v_row, v_want, p_source, p_hold_losses);
    end if;
    -- The row we waited for was closed and has a successor: try again with that one.
    continue when exists (select 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null);
    v_done := hangar.create_missing_row(v_want, p_source, p_admit);
    if v_done is not null then
      return v_done;
    end if;
  end loop;
  raise exception 'the row of user % was created and closed three times while it was being read', p_user
    using errcode = 'serialization_failure';
end
$$;
comment on function hangar.sync_desired_state(uuid, text, boolean, boolean) is 'Brings one user''s row up to date. p_admit creates a row although hangar.settings.live is off.';
comment on function hangar.apply_entitlement(public.user_fly_apps, hangar.entitlement, text, boolean) is 'The only way a live row''s desired state changes.';

select hangar.restrict_functions();
