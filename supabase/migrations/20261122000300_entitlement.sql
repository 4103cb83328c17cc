-- Who is entitled to what, in one place, and how a row comes to ask for it. Trigger, sync, claim, save and overrides all end here.

-- The entitlement table of docs/database.md, first line that applies. `entitled` null = the tier is unknown: leave things as they are.
-- PL/pgSQL and a generic plan, because the plan is then kept for the session: the trigger asks this for each row of the host's UPDATE,
-- and the length of an array makes every custom plan look cheaper than it is.
create function hangar.derive(p_users uuid[])
returns table (
  user_id uuid, known boolean, living boolean, entitled boolean, why text, tier text, plan text,
  cpu_kind text, cpu_count integer, memory_mb integer, region text, docker_image text, power text, public_service boolean
)
language plpgsql stable set search_path = '' set plan_cache_mode = 'force_generic_plan'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  return query
  select u.id,
         l.id is not null or s.found is not null,
         l.id is not null,
         case judged.word
           when 'unknown_tier' then null
           else judged.word in ('override_grant', 'active', 'cancelled_until', 'past_due_until') end,
         judged.word,
         s.tier,
         p.tier,
         p.cpu_kind, p.cpu_count, p.memory_mb,
         coalesce(p.region, g.default_region), coalesce(p.docker_image, g.default_image),
         p.power, p.public_service
    from unnest(p_users) as u (id)
    cross join hangar.settings g
    left join public.fly_overrides o on o.user_id = u.id and (o.ends_at is null or o.ends_at > v_now)
    left join hangar.living_users l on l.id = u.id
    left join lateral (
      -- One row for each user in the original; should a host keep several, the best one counts.
      select true as found, h.tier::text as tier, h.status::text as status, h.expires_at::timestamptz as expires_at
        from public.user_subscriptions h
       where h.user_id = u.id
       order by (h.status::text = 'active') desc, h.expires_at desc nulls first
       limit 1
    ) s on true
    left join public.fly_plans p on p.tier = case when o.override = 'grant' then o.plan else s.tier end
    cross join lateral (select case
      when o.override = 'deny' then 'override_deny'
      when o.override = 'grant' then 'override_grant'
      when l.id is null then 'user_deleted'
      when s.found is null then 'no_subscription'
      when p.tier is null then 'unknown_tier'
      when not p.dedicated then 'plan_not_dedicated'
      when s.status = 'active' then case when s.expires_at <= v_now then 'expired' else 'active' end
      when s.status in ('cancelled', 'past_due') then
        case when s.expires_at > v_now then s.status || '_until' else s.status end
      else coalesce('status_' || s.status, 'no_status') end as word
    ) judged;
end
$$;
comment on function hangar.derive(uuid[]) is 'What these users should have now, and why. Set-based; reads only.';

-- The next free name of a user, and its number. Names are unique for ever, deleted rows included.
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

create function hangar.record_desired(p_row public.user_fly_apps, p_from jsonb, p_why text, p_source text) returns void
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

-- A new live row for an entitled user. Null when another transaction has just made one.
create function hangar.open_row(p_user uuid, p_want record, p_why text, p_source text) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_id uuid := gen_random_uuid();
  v_seq integer;
  v_name text;
  v_row public.user_fly_apps;
begin
  select * into strict v_settings from hangar.settings;
  select coalesce(max(a.name_seq) + 1, 0) into v_seq from public.user_fly_apps a where a.user_id = p_user;
  loop
    select n.seq, n.name into v_seq, v_name from hangar.next_name(v_settings.app_prefix, p_user, v_seq) n;
    insert into public.user_fly_apps (
      id, user_id, fly_app_name, fly_org_slug, network, status, desired_state, generation, next_attempt_at, tier, name_seq,
      region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, monthly_cost_estimate_usd)
    values (
      v_id, p_user, v_name, v_settings.fly_org_slug, hangar.network_name(v_settings.installation_id, v_id),
      'provisioning', 'present', 1, hangar.now(), p_want.plan, v_seq,
      p_want.region, p_want.docker_image, p_want.cpu_kind, p_want.cpu_count, p_want.memory_mb, p_want.power, p_want.public_service,
      hangar.monthly_cost_estimate_usd(p_want.cpu_count, p_want.memory_mb))
    on conflict do nothing
    returning * into v_row;
    exit when found;
    -- Either the user got a row meanwhile, or another user got the same name.
    if exists (select 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null) then
      return null;
    end if;
    v_seq := v_seq + 1;
  end loop;
  perform hangar.record_desired(v_row, null, p_why, p_source);
  return v_id;
end
$$;

-- After a restore of an older database: the row again that belongs to an app which the last sweep found running for this user. The
-- reconciler adopts its machine. Like an app whose creation was not answered: should Fly deny it for a moment, no other is made in its
-- place. Null when there is none, or somebody else is about to decide over it.
create function hangar.take_back(p_user uuid, p_want record) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  v_orphan public.fly_orphans;
  v_row public.user_fly_apps;
