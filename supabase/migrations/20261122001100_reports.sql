-- Reports for operators: one user, the state of Hangar, the cost, and entitled users who have no app yet. Read only.
-- Builds on: entitlement, limits, archive.

create function public.fly_user_status(p_user uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_want record;
  v_row public.user_fly_apps;
  v_last public.user_fly_apps;
begin
  select e.* into v_want from hangar.entitlements(array[p_user]) e;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  select a.* into v_last from public.user_fly_apps a
   where a.user_id = p_user and a.deleted_at is not null order by a.deleted_at desc, a.name_seq desc limit 1;
  return jsonb_build_object(
    'known', coalesce(v_want.known, false) or v_row.id is not null or v_last.id is not null,
    'entitled', v_want.entitled, 'why', v_want.why,
    'subscription', case when v_want.has_subscription then jsonb_build_object(
      'tier', v_want.tier, 'status', v_want.subscription_status, 'expires_at', v_want.subscription_expires_at) end,
    'override', (select to_jsonb(o) from public.fly_overrides o where o.user_id = p_user),
    -- Without the values of its environment: they may be somebody's secrets.
    'row', hangar.row_json(v_row), 'last', hangar.row_json(v_last), 'symptom', hangar.symptom_json(v_row),
    'pin', (select hangar.pin_json(n) from hangar.user_pins n where n.user_id = p_user), 'release', hangar.user_release_json(v_row),
    'secrets', hangar.user_secrets_json(p_user),
    'revocation', (select to_jsonb(r) - 'user_id' from hangar.token_revocations r where r.user_id = p_user),
    'token_refused', v_row.desired_state = 'present' and hangar.is_token_refused(v_row),
    -- Why the brake would hold back this app's deletion; decided as hangar.check_brake does, without its lock.
    'brake', case when v_row.desired_state = 'absent' then
      (select b.reason from hangar.brake_status() b where b.reason = 'lost' or v_row.id::text <> all (b.destroyed)) end,
    -- Which cap holds back a new app or a more expensive machine of this user; decided as hangar.is_cap_in_force does.
    'cap', case when v_row.desired_state = 'present' and v_row.next_attempt_at is not null
                 and (v_row.admitted_cost_usd is null or v_row.monthly_cost_estimate_usd > v_row.admitted_cost_usd) then
      (select c from unnest(array['max_apps', 'max_cost']) c
        where (c = 'max_cost' or v_row.admitted_cost_usd is null) and hangar.is_cap_in_force(c) limit 1) end,
    -- Why the drift of this app is not repaired now.
    'drift_held', case when v_row.drift <> '{}' then hangar.drift_hold() end,
    'events', (select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('seq', e.seq::text) order by e.created_at desc, e.seq desc), '[]')
                 from (select * from public.user_fly_app_events v where v.user_id = p_user
                        order by v.created_at desc, v.seq desc limit 50) e));
end
$$;
comment on function public.fly_user_status(uuid) is 'Everything about one user: entitlement and why, row, override, newest events. docs/database.md.';

