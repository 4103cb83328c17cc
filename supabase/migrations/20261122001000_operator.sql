-- What an operator decides: overrides, settings, the kill switch, admission, and one failed user retried.
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
  if p_override = 'grant' then
    v_plan := coalesce(v_plan, (select p.tier from public.fly_plans p join public.user_subscriptions s on s.tier::text = p.tier
                                 where s.user_id = p_user and p.dedicated limit 1));
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
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  return jsonb_build_object('row', hangar.row_json(v_row), 'entitled', (select e.entitled from hangar.entitlements(array[p_user]) e));
end
$$;
comment on function public.fly_set_override(uuid, text, text, text, text, timestamptz) is 'An operator''s decision about one user; null removes it. docs/database.md.';

create function public.fly_set_settings(p_changes jsonb, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_before jsonb := hangar.settings_json();
  v_after jsonb;
  v_new hangar.settings;
begin
  perform hangar.require_actor(p_actor);
  perform hangar.check_keys('settings', p_changes, (select array_agg(k order by k) from jsonb_object_keys(v_before) k
                                                     where k not in ('installation_id', 'updated_at', 'brake_released_at', 'incident_open')));
  perform hangar.set_actor(p_actor, p_reason);
  select n.* into v_new from hangar.settings g, jsonb_populate_record(g, p_changes) n;
  if p_changes <> '{}' and exists (select 1 from jsonb_each(p_changes) c where v_before -> c.key is distinct from to_jsonb(v_new) -> c.key) then
    update hangar.settings g
       set live = v_new.live, paused = v_new.paused, deletes_paused = v_new.deletes_paused, fly_org_slug = v_new.fly_org_slug,
           app_prefix = v_new.app_prefix, default_region = v_new.default_region, default_image = v_new.default_image,
           retry_base_s = v_new.retry_base_s, retry_cap_s = v_new.retry_cap_s, lease_s = v_new.lease_s,
           sweep_lease_s = v_new.sweep_lease_s, max_apps = v_new.max_apps, max_monthly_cost_usd = v_new.max_monthly_cost_usd,
           brake_floor = v_new.brake_floor, brake_share = v_new.brake_share, brake_lost = v_new.brake_lost, unhealthy_after = v_new.unhealthy_after,
           bad_sample_gap_s = v_new.bad_sample_gap_s, orphan_after_s = v_new.orphan_after_s,
           incident_floor = v_new.incident_floor, incident_share = v_new.incident_share, deletes_per_minute = v_new.deletes_per_minute,
           drift_share = v_new.drift_share
     where g.only_row;  -- Supabase's safeupdate refuses an UPDATE without a WHERE
  end if;
  perform hangar.clear_actor();
  v_after := hangar.settings_json();
  if v_before -> 'deletes_paused' = 'true' and v_after -> 'deletes_paused' = 'false' then
    perform hangar.resume_deletions();
  end if;
  return jsonb_build_object('settings', v_after, 'changed', (
    select coalesce(jsonb_agg(a.key order by a.key), '[]') from jsonb_each(v_after) a
     where a.key <> 'updated_at' and v_before -> a.key is distinct from a.value));
end
$$;
comment on function public.fly_set_settings(jsonb, text, text) is 'Changes hangar.settings and records who did. installation_id can be changed only with SQL. docs/database.md.';

create function public.fly_set_paused(p_paused boolean, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_done jsonb;
begin
  if p_paused is null then
    raise exception 'p_paused must be true or false' using errcode = 'invalid_parameter_value';
  end if;
  v_done := public.fly_set_settings(jsonb_build_object('paused', p_paused), p_actor, p_reason);
  if not p_paused then
    -- What stopped because of the pause is due at once. Rows that wait after a failure, or for the end of their grace, keep their time.
    update public.user_fly_apps a set next_attempt_at = hangar.now()
     where a.deleted_at is null and a.next_attempt_at > hangar.now() and a.status in ('provisioning', 'deprovisioning')
       and (a.delete_after is null or a.delete_after <= hangar.now());
  end if;
  return jsonb_build_object('paused', p_paused, 'changed', v_done -> 'changed' ? 'paused');
end
$$;
comment on function public.fly_set_paused(boolean, text, text) is 'The kill switch: while paused, Hangar changes nothing on Fly. docs/database.md.';

create function public.fly_admit(p_users uuid[], p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_nudges text := hangar.mute_nudges();
  v_user uuid;
  v_done jsonb := '{}'::jsonb;
begin
  perform hangar.check_limit('users in one call', greatest(cardinality(p_users), 1), 500);
  for v_user in select distinct u from unnest(p_users) u where u is not null order by u loop
    v_done := v_done || jsonb_build_object(v_user::text, hangar.sync_desired_state(v_user, 'admit:' || coalesce(p_actor, 'unknown'), p_admit => true));
  end loop;
  perform hangar.restore_nudges(v_nudges);
  return jsonb_build_object('users', v_done);
end
$$;
comment on function public.fly_admit(uuid[], text) is 'Gives chosen entitled users a row although Hangar is not live for everybody yet. docs/database.md.';

-- Makes a failed app due at once, with the machine that plan and settings ask for now. The row copied them when it was created, so a
-- corrected image or size would not reach it otherwise.
create function public.fly_retry(p_user uuid, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_nudges text := hangar.mute_nudges();  -- the caller calls the function as well
  v_row public.user_fly_apps;
  v_want record;
  v_changed boolean := false;
begin
  perform hangar.require_actor(p_actor);
  perform hangar.sync_desired_state(p_user, 'retry:' || p_actor);
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  if v_row.status = 'error' then
    select e.* into v_want from hangar.entitlements(array[p_user]) e;
    v_changed := v_row.desired_state = 'present' and v_want.entitled is true and hangar.spec_of(v_row) is distinct from v_want.spec;
    if v_changed then
      v_row := hangar.make_present(v_row.id, v_row.tier, v_want.spec);
      perform hangar.record_desired_change(v_row, jsonb_build_object('desired_state', 'present', 'tier', v_row.tier), v_want.why, 'retry:' || p_actor);
    end if;
    update public.user_fly_apps a set next_attempt_at = hangar.now()
     where a.id = v_row.id and (a.next_attempt_at is null or a.next_attempt_at > hangar.now());
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (v_row.id, p_user, 'recovery_attempted', 'info', jsonb_build_object('actor', p_actor, 'source', 'retry'));
  end if;
  if v_row.drift <> '{}' then
    perform hangar.request_drift_repair(v_row.id);
    update public.user_fly_apps a set next_attempt_at = least(a.next_attempt_at, hangar.now()) where a.id = v_row.id;
  end if;
  perform hangar.restore_nudges(v_nudges);
  return jsonb_build_object('changed', v_changed,
    'row', (select hangar.row_json(a) from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null));
end
$$;
comment on function public.fly_retry(uuid, text) is 'Makes a failed app due at once, with the machine that plan and settings ask for now, and lets drift be repaired at once. docs/database.md.';

select hangar.restrict_functions();
