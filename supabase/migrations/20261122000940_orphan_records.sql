-- Which orphans there are: Fly apps with our proof of ownership and no live row, how old each is, and what ends the memory of one.
-- Builds on: limits, audit_log, sweep.

create function hangar.is_removable(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.approved_by is not null
      or p_orphan.sightings >= 2
     and p_orphan.first_seen_at <= hangar.now() - pg_catalog.make_interval(secs => g.orphan_after_s::double precision)
      or exists (select 1 from public.user_fly_apps a
                  where a.fly_app_name = p_orphan.app and a.network = p_orphan.network and a.deleted_at is not null
                    and exists (select 1 from hangar.intended_deletions d where d.fly_app_id = a.id))
    from hangar.settings g
$$;
comment on function hangar.is_removable(public.fly_orphans) is 'The first check: the orphan was seen by two sweeps over orphan_after_s, or approved by an operator, or its row was closed after a deletion of this very app was intended (Fly then answered that the app was gone, and was wrong).';

create function public.fly_list_orphans() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('orphans', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'app', o.app, 'network', o.network, 'first_seen_at', o.first_seen_at, 'sightings', o.sightings,
           'approved_by', o.approved_by, 'ripe', hangar.is_removable(o), 'user_id', o.user_id, 'awaits_word', hangar.needs_approval(o),
           'listed', o.listed) order by o.app), '[]'))
    from public.fly_orphans o
$$;
comment on function public.fly_list_orphans() is 'The orphans of the last sweep. The next sweep removes those that are `ripe`. docs/database.md.';

-- The orphans that Hangar intended to remove within the last day, and when Fly last confirmed it. The others that disappear were removed by
-- somebody else, or Fly's list lags behind.
create function hangar.orphan_removals() returns table (app text, succeeded_at timestamptz)
language sql stable set search_path = ''
as $$
  select e.metadata ->> 'app', max(e.created_at) filter (where e.status = 'succeeded')
    from public.user_fly_app_events e
   where e.event_type = 'action' and e.metadata ->> 'purpose' = 'orphan' and e.metadata ->> 'action' = 'delete_app'
     and e.created_at > hangar.now() - interval '1 day'
   group by 1
$$;

-- Whether an orphan that no list shows is forgotten: a list's silence must not decide about a lost or an approved one. p_removed_at: when Fly
-- last confirmed Hangar's own removal of it.
create function hangar.may_forget_orphan(p_orphan public.fly_orphans, p_removed_at timestamptz) returns boolean
language sql stable set search_path = ''
as $$
  select not p_orphan.lost and p_orphan.approved_by is null
      or coalesce(p_removed_at >= p_orphan.first_seen_at, false)
      or exists (select 1 from public.user_fly_apps a
                  where a.fly_app_name = p_orphan.app and a.network = p_orphan.network and a.deleted_at is null)
$$;

-- The worker that stored such an intent is gone and recorded no outcome.
create function hangar.close_orphan_removals(p_limit integer) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  select i.fly_app_id, i.user_id, 'action', 'unknown',
         i.metadata || jsonb_build_object('intent_id', i.id, 'closed_by', 'sweep')
    from public.user_fly_app_events i
   where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('destroy_machine', 'delete_app')
     and i.metadata ->> 'purpose' = 'orphan' and i.created_at between hangar.now() - interval '1 day' and hangar.now() - interval '10 minutes'
     and not exists (select 1 from public.user_fly_app_events o
                      where o.event_type = 'action' and o.status <> 'intent' and o.metadata ->> 'intent_id' = i.id::text)
   order by i.created_at limit p_limit
$$;

