-- How desired state follows the host: marks at once, every user in a sync, and the fleet in pages.
-- Builds on: desired_state, taken_marks, nudge, host_checks.

-- Locks the live rows of these users, without waiting for one. `users`: those whose row is locked now, and those without a row; `locked`: the
-- rows. A user whose row another transaction holds is marked, because that row may be about to change, whatever it says now.
create function hangar.lock_rows(p_users uuid[], out users uuid[], out locked uuid[])
language plpgsql volatile set search_path = ''
as $$
begin
  with free as materialized (
    select a.id from public.user_fly_apps a where a.user_id = any (p_users) and a.deleted_at is null order by a.user_id for no key update skip locked
  )
  select coalesce(array_agg(f.id), '{}') into locked from free f;
  select coalesce(array_agg(u.user_id), '{}') into users
    from (select distinct x as user_id from unnest(p_users) x where x is not null) u
   where not exists (select 1 from public.user_fly_apps a where a.user_id = u.user_id and a.deleted_at is null and a.id <> all (locked));
  insert into hangar.marks (user_id) select distinct x from unnest(p_users) x where x <> all (users);
end
$$;

-- Those of these users whose row does not match what they are entitled to, or who should have a row and have none. Reads without locks.
-- While losses are held, they are not outdated.
create function hangar.find_outdated(p_wants hangar.entitlement[], p_hold_losses boolean) returns setof hangar.entitlement
language plpgsql stable set search_path = ''
as $$
declare
  v_live boolean := (select g.live from hangar.settings g);
  v_now timestamptz := hangar.now();
begin
  return query
  select d.*
    from unnest(p_wants) d
    left join public.user_fly_apps a on a.user_id = d.user_id and a.deleted_at is null
    left join hangar.host_losses l on l.user_id = d.user_id and l.confirmed
    cross join lateral (select coalesce(p_hold_losses, false) and l.user_id is null as losses) hold
   where coalesce(case
     when d.entitled is null then false
     when a.desired_state = 'legacy' then false
     when a.id is null then d.entitled and (v_live or exists (select 1 from public.user_fly_apps b where b.user_id = d.user_id and b.generation > 0))
     when d.entitled then a.desired_state = 'absent' or a.tier is distinct from d.plan
       or a.observed_generation is distinct from a.generation and hangar.spec_of(a) is distinct from d.spec
     else a.desired_state = 'present' and (d.why = 'override_deny' or not hold.losses)
       or d.user_exists = false and greatest(a.hold_until, a.delete_after) > v_now and not hold.losses
       or d.why = 'override_deny' and a.hold_until > v_now end, false);
end
$$;

-- Brings the rows of these users, which hangar.lock_rows has locked before the host was read, up to date, in the order of their ids.
create function hangar.apply_entitlements(
  p_wants hangar.entitlement[], p_locked uuid[], p_source text, p_hold_losses boolean, out changed integer, out inserted integer
)
language plpgsql volatile set search_path = ''
as $$
declare
  v_want hangar.entitlement;
  v_row public.user_fly_apps;
  v_done text;
begin
  changed := 0;
  inserted := 0;
  for v_want in select w.* from hangar.find_outdated(p_wants, p_hold_losses) w order by w.user_id loop
    begin
      select a.* into v_row from public.user_fly_apps a where a.user_id = v_want.user_id and a.deleted_at is null for no key update nowait;
      v_done := case when v_row.id is null then hangar.create_missing_row(v_want, p_source, false)
                     when v_row.id = any (p_locked) then hangar.apply_entitlement(v_row, v_want, p_source, p_hold_losses) end;
      if v_done is null then
        -- Another transaction has created the row since the locks were taken, so it may know more than what was read then.
        perform 1 from public.user_fly_apps a where a.user_id = v_want.user_id and a.deleted_at is null for no key update nowait;
        v_done := hangar.sync_desired_state(v_want.user_id, p_source, p_hold_losses => p_hold_losses);
      end if;
      changed := changed + (v_done = 'changed')::integer;
      inserted := inserted + (v_done = 'inserted')::integer;
    exception when lock_not_available then
      insert into hangar.marks (user_id) values (v_want.user_id);
    end;
  end loop;
end
$$;

-- Brings these users' rows up to date with one read of the host. If it finds losses, they are weighed again, because the host may have changed
-- since the caller has looked at everybody.
create function hangar.sync_users(p_users uuid[], p_source text, p_hold_losses boolean, out changed integer, out inserted integer)
language plpgsql volatile set search_path = ''
as $$
declare
  v_rows record;
  v_wants hangar.entitlement[];
  v_held boolean := p_hold_losses;
begin
  if cardinality(p_users) = 0 then
    changed := 0;
    inserted := 0;
    return;  -- without another read of the host
  end if;
  select l.* into v_rows from hangar.lock_rows(p_users) l;
  v_wants := array(select e from hangar.entitlements(v_rows.users) e);
  if not v_held and exists (select 1 from hangar.find_losing(v_wants)) then
    v_held := hangar.check_waiting_losses(v_rows.users);
  end if;
  select d.* into changed, inserted from hangar.apply_entitlements(v_wants, v_rows.locked, p_source, v_held) d;
end
$$;

