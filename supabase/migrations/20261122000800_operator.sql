-- What operators do: overrides, the kill switch, settings, admission, and everything there is to know about one user.

create function public.fly_raise_alert(p_kind text, p_key text, p_message text, p_metadata jsonb default '{}') returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('new', r.fresh, 'id', r.id)
    from hangar.raise_alert(p_kind, p_key, p_message, p_metadata, p_told => true) r
$$;
comment on function public.fly_raise_alert(text, text, text, jsonb) is 'Opens an alert; `new` only for the first of a kind and key, so that it is sent once. docs/database.md.';

create function public.fly_resolve_alert(p_kind text, p_key text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update hangar.alerts set resolved_at = hangar.now() where kind = p_kind and key = p_key and resolved_at is null;
  return jsonb_build_object('resolved', found);
end
$$;
comment on function public.fly_resolve_alert(text, text) is 'Closes an open alert. docs/database.md.';

create function public.fly_take_alerts(p_limit integer default 100) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_alerts jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  with taken as (
    update hangar.alerts a set told_at = hangar.now()
     where a.id in (select b.id from hangar.alerts b where b.told_at is null and b.resolved_at is null
                     order by b.opened_at limit p_limit for update skip locked)
    returning a.*
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'kind', t.kind, 'key', t.key, 'message', t.message,
           'metadata', t.metadata, 'opened_at', t.opened_at) order by t.opened_at), '[]')
    into v_alerts from taken t;
  return jsonb_build_object('alerts', v_alerts);
end
$$;
comment on function public.fly_take_alerts(integer) is 'Alerts that the database raised and nobody was told of yet, handed out once. docs/database.md.';