create function public.fly_record_orphans(p_seen jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_at_once constant integer := 500;
  v_apps text[];
  v_networks text[];
  v_shown text[];
  v_missing text[];
begin
  if p_seen is null or jsonb_typeof(p_seen) <> 'array' then
    raise exception 'p_seen must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  select coalesce(array_agg(x.app order by x.app), '{}'), coalesce(array_agg(x.network order by x.app), '{}') into v_apps, v_networks
    from (select distinct on (s.app) s.app, s.network
            from pg_catalog.jsonb_to_recordset(p_seen) as s (app text, network text)
           where not exists (select 1 from public.user_fly_apps a
                              where a.fly_app_name = s.app and a.deleted_at is null
                                and right(s.network, 32) = replace(a.id::text, '-', ''))  -- the row that the proof names
           order by s.app) x;
  -- One call changes at most so many, unknown ones first, then those that were recorded longest ago. The next sweep records the others.
  v_shown := array(select s.app from unnest(v_apps) s (app) left join public.fly_orphans o on o.app = s.app
                    order by o.app is not null, o.listed, o.last_seen_at, s.app limit v_at_once);
  v_missing := array(
    with removals as materialized (select r.app, r.succeeded_at from hangar.orphan_removals() r)
    select o.app from public.fly_orphans o left join removals r on r.app = o.app
     where not exists (select 1 from unnest(v_apps) s (app) where s.app = o.app)
       and (o.listed or hangar.may_forget_orphan(o, r.succeeded_at))
     order by o.last_seen_at, o.app limit v_at_once);
  -- In the order of the names, as every procedure that takes several orphans.
  perform 1 from public.fly_orphans o where o.app = any (v_shown || v_missing) order by o.app for update;
  perform hangar.close_orphan_removals(v_at_once);
  with seen as (
    select s.app, s.network from unnest(v_apps, v_networks) s (app, network) join unnest(v_shown) t (app) on t.app = s.app
  ), removals as materialized (
    select r.app, r.succeeded_at from hangar.orphan_removals() r
  ), forgotten as (
    delete from public.fly_orphans o
     where o.app = any (v_missing) and hangar.may_forget_orphan(o, (select r.succeeded_at from removals r where r.app = o.app))
    returning o.app, o.network
  ), gone as (
    insert into public.user_fly_app_events (event_type, status, metadata)
    select 'orphan_removed', 'succeeded', jsonb_build_object('app', f.app, 'network', f.network)
      from forgotten f where exists (select 1 from removals r where r.app = f.app)
  ), unlisted as (
    update public.fly_orphans o set listed = false
     where o.listed and o.app = any (v_missing) and not exists (select 1 from forgotten f where f.app = o.app)
  ), stored as (
    insert into public.fly_orphans as o (app, network, first_seen_at, last_seen_at)
    select s.app, s.network, v_now, v_now from seen s order by s.app
    -- The same name with another network is another app: its age and sightings start again. `lost` stays, because it holds the brake, and
    -- a list alone must not release that.
    on conflict (app) do update
      set first_seen_at = case when o.network = excluded.network then o.first_seen_at else v_now end,
          sightings = case when o.network = excluded.network then o.sightings + 1 else 1 end,
          approved_by = case when o.network = excluded.network then o.approved_by end,
          user_id = case when o.network = excluded.network then o.user_id end,
          network = excluded.network, last_seen_at = v_now, listed = true, absent_at = null
    returning o.app, o.network, o.sightings
  )
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'orphan_found', 'info', jsonb_build_object('app', st.app, 'network', st.network) from stored st where st.sightings = 1;
  return public.fly_list_orphans();
end
$$;
comment on function public.fly_record_orphans(jsonb) is 'Takes the listed apps with our proof of ownership, stores those without a live row as orphans, and forgets orphans that are not listed, unless a list''s silence must not decide. docs/database.md.';

create function public.fly_record_orphan_absence(p_app text, p_network text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_orphan public.fly_orphans;
  v_sweep_started_at timestamptz := (select w.started_at from hangar.sweeps w where w.name = 'fleet');
begin
  select o.* into v_orphan from public.fly_orphans o where o.app = p_app and o.network = p_network for update;
  if v_orphan.app is null or v_orphan.listed then
    return jsonb_build_object('forgotten', false);
  end if;
  -- A repeated call of the same sweep is no second look.
  if not coalesce(v_orphan.absent_at < v_sweep_started_at, false) then
    update public.fly_orphans set absent_at = coalesce(absent_at, hangar.now()) where app = p_app;
    return jsonb_build_object('forgotten', false);
  end if;
  delete from public.fly_orphans where app = p_app;
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'orphan_removed', case when r.app is null then 'info' else 'succeeded' end,
         jsonb_build_object('app', p_app, 'network', p_network, 'seen_gone_at', array[v_orphan.absent_at, hangar.now()])
    from (select 1) one left join hangar.orphan_removals() r on r.app = p_app;
  return jsonb_build_object('forgotten', true);
end
$$;
comment on function public.fly_record_orphan_absence(text, text) is 'Fly answered 404 to a direct question about an orphan that is not listed. The second sweep in which that happens forgets the orphan. docs/database.md.';

create function public.fly_approve_orphan(p_app text, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_orphan public.fly_orphans;
begin
  perform hangar.require_actor(p_actor);
  -- The removal destroys the app and its row here, so the log keeps who has approved it.
  update public.fly_orphans set approved_by = p_actor where app = p_app and approved_by is null returning * into v_orphan;
  if found then
    insert into public.user_fly_app_events (event_type, status, metadata)
    values ('orphan_approved', 'info', jsonb_build_object('app', p_app, 'network', v_orphan.network, 'actor', p_actor));
  end if;
  return jsonb_build_object('approved', exists (select 1 from public.fly_orphans o where o.app = p_app));
end
$$;
comment on function public.fly_approve_orphan(text, text) is 'An operator approves the removal of an orphan, so that it need not age. The next sweep still looks at it directly first. docs/database.md.';

select hangar.restrict_functions();