-- force_custom_plan: thousands of new users arrive at once when Hangar goes live. A plan that was made for an empty table reads the whole
-- table for each of them, until the table is analyzed.
create function public.fly_apply_marks(p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_taken record;
  v_pending uuid[];
  v_everybody boolean;
  v_candidates uuid[];
  v_rows record;
  v_wants hangar.entitlement[];
  v_held boolean;
  v_changed integer := 0;
  v_inserted integer := 0;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  -- All that wait are looked at together before the first is applied: a mass loss is larger than one call.
  select array_agg(distinct m.user_id) filter (where m.user_id is not null), coalesce(bool_or(m.user_id is null), false)
    into v_pending, v_everybody from hangar.marks m where not m.seen;
  select t.* into v_taken from hangar.take_marks(p_limit) t;
  if cardinality(v_taken.users) > 0 then
    -- A change that names no user, which waits with them, may be the mass loss itself.
    v_candidates := hangar.loss_candidates(case when not v_everybody then v_pending || v_taken.users end);
    select l.* into v_rows from hangar.lock_rows(v_taken.users) l;
    v_wants := array(select e from hangar.entitlements(v_rows.users || v_candidates) e);
    v_held := hangar.judge_losses(v_candidates, v_wants);
    select s.changed, s.inserted into v_changed, v_inserted
      from hangar.apply_entitlements(array(select w from unnest(v_wants) w join unnest(v_rows.users) u on u = w.user_id),
                                     v_rows.locked, 'marks', v_held) s;
  end if;
  return jsonb_build_object('users', cardinality(v_taken.users), 'changed', v_changed, 'inserted', v_inserted,
    'left', (select count(*) from (select 1 from hangar.marks limit 10000) m),
    -- The caller syncs everybody: something changed that names no user, or the host cannot mark its changes.
    'everybody', v_taken.everybody or exists (select 1 from hangar.binding b where b.kind = 'function' and not hangar.is_watching(b.watched)
      or b.kind = 'table' and not exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = b.source_oid and t.tgname = 'hangar_mark_update')));
end
$$;
comment on function public.fly_apply_marks(integer) is 'Brings the rows of up to 500 users up to date whose subscriptions have changed. docs/database.md.';

-- Everybody who has an app or should have one, judged from one read of the whole host, with the alerts about what it says. `outdated`: in the
-- order of their ids. Losses are held or released here.
create function hangar.examine_everybody(out examined integer, out outdated uuid[], out held boolean, out unknown_tiers text[])
language plpgsql volatile set search_path = ''
as $$
declare
  v_host record;
  v_judged hangar.subscription_verdict[];
  v_everybody uuid[];
  v_existing uuid[];
  v_wants hangar.entitlement[];
begin
  select h.* into v_host from hangar.read_whole_host() h;
  begin
    if hangar.check_host(v_host.problem) then
      select h.* into v_host from hangar.read_whole_host() h;
    end if;
  exception when lock_not_available then
    null;  -- another sync is raising this alert
  end;
  if v_host.rows is not null then
    v_judged := array(select j from hangar.judge_subscriptions(v_host.rows) j);
  end if;
  begin
    unknown_tiers := hangar.check_unknown_values(v_judged);
  exception when lock_not_available then
    unknown_tiers := '{}';  -- another sync is raising these alerts
  end;
  v_everybody := array(
    select a.user_id from public.user_fly_apps a where a.deleted_at is null
    union
    select s.user_id from unnest(v_judged) s join public.fly_plans p on p.tier = s.tier where p.dedicated and s.user_id is not null
    union
    select o.user_id from public.fly_overrides o where o.override = 'grant');
  examined := cardinality(v_everybody);
  v_existing := hangar.try_existing_users(v_everybody);
  begin
    perform hangar.check_unknown_users(v_judged, v_existing);
  exception when lock_not_available then
    null;  -- another sync is raising this alert
  end;
  v_wants := array(select e from hangar.judge_users(v_everybody, v_judged, v_existing) e);
  held := hangar.judge_losses(hangar.loss_candidates(null), v_wants);
  outdated := array(select f.user_id from hangar.find_outdated(v_wants, held) f order by f.user_id);
end
$$;

create function public.fly_sync_entitlements(p_after uuid default null, p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_examined record;
  v_users uuid[];
  v_done record;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  if p_after is null then
    -- This sync looks at the users of these marks, and finds out for itself what an earlier one has left.
    perform hangar.take_marks(p_limit);
    perform hangar.take_seen_marks(null, null);
    select e.* into v_examined from hangar.examine_everybody() e;
    v_users := v_examined.outdated[:p_limit];
    -- Those whom this call has no room for: the next calls take them from here, and need not read the whole host again.
    insert into hangar.marks (user_id, seen) select u, true from unnest(v_examined.outdated[p_limit + 1:]) u;
  else
    v_users := hangar.take_seen_marks(p_after, p_limit);
    select cardinality(v_users) as examined, '{}'::text[] as unknown_tiers, h.held_since is not null as held into v_examined from hangar.host_state h;
  end if;
  select s.* into v_done from hangar.sync_users(v_users, 'sync', v_examined.held) s;
  return jsonb_build_object(
    'next', case when cardinality(v_users) >= p_limit then v_users[cardinality(v_users)] end,
    'examined', v_examined.examined, 'changed', v_done.changed, 'inserted', v_done.inserted, 'unknown_tiers', to_jsonb(v_examined.unknown_tiers));
end
$$;
comment on function public.fly_sync_entitlements(uuid, integer) is 'Looks at every user: expiries, deleted users, missing rows, and changes without a mark. docs/database.md.';

create function public.fly_fleet_page(p_after uuid default null, p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_rows jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 1000);
  select coalesce(jsonb_agg(hangar.row_json(r) order by r.id), '[]') into v_rows
    from (select a.* from public.user_fly_apps a
           where a.deleted_at is null and a.desired_state <> 'legacy' and (p_after is null or a.id > p_after) order by a.id limit p_limit) r;
  return jsonb_build_object('rows', v_rows,
    'next', case when jsonb_array_length(v_rows) = p_limit then v_rows -> -1 -> 'id' end);
end
$$;
comment on function public.fly_fleet_page(uuid, integer) is 'Live rows ordered by id, one page at a time. docs/database.md.';

select hangar.restrict_functions();
