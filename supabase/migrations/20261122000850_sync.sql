-- The first half of a sweep: entitlements that changed without the trigger, and the fleet in pages.
-- Builds on: entitlement, nudge, alerts.

-- Tiers of subscriptions that fly_plans does not know: one alert each, resolved when the plan exists. Checked once per pass.
create function hangar.check_unknown_tiers(p_first_page boolean) returns text[]
language plpgsql volatile set search_path = ''
as $$
declare
  v_unknown text[];
  v_tier text;
begin
  if not p_first_page then
    return '{}'::text[];
  end if;
  select coalesce(array_agg(t.tier order by t.tier), '{}') into v_unknown
    from (select distinct s.tier::text as tier from public.user_subscriptions s) t
   where t.tier is not null and not exists (select 1 from public.fly_plans p where p.tier = t.tier);
  foreach v_tier in array v_unknown loop
    perform hangar.raise_alert('unknown_tier', v_tier,
      format('Tier %L is not in fly_plans. Hangar changes nothing for its users until you add the plan', v_tier));
  end loop;
  update hangar.alerts set resolved_at = hangar.now()
   where kind = 'unknown_tier' and resolved_at is null and key <> all (v_unknown);
  return v_unknown;
end
$$;

create function public.fly_sync_entitlements(p_after uuid default null, p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  v_nudges text := hangar.mute_nudges();  -- the sweep that syncs also drains
  v_live boolean := (select g.live from hangar.settings g);
  v_users uuid[];
  v_examined bigint;
  v_free uuid[];
  v_user uuid;
  v_done text;
  v_changed integer := 0;
  v_inserted integer := 0;
  v_skip_rest boolean := false;
  v_unknown text[];
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  -- First a look without locks: users whose row does not match what they are entitled to, or who should have a row and have none.
  with interesting as materialized (
    select a.user_id from public.user_fly_apps a where a.deleted_at is null and (p_after is null or a.user_id > p_after)
    union
    select s.user_id from public.user_subscriptions s join public.fly_plans p on p.tier = s.tier::text
     where p.dedicated and (p_after is null or s.user_id > p_after)
    union
    select o.user_id from public.fly_overrides o where o.override = 'grant' and (p_after is null or o.user_id > p_after)
  )
  select array_agg(c.user_id order by c.user_id) filter (where c.off and c.nr <= p_limit), count(*)
    into v_users, v_examined
    from (
      select d.user_id, judged.off, row_number() over (partition by judged.off order by d.user_id) as nr
        from hangar.entitlements((select array_agg(i.user_id) from interesting i)) d
        left join public.user_fly_apps a on a.user_id = d.user_id and a.deleted_at is null
        cross join lateral (select coalesce(case
          when d.entitled is null then false
          when a.id is null then d.entitled and (v_live or exists (select 1 from public.user_fly_apps b where b.user_id = d.user_id))
          when d.entitled then a.desired_state = 'absent' or a.tier is distinct from d.plan
          else a.desired_state = 'present' or (not d.user_exists and a.delete_after > hangar.now()) end, false) as off) judged
    ) c;
  v_users := coalesce(v_users, '{}');
  -- A row that a worker or the host's own transaction holds is left for the next pass.
  select coalesce(array_agg(l.user_id), '{}') into v_free
    from (select a.user_id from public.user_fly_apps a
           where a.deleted_at is null and a.user_id = any (v_users) order by a.id for no key update skip locked) l;
  -- Only these statements decide: they see a renewal that was committed since the first look, and a later one waits for our lock.
  foreach v_user in array v_users loop
    if v_user = any (v_free) then
      v_done := hangar.sync_desired_state(v_user, 'sync');
    elsif v_skip_rest or exists (select 1 from public.user_fly_apps a where a.user_id = v_user and a.deleted_at is null) then
      continue;
    else
      begin
        v_done := hangar.sync_desired_state(v_user, 'sync');
      exception when lock_not_available then
        v_skip_rest := true;  -- another transaction is creating this user's row
        continue;
      end;
    end if;
    v_changed := v_changed + (v_done = 'changed')::integer;
    v_inserted := v_inserted + (v_done = 'inserted')::integer;
  end loop;
  begin
    v_unknown := hangar.check_unknown_tiers(p_after is null);
  exception when lock_not_available then
    v_unknown := '{}';  -- another sync is raising these alerts
  end;
  perform hangar.restore_nudges(v_nudges);
  return jsonb_build_object(
    'next', case when cardinality(v_users) >= p_limit then v_users[cardinality(v_users)] end,
    'examined', v_examined, 'changed', v_changed, 'inserted', v_inserted, 'unknown_tiers', to_jsonb(v_unknown));
end
$$;
comment on function public.fly_sync_entitlements(uuid, integer) is 'Finds what the trigger missed: expiries, deleted users, changes that it skipped, missing rows. docs/database.md.';

create function public.fly_fleet_page(p_after uuid default null, p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_rows jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 1000);
  select coalesce(jsonb_agg(hangar.row_json(r) order by r.id), '[]') into v_rows
    from (select a.* from public.user_fly_apps a
           where a.deleted_at is null and (p_after is null or a.id > p_after) order by a.id limit p_limit) r;
  return jsonb_build_object('rows', v_rows,
    'next', case when jsonb_array_length(v_rows) = p_limit then v_rows -> -1 -> 'id' end);
end
$$;
comment on function public.fly_fleet_page(uuid, integer) is 'Live rows ordered by id, one page at a time. docs/database.md.';

select hangar.restrict_functions();