begin
  select o.* into v_orphan from public.fly_orphans o
   where o.user_id = p_user and o.lost
     and not exists (select 1 from public.user_fly_apps a where a.fly_app_name = o.app or a.id = right(o.network, 32)::uuid)
   order by o.first_seen_at, o.app limit 1
     for no key update skip locked;
  if v_orphan.app is null or hangar.is_being_removed(v_orphan.app) then
    return null;
  end if;
  insert into public.user_fly_apps (
    id, user_id, fly_app_name, fly_org_slug, network, status, desired_state, generation, next_attempt_at, tier, name_seq,
    region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, monthly_cost_estimate_usd, create_unknown_at)
  select right(v_orphan.network, 32)::uuid, p_user, v_orphan.app, g.fly_org_slug, v_orphan.network, 'provisioning', 'present', 1, hangar.now(),
         p_want.plan, coalesce((select max(a.name_seq) + 1 from public.user_fly_apps a where a.user_id = p_user), 0),
         p_want.region, p_want.docker_image, p_want.cpu_kind, p_want.cpu_count, p_want.memory_mb, p_want.power, p_want.public_service,
         hangar.monthly_cost_estimate_usd(p_want.cpu_count, p_want.memory_mb), hangar.now()
    from hangar.settings g
  on conflict do nothing
  returning * into v_row;
  if v_row.id is not null then
    perform hangar.record_desired(v_row, null, p_want.why, 'readopted');
  end if;
  return v_row.id;
end
$$;

-- What failed is over, or is no longer wanted.
create function hangar.forget_failures(p_row_id uuid) returns void
language sql volatile set search_path = ''
as $$
  update hangar.alerts set resolved_at = hangar.now()
   where key = p_row_id::text and kind in ('provision_failed', 'deprovision_failed') and resolved_at is null
$$;

-- Makes one user's row ask for what the user is entitled to now. Returns what changed: 'inserted', 'changed', 'unchanged', 'unknown'
-- (tier not in fly_plans) or 'none' (no row, and none is due). Leaves the live row locked, whether or not it changed.
-- NO KEY UPDATE, not UPDATE: enough against every other writer, and the host's own inserts that refer to the row are not held up.
create function hangar.apply(p_user uuid, p_source text, p_admit boolean default false) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_want record;
  v_from jsonb;
begin
  for v_try in 1..3 loop
    select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
    -- A later statement than the lock, hence a later snapshot: what was committed while we waited is seen.
    select d.* into v_want from hangar.derive(array[p_user]) d;
    exit when v_row.id is not null;
    -- The row we waited for was closed, and its successor stands: that one is the user's now.
    continue when exists (select 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null);
    if v_want.entitled is null then
      return case when v_want.why = 'unknown_tier' then 'unknown' else 'none' end;
    end if;
    if not v_want.entitled or not (p_admit
        or (select g.live from hangar.settings g)
        or exists (select 1 from public.user_fly_apps a where a.user_id = p_user)) then
      return 'none';
    end if;
    if coalesce(hangar.take_back(p_user, v_want), hangar.open_row(p_user, v_want, v_want.why, p_source)) is not null then
      return 'inserted';
    end if;
  end loop;
  if v_row.id is null then
    raise exception 'the row of user % keeps appearing and vanishing', p_user using errcode = 'serialization_failure';
  end if;

  if v_want.entitled is null then
    return 'unknown';
  end if;
  v_from := jsonb_strip_nulls(jsonb_build_object('desired_state', v_row.desired_state, 'tier', v_row.tier, 'error_code', v_row.error_code));
  if v_want.entitled then
    if v_row.desired_state = 'present' and v_row.tier is not distinct from v_want.plan then
      return 'unchanged';
    end if;
    update public.user_fly_apps a
       set desired_state = 'present', generation = a.generation + 1, tier = v_want.plan,
           status = case when a.desired_state = 'present' and a.status = 'active' then 'active' else 'provisioning' end,
           region = v_want.region, docker_image = v_want.docker_image, cpu_kind = v_want.cpu_kind, cpu_count = v_want.cpu_count,
           memory_mb = v_want.memory_mb, power = v_want.power, public_service = v_want.public_service,
           monthly_cost_estimate_usd = hangar.monthly_cost_estimate_usd(v_want.cpu_count, v_want.memory_mb),
           delete_after = null, next_attempt_at = hangar.now(), retry_count = 0, error_code = null, error_message = null
     where a.id = v_row.id
    returning a.* into v_row;
  elsif v_row.desired_state = 'present' then
    update public.user_fly_apps a
       set desired_state = 'absent', generation = a.generation + 1, tier = coalesce(v_want.tier, a.tier), status = 'deprovisioning',
           -- The grace of the plan that is lost; a deleted user has none.
           delete_after = (select hangar.now() + make_interval(secs => p.grace_s) from public.fly_plans p
                            where p.tier = a.tier and p.grace_s > 0 and v_want.living),
           next_attempt_at = hangar.now(), retry_count = 0, error_code = null, error_message = null
     where a.id = v_row.id
    returning a.* into v_row;
  elsif v_row.delete_after > hangar.now() and not v_want.living then
    update public.user_fly_apps a
       set delete_after = null, generation = a.generation + 1, next_attempt_at = hangar.now()
     where a.id = v_row.id
    returning a.* into v_row;
  else
    return 'unchanged';
  end if;
  if v_from ->> 'error_code' is not null then
    perform hangar.forget_failures(v_row.id);
  end if;
  perform hangar.record_desired(v_row, v_from, v_want.why, p_source);
  return 'changed';
end
$$;
comment on function hangar.apply(uuid, text, boolean) is 'The one way a row''s desired state changes. p_admit gives a row although hangar.settings.live is off.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
