-- How desired state follows the host: marks at once, every user in a sync, and the fleet in pages.
-- Builds on: desired_state, marks, nudge, alerts.

-- Keeps the alert about a host that cannot be read. A table or column that was renamed back, retyped or made again is found here: the
-- reading functions and the triggers are written again from the binding.
create function hangar.check_host() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_problem text;
  v_source text := (select b.source from hangar.binding b);
begin
  v_problem := hangar.explain_unreadable_host();
  begin
    -- A table that was dropped and made again can be read by its name, but its triggers are gone.
    if v_problem is not null or exists (select 1 from hangar.binding b
         where b.kind = 'table' and not exists (select 1 from pg_catalog.pg_class c where c.oid = b.source_oid)) then
      perform hangar.write_host_functions();
      v_problem := hangar.explain_unreadable_host();
    end if;
    if v_problem is null then
      perform hangar.ensure_mark_triggers();
    end if;
  exception when others then
    v_problem := sqlerrm;
  end;
  if v_problem is null then
    perform hangar.resolve_alert('host_binding', 'subscriptions');
  else
    perform hangar.raise_alert('host_binding', 'subscriptions', format(
      'The host''s data cannot be read from %s: %s. Hangar changes and destroys nothing because of it; failures and health are handled as '
      'usual. Correct the binding as the database owner: select hangar.bind_subscriptions(…). See docs/host-binding.md',
      coalesce(v_source, 'the table of users'), v_problem), jsonb_build_object('problem', v_problem));
  end if;
end
$$;

-- Values of subscriptions that say nothing: tiers that fly_plans lacks, missing tiers, statuses without a rule, ends that cannot be read.
-- One alert for each value, resolved when no subscription has it any more.
create function hangar.check_unknown_values() returns text[]
language plpgsql volatile set search_path = ''
as $$
declare
  v_rows hangar.host_subscription[] := array(select s from hangar.list_known_subscriptions() s);
  v_unknown text[];
  v_value record;
  v_seen text[] := '{}'::text[];
begin
  for v_value in
    select case j.why when 'no_status' then 'unknown_status' when 'no_tier' then 'unknown_tier' else j.why end as kind,
           case j.why when 'unknown_tier' then j.tier when 'unknown_status' then lower(hangar.trim_word(j.status)) when 'unreadable_end' then 'ends_at'
                else 'null' end as key,
           count(distinct j.user_id) as users, (array_agg(j.user_id order by j.user_id))[1] as example
      from hangar.judge_subscriptions(v_rows) j
     where j.verdict is null
     group by 1, 2 order by 1, 2 limit 100
  loop
    v_seen := v_seen || (v_value.kind || ':' || v_value.key);
    perform hangar.raise_alert(v_value.kind, v_value.key, case v_value.kind
      when 'unknown_tier' then case v_value.key when 'null'
        then format('%s user(s) have an active subscription without a tier, for example %s. Hangar changes nothing for them until the host sets it',
                    v_value.users, v_value.example)
        else format('Tier %L is not in fly_plans. Hangar changes nothing for its %s user(s) until you add the plan', v_value.key, v_value.users) end
      when 'unknown_status' then format(
        'Status %L of %s subscription(s) has no rule, for example of user %s. Hangar changes nothing for these users until you add it to '
        'hangar.status_rules', v_value.key, v_value.users, v_value.example)
      else format('The end of %s subscription(s) cannot be read as a time, for example of user %s. Hangar changes nothing for these users '
        'until the host corrects it', v_value.users, v_value.example) end, jsonb_build_object('users', v_value.users, 'example', v_value.example));
  end loop;
  -- A tier that only ended subscriptions name matters too: the next sign-up would wait.
  select coalesce(array_agg(t.tier order by t.tier), '{}') into v_unknown
    from (select distinct s.tier from unnest(v_rows) s limit 1000) t
   where t.tier is not null and not exists (select 1 from public.fly_plans p where p.tier = t.tier);
  for v_value in select u as key from unnest(v_unknown) u where 'unknown_tier:' || u <> all (v_seen) loop
    v_seen := v_seen || ('unknown_tier:' || v_value.key);
    perform hangar.raise_alert('unknown_tier', v_value.key,
      format('Tier %L is not in fly_plans. Hangar changes nothing for its users until you add the plan', v_value.key));
  end loop;
  update hangar.alerts a set resolved_at = hangar.now()
   where a.kind in ('unknown_tier', 'unknown_status', 'unreadable_end') and a.resolved_at is null and a.kind || ':' || a.key <> all (v_seen)
     and hangar.explain_unreadable_host() is null;
  return v_unknown;
end
$$;

-- Brings these users' rows up to date, in the order of their ids, so that two such transactions never wait for each other. A row that
-- another transaction holds is left; its user is marked, so that the next drain tries again.
create function hangar.sync_users(p_users uuid[], p_source text, p_hold_losses boolean, out changed integer, out inserted integer)
language plpgsql volatile set search_path = ''
as $$
declare
  v_user uuid;
  v_done text;
begin
  changed := 0;
  inserted := 0;
  for v_user in select distinct u from unnest(p_users) u order by u loop
    begin
      -- A row that a worker or an operator holds is left at once, not after a wait for each.
      perform 1 from public.user_fly_apps a where a.user_id = v_user and a.deleted_at is null for no key update nowait;
      v_done := hangar.sync_desired_state(v_user, p_source, p_hold_losses => p_hold_losses);
      changed := changed + (v_done = 'changed')::integer;
      inserted := inserted + (v_done = 'inserted')::integer;
    exception when lock_not_available then
      insert into hangar.marks (user_id) values (v_user);
    end;
  end loop;