create function public.fly_set_override(
  p_user uuid, p_override text, p_plan text, p_actor text, p_reason text, p_ends_at timestamptz default null
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_plan text := p_plan;
  v_row public.user_fly_apps;
begin
  if p_user is null or coalesce(p_actor, '') = '' then
    raise exception 'p_user and p_actor are needed' using errcode = 'invalid_parameter_value';
  elsif p_override is not null and p_override not in ('grant', 'deny') then
    raise exception 'p_override must be grant, deny or null, not %', p_override using errcode = 'invalid_parameter_value';
  end if;
  if p_override = 'grant' then
    v_plan := coalesce(v_plan, (select p.tier from public.fly_plans p join public.user_subscriptions s on s.tier::text = p.tier
                                 where s.user_id = p_user and p.dedicated limit 1));
    if v_plan is null or not exists (select 1 from public.fly_plans p where p.tier = v_plan and p.dedicated) then
      raise exception 'a grant needs a dedicated plan, not %; there are: %', coalesce(p_plan, 'null'),
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
  -- A grant is an operator's own word: it admits the user although not everybody is admitted yet.
  perform hangar.apply(p_user, 'override', p_admit => p_override is not distinct from 'grant');
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  return jsonb_build_object('row', hangar.row_json(v_row), 'entitled', (select d.entitled from hangar.derive(array[p_user]) d));
end
$$;
comment on function public.fly_set_override(uuid, text, text, text, text, timestamptz) is 'An operator''s word about one user; null removes it. docs/database.md.';

create function public.fly_set_settings(p_changes jsonb, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_before jsonb := hangar.settings_json();
  v_after jsonb;
  v_new hangar.settings;
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_keys('settings', p_changes, (select array_agg(k order by k) from jsonb_object_keys(v_before) k
                                                     where k not in ('installation_id', 'updated_at', 'brake_released_at', 'incident_open')));
  perform set_config('hangar.actor', p_actor, true), set_config('hangar.reason', coalesce(p_reason, ''), true);
  select n.* into v_new from hangar.settings g, jsonb_populate_record(g, p_changes) n;
  if p_changes <> '{}' and exists (select 1 from jsonb_each(p_changes) c where v_before -> c.key is distinct from to_jsonb(v_new) -> c.key) then
    update hangar.settings g
       set live = v_new.live, paused = v_new.paused, deletes_paused = v_new.deletes_paused, fly_org_slug = v_new.fly_org_slug,
           app_prefix = v_new.app_prefix, default_region = v_new.default_region, default_image = v_new.default_image,
           retry_base_s = v_new.retry_base_s, retry_cap_s = v_new.retry_cap_s, lease_s = v_new.lease_s,
           sweep_lease_s = v_new.sweep_lease_s, max_apps = v_new.max_apps, max_monthly_cost_usd = v_new.max_monthly_cost_usd,
           brake_floor = v_new.brake_floor, brake_share = v_new.brake_share, brake_lost = v_new.brake_lost, unhealthy_after = v_new.unhealthy_after,
           bad_sample_gap_s = v_new.bad_sample_gap_s, orphan_after_s = v_new.orphan_after_s,
           incident_floor = v_new.incident_floor, incident_share = v_new.incident_share, deletes_per_minute = v_new.deletes_per_minute
     where g.only_row;  -- Supabase's safeupdate refuses an UPDATE without a WHERE
  end if;
  perform set_config('hangar.actor', '', true), set_config('hangar.reason', '', true);
  v_after := hangar.settings_json();
  if v_before -> 'deletes_paused' = 'true' and v_after -> 'deletes_paused' = 'false' then
    perform hangar.resume_deletions();
  end if;
  return jsonb_build_object('settings', v_after, 'changed', (
    select coalesce(jsonb_agg(a.key order by a.key), '[]') from jsonb_each(v_after) a
     where a.key <> 'updated_at' and v_before -> a.key is distinct from a.value));
end
$$;
comment on function public.fly_set_settings(jsonb, text, text) is 'Changes hangar.settings, with a trail; installation_id is changed by hand only. docs/database.md.';

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
    -- What came to a halt meanwhile is due at once; what waits after a failure, or for its grace, keeps its time.
    update public.user_fly_apps a set next_attempt_at = hangar.now()
     where a.deleted_at is null and a.next_attempt_at > hangar.now() and a.status in ('provisioning', 'deprovisioning')
       and (a.delete_after is null or a.delete_after <= hangar.now());
  end if;
  return jsonb_build_object('paused', p_paused, 'changed', v_done -> 'changed' ? 'paused');
end
$$;
comment on function public.fly_set_paused(boolean, text, text) is 'The kill switch: while paused there is no Fly write at all. docs/database.md.';

create function public.fly_admit(p_users uuid[], p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_nudges text := hangar.mute_nudges();
  v_user uuid;
  v_done jsonb := '{}';
begin
  perform hangar.check_limit('users in one call', greatest(cardinality(p_users), 1), 500);
  for v_user in select distinct u from unnest(p_users) u where u is not null order by u loop
    v_done := v_done || jsonb_build_object(v_user::text, hangar.apply(v_user, 'admit:' || coalesce(p_actor, 'unknown'), p_admit => true));
  end loop;
  perform set_config('hangar.nudges', v_nudges, true);
  return jsonb_build_object('users', v_done);
end
$$;
comment on function public.fly_admit(uuid[], text) is 'Gives chosen entitled users a row before Hangar is live for everybody. docs/database.md.';

create function public.fly_user_status(p_user uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_want record;
  v_row public.user_fly_apps;
  v_last public.user_fly_apps;
begin
  select d.* into v_want from hangar.derive(array[p_user]) d;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  select a.* into v_last from public.user_fly_apps a
   where a.user_id = p_user and a.deleted_at is not null order by a.deleted_at desc, a.name_seq desc limit 1;
  return jsonb_build_object(
    'known', coalesce(v_want.known, false) or v_row.id is not null or v_last.id is not null,
    'entitled', v_want.entitled, 'why', v_want.why,
    'subscription', (select jsonb_build_object('tier', s.tier, 'status', s.status, 'expires_at', s.expires_at)
                       from public.user_subscriptions s where s.user_id = p_user
                      order by (s.status::text = 'active') desc, s.expires_at desc nulls first limit 1),
    'override', (select to_jsonb(o) from public.fly_overrides o where o.user_id = p_user),
    'row', hangar.row_json(v_row), 'last', hangar.row_json(v_last),
    -- Why the brake would hold this app's deletion back; judged as hangar.judge_brake does.
    'brake', case when v_row.desired_state = 'absent' then
      (select b.why from hangar.read_brake() b where b.why = 'lost' or v_row.id::text <> all (b.gone)) end,
    'events', (select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('seq', e.seq::text) order by e.created_at desc, e.seq desc), '[]')
                 from (select * from public.user_fly_app_events v where v.user_id = p_user
                        order by v.created_at desc, v.seq desc limit 50) e));
end
$$;
comment on function public.fly_user_status(uuid) is 'Everything about one user: entitlement and why, row, override, newest events. docs/database.md.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
revoke all on function public.fly_raise_alert(text, text, text, jsonb), public.fly_resolve_alert(text, text),
  public.fly_take_alerts(integer), public.fly_set_override(uuid, text, text, text, text, timestamptz),
  public.fly_set_settings(jsonb, text, text), public.fly_set_paused(boolean, text, text), public.fly_admit(uuid[], text),
  public.fly_user_status(uuid)
  from public, anon, authenticated;
grant execute on function public.fly_raise_alert(text, text, text, jsonb), public.fly_resolve_alert(text, text),
  public.fly_take_alerts(integer), public.fly_set_override(uuid, text, text, text, text, timestamptz),
  public.fly_set_settings(jsonb, text, text), public.fly_set_paused(boolean, text, text), public.fly_admit(uuid[], text),
  public.fly_user_status(uuid)
  to service_role;