create function public.fly_migration_candidates(p_after uuid default null, p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_page uuid[];
  v_users jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  -- One page of users who could be entitled; hangar.entitlements then decides. So a page may be short, or even empty, before the end.
  select array_agg(i.id order by i.id) into v_page
    from (
      select c.id
        from (
          select s.user_id as id from hangar.list_known_subscriptions() s join public.fly_plans p on p.tier = s.tier
           where p.dedicated and (p_after is null or s.user_id > p_after)
          union
          select o.user_id from public.fly_overrides o where o.override = 'grant' and (p_after is null or o.user_id > p_after)
        ) c
       where not exists (
         select 1 from public.user_fly_apps a
          where a.user_id = c.id and a.deleted_at is null
            and not (a.desired_state = 'present' and a.status in ('provisioning', 'error')))
       order by c.id
       limit p_limit
    ) i;
  select coalesce(jsonb_agg(jsonb_build_object(
           'user_id', d.user_id, 'email', u.email, 'tier', d.plan, 'why', d.why,
           'cpu_kind', (d.spec).cpu_kind, 'cpu_count', (d.spec).cpu_count, 'memory_mb', (d.spec).memory_mb, 'region', (d.spec).region,
           'monthly_cost_estimate_usd', hangar.monthly_cost_estimate_usd((d.spec).cpu_count, (d.spec).memory_mb)::text,
           'status', a.status, 'error_code', a.error_code, 'error_message', a.error_message,
           'next_attempt_at', a.next_attempt_at) order by d.user_id), '[]')
    into v_users
    from hangar.entitlements(coalesce(v_page, '{}')) d
    left join hangar.emails(coalesce(v_page, '{}')) u on u.user_id = d.user_id
    left join public.user_fly_apps a on a.user_id = d.user_id and a.deleted_at is null
   where d.entitled;
  return jsonb_build_object('users', v_users, 'next', case when cardinality(v_page) = p_limit then v_page[p_limit] end);
end
$$;
comment on function public.fly_migration_candidates(uuid, integer) is 'Entitled users who have no app yet: no row (status null), or one that is provisioning or in error. docs/database.md.';

-- An alert with the users and apps that its key, its message and its metadata name.
create function hangar.alert_with_names(p_alert hangar.alerts) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  select coalesce(array_agg(distinct i.id::uuid), '{}') into v_ids
    from (select m[1] as id
            from regexp_matches(concat_ws(' ', p_alert.key, p_alert.message, p_alert.metadata ->> 'user_id', p_alert.metadata ->> 'users'),
                                '\m([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\M', 'g') m limit 20) i;
  return jsonb_build_object('id', p_alert.id, 'kind', p_alert.kind, 'key', p_alert.key, 'message', p_alert.message, 'opened_at', p_alert.opened_at,
    'seen_at', p_alert.seen_at, 'times', p_alert.times::text, 'handling', hangar.alert_handling_json(p_alert.id),
    'names', case when v_ids = '{}' then '[]'::jsonb else (
      select coalesce(jsonb_agg(jsonb_build_object('id', n.id, 'user_id', n.user_id, 'email', hangar.user_email(n.user_id), 'app', n.fly_app_name)
                                order by n.fly_app_name, n.id), '[]')
        from (select i as id, coalesce(r.user_id, i) as user_id, coalesce(r.fly_app_name, l.fly_app_name) as fly_app_name
                from unnest(v_ids) i
                left join public.user_fly_apps r on r.id = i
                left join public.user_fly_apps l on l.user_id = i and l.deleted_at is null
               where r.id is not null or l.id is not null or hangar.user_email(i) is not null) n) end);
end
$$;

create function public.fly_overview() returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  return jsonb_build_object(
    'now', v_now,
    'settings', hangar.settings_json(),
    'binding', (select jsonb_build_object('kind', b.kind, 'source', b.source, 'columns', b.columns, 'users', b.users) from hangar.binding b),
    'changes_waiting', (select jsonb_build_object('users', count(*), 'oldest', min(m.marked_at)) from hangar.marks m),
    'due', (select jsonb_build_object('apps', count(*), 'oldest', min(a.next_attempt_at)) from public.user_fly_apps a
             where a.deleted_at is null and a.next_attempt_at <= v_now),
    'legacy', hangar.count_legacy_apps(),
    'working', (select count(*) from public.user_fly_apps a where a.deleted_at is null and a.lease_expires_at > v_now),
    'sweep', (select jsonb_build_object('under_way', coalesce(w.lease_expires_at > v_now, false), 'holder', w.holder,
                'started_at', w.started_at, 'heartbeat_at', w.heartbeat_at, 'finished_at', w.finished_at,
                'completed_at', w.completed_at, 'report', w.report)
                from hangar.sweeps w where w.name = 'fleet'),
    'alerts', (select coalesce(jsonb_agg(hangar.alert_with_names(t.l) order by hangar.alert_rank((t.l).kind), (t.l).opened_at desc), '[]')
                 from (select l from hangar.alerts l where l.resolved_at is null order by hangar.alert_rank(l.kind), l.opened_at desc limit 100) t),
    'drift', hangar.count_drift(),
    'unhealthy', (select jsonb_build_object('apps', coalesce(sum(u.apps), 0), 'symptoms', coalesce(jsonb_object_agg(u.symptom, u.apps) filter (where u.apps > 0), '{}'))
                    from (select f.symptom, count(*) as apps from hangar.find_unhealthy() f group by f.symptom) u),
    'alerts_open', (select count(*) from hangar.alerts l where l.resolved_at is null),
    'alerts_handled', hangar.count_handled_alerts(),
    'alert_deliveries', hangar.deliveries_json(),
    'archive', hangar.archive_json());
end
$$;
comment on function public.fly_overview() is 'The state of Hangar: settings, what is due, the last sweep, the 100 most urgent open alerts, the messages about alerts that wait, and the archive. docs/database.md.';

create function public.fly_cost_report(p_top integer default 10) returns jsonb
language plpgsql volatile security definer set search_path = '' set timezone = 'UTC'
as $$
declare
  v_now timestamptz := hangar.now();
  v_month timestamptz := date_trunc('month', v_now, 'UTC');
  v_groups jsonb;
  v_users jsonb;
  v_to_date jsonb;
begin
  perform hangar.check_limit('p_top', p_top, 100);
  -- Grouped by size and region, so that the caller looks up each list price once.
  select coalesce(jsonb_agg(to_jsonb(g) order by g.tier, g.region, g.cpu_kind, g.cpu_count, g.memory_mb, g.power), '[]')
    into v_groups
    from (
      select a.tier, coalesce(a.machine_region, a.region) as region, s.cpu_kind, s.cpu_count, s.memory_mb, a.power,
             count(*) as apps,
             count(*) filter (where a.machine_state = 'started') as running,
             -- Who leaves and who was given the plan does not pay for it.
             count(*) filter (where a.desired_state = 'present' and o.user_id is null) as paying,
             sum(a.monthly_cost_estimate_usd)::text as monthly_cost_estimate_usd
        from public.user_fly_apps a
        left join public.fly_overrides o on o.user_id = a.user_id and o.override = 'grant' and (o.ends_at is null or o.ends_at > v_now)
        -- What runs, so that an app which was scaled by hand costs what Fly asks for it.
        cross join lateral (select coalesce(a.observed_spec ->> 'cpu_kind', a.cpu_kind) as cpu_kind,
                                   coalesce((a.observed_spec ->> 'cpu_count')::integer, a.cpu_count) as cpu_count,
                                   coalesce((a.observed_spec ->> 'memory_mb')::integer, a.memory_mb) as memory_mb) s
       where a.deleted_at is null
       group by a.tier, coalesce(a.machine_region, a.region), s.cpu_kind, s.cpu_count, s.memory_mb, a.power
    ) g;
  with spent as (
    select c.user_id, c.fly_app_id, c.price_usd_per_s,
           extract(epoch from least(coalesce(c.ended_at, v_now), v_now) - greatest(c.started_at, v_month)) as seconds
      from public.fly_cost_intervals c
     where (c.ended_at is null or c.ended_at > v_month) and c.started_at < v_now
  ), by_user as (
    select s.user_id, sum(s.seconds) as seconds, coalesce(sum(s.seconds * s.price_usd_per_s), 0) as usd
      from spent s group by s.user_id
  ), top_users as (
    select coalesce(a.user_id, b.user_id) as user_id, a.fly_app_name, a.tier, a.monthly_cost_estimate_usd,
           coalesce(b.seconds, 0) as seconds, coalesce(b.usd, 0) as usd
      from (select * from public.user_fly_apps x where x.deleted_at is null) a full join by_user b on b.user_id = a.user_id
     -- By the month, not by what was spent so far: the largest machine, started an hour ago, has cost little yet.
     order by coalesce(a.monthly_cost_estimate_usd, 0) desc, coalesce(b.usd, 0) desc, 1
     limit p_top
  )
  select jsonb_build_object(
           'running_seconds', (select coalesce(sum(s.seconds), 0)::text from spent s),
           'unpriced_seconds', (select coalesce(sum(s.seconds) filter (where s.price_usd_per_s is null), 0)::text from spent s),
           'usd', (select coalesce(sum(s.seconds * s.price_usd_per_s), 0)::text from spent s),
           'users', (select count(*) from by_user)),
         (select coalesce(jsonb_agg(jsonb_build_object(
                   'user_id', t.user_id, 'email', u.email, 'fly_app_name', t.fly_app_name, 'tier', t.tier,
                   'monthly_cost_estimate_usd', t.monthly_cost_estimate_usd::text, 'running_seconds', t.seconds::text,
                   'to_date_usd', t.usd::text) order by coalesce(t.monthly_cost_estimate_usd, 0) desc, t.usd desc, t.user_id), '[]')
            from top_users t left join lateral (select hangar.user_email(t.user_id) as email) u on true)
    into v_to_date, v_users;
  return jsonb_build_object('now', v_now, 'month_start', v_month, 'groups', v_groups, 'to_date', v_to_date, 'users', v_users,
    'plans', (select coalesce(jsonb_agg(jsonb_build_object('tier', p.tier, 'cpu_kind', p.cpu_kind, 'cpu_count', p.cpu_count,
                'memory_mb', p.memory_mb, 'power', p.power, 'region', coalesce(p.region, g.default_region),
                'price_usd', p.price_usd::text) order by p.tier), '[]')
                from public.fly_plans p cross join hangar.settings g where p.dedicated));
end
$$;
comment on function public.fly_cost_report(integer) is 'Live apps by tier, region and size, the month''s running seconds at list price, and the users with the highest monthly cost. Money as text. docs/database.md.';

select hangar.restrict_functions();