end
$$;

-- Those of these users whose row does not match what they are entitled to, or who should have a row and have none. Reads without locks;
-- hangar.sync_desired_state decides again.
create function hangar.find_outdated(p_users uuid[]) returns setof uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_live boolean := (select g.live from hangar.settings g);
  v_now timestamptz := hangar.now();
begin
  return query
  select d.user_id
    from hangar.entitlements(p_users) d
    left join public.user_fly_apps a on a.user_id = d.user_id and a.deleted_at is null
   where coalesce(case
     when d.entitled is null then false
     when a.id is null then d.entitled and (v_live or exists (select 1 from public.user_fly_apps b where b.user_id = d.user_id))
     when d.entitled then a.desired_state = 'absent' or a.tier is distinct from d.plan
       or a.observed_generation is distinct from a.generation and hangar.spec_of(a) is distinct from d.spec
     else a.desired_state = 'present' or not d.user_exists and greatest(a.hold_until, a.delete_after) > v_now
       or d.why = 'override_deny' and a.hold_until > v_now end, false);
end
$$;

create function public.fly_apply_marks(p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  v_taken record;
  v_pending uuid[];
  v_busy uuid[];
  v_held boolean;
  v_changed integer := 0;
  v_inserted integer := 0;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  -- All that wait are looked at together before the first is applied: a mass loss is larger than one call.
  select array_agg(distinct m.user_id) into v_pending from hangar.marks m where m.user_id is not null;
  select t.* into v_taken from hangar.take_marks(p_limit) t;
  if cardinality(v_taken.users) > 0 then
    v_held := hangar.check_host_loss(v_pending || v_taken.users);
    -- A row that another transaction holds may be about to change, whatever it says now: its user stays marked.
    with free as materialized (
      select a.id from public.user_fly_apps a where a.user_id = any (v_taken.users) and a.deleted_at is null for no key update skip locked
    )
    select array_agg(a.user_id) into v_busy
      from public.user_fly_apps a where a.user_id = any (v_taken.users) and a.deleted_at is null and a.id not in (select f.id from free f);
    insert into hangar.marks (user_id) select u from unnest(v_busy) u;
    select s.changed, s.inserted into v_changed, v_inserted
      from hangar.sync_users(array(select f from hangar.find_outdated(v_taken.users) f where f <> all (coalesce(v_busy, '{}'))), 'marks', v_held) s;
  end if;
  return jsonb_build_object('users', cardinality(v_taken.users), 'changed', v_changed, 'inserted', v_inserted,
    'left', (select count(*) from (select 1 from hangar.marks limit 10000) m),
    -- The caller syncs everybody: something changed that names no user, or the host cannot mark its changes.
    'everybody', v_taken.everybody or exists (select 1 from hangar.binding b where b.kind = 'function' and not hangar.is_watching(b.watched)
      or b.kind = 'table' and not exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = b.source_oid and t.tgname = 'hangar_mark_update')));
end
$$;
comment on function public.fly_apply_marks(integer) is 'Brings the rows of up to 500 users up to date whose subscriptions have changed. docs/database.md.';

create function public.fly_sync_entitlements(p_after uuid default null, p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  v_everybody uuid[];
  v_users uuid[];
  v_done record;
  v_held boolean;
  v_unknown text[] := '{}'::text[];
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  if p_after is null then
    perform hangar.take_marks(p_limit);  -- this sync looks at their users
    begin
      perform hangar.check_host();
      v_unknown := hangar.check_unknown_values();
    exception when lock_not_available then
      v_unknown := '{}'::text[];  -- another sync is raising these alerts
    end;
    v_held := hangar.check_host_loss(null);
  else
    v_held := (select h.held_since is not null from hangar.host_state h);
  end if;
  select array_agg(i.user_id) into v_everybody
    from (
      select a.user_id from public.user_fly_apps a where a.deleted_at is null
      union
      select s.user_id from hangar.list_known_subscriptions() s join public.fly_plans p on p.tier = s.tier where p.dedicated
      union
      select o.user_id from public.fly_overrides o where o.override = 'grant'
    ) i where p_after is null or i.user_id > p_after;
  select array_agg(f.user_id) into v_users
    from (select o as user_id from hangar.find_outdated(coalesce(v_everybody, '{}')) o order by o limit p_limit) f;
  select s.* into v_done from hangar.sync_users(coalesce(v_users, '{}'), 'sync', v_held) s;
  return jsonb_build_object(
    'next', case when cardinality(v_users) >= p_limit then v_users[cardinality(v_users)] end,
    'examined', coalesce(cardinality(v_everybody), 0), 'changed', v_done.changed, 'inserted', v_done.inserted, 'unknown_tiers', to_jsonb(v_unknown));
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
           where a.deleted_at is null and (p_after is null or a.id > p_after) order by a.id limit p_limit) r;
  return jsonb_build_object('rows', v_rows,
    'next', case when jsonb_array_length(v_rows) = p_limit then v_rows -> -1 -> 'id' end);
end
$$;
comment on function public.fly_fleet_page(uuid, integer) is 'Live rows ordered by id, one page at a time. docs/database.md.';

select hangar.restrict_functions();
