-- What the dashboard shows about the fleet. Read only. Every page is one keyset page, and its usual order has an index.
-- Builds on: operators, limits, dashboard_search.

create index user_fly_apps_newest on public.user_fly_apps (created_at desc, id desc) where deleted_at is null;
create index user_fly_apps_by_status on public.user_fly_apps (status, created_at desc, id desc) where deleted_at is null;
create index user_fly_apps_not_healthy on public.user_fly_apps (created_at desc, id desc)
  where deleted_at is null and health_status is distinct from 'healthy';
-- In the C collation, because its order serves both a prefix search and the sorting.
create index user_fly_apps_live_name on public.user_fly_apps (fly_app_name collate "C") where deleted_at is null;

-- The open alerts that the notices above the pages are about: not snoozed, and no single user's whose failure is a row of the failures page.
create function hangar.banner_alerts() returns setof hangar.alerts
language sql stable set search_path = ''
as $$
  select l.* from hangar.alerts l
   where l.resolved_at is null and (l.kind not in ('provision_failed', 'deprovision_failed') or l.metadata ? 'cause')
     and not exists (select 1 from hangar.alert_handling h where h.alert_id = l.id and h.state = 'snoozed' and h.until > hangar.now())
$$;

create function public.fly_admin_frame(p_user uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_who jsonb := public.fly_operator(p_user);
begin
  if not (v_who ->> 'operator')::boolean then
    return v_who;
  end if;
  return v_who || jsonb_build_object(
    'now', hangar.now(),
    'settings', hangar.settings_json(),
    'sweep', (select jsonb_build_object('under_way', coalesce(w.lease_expires_at > hangar.now(), false), 'started_at', w.started_at,
                'completed_at', w.completed_at, 'report', w.report) from hangar.sweeps w where w.name = 'fleet'),
    'brake', case when exists (select 1 from hangar.alerts b where b.kind = 'brake' and b.resolved_at is null)
                  then public.fly_brake_status() end,
    'alerts', (select coalesce(jsonb_agg(hangar.alert_with_names(t.l) order by hangar.alert_rank((t.l).kind), (t.l).opened_at desc), '[]')
                 from (select l from hangar.banner_alerts() l order by hangar.alert_rank(l.kind), l.opened_at desc limit 20) t),
    'alert_kinds', (select coalesce(jsonb_object_agg(k.kind, k.alerts), '{}')
                      from (select l.kind, count(*) as alerts from hangar.banner_alerts() l group by l.kind) k),
    'alerts_handled', hangar.count_handled_alerts(),
    'failures', (select count(*) from public.user_fly_apps a where a.status = 'error' and a.deleted_at is null and a.desired_state <> 'legacy'));
end
$$;
comment on function public.fly_admin_frame(uuid) is 'Whether this user operates Hangar, and if so what every page of the dashboard shows above its content. docs/database.md.';

create function public.fly_admin_figures() returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_late timestamptz := v_now - interval '5 minutes';
  v_groups jsonb;
  v_tiers jsonb;
  v_regions jsonb;
begin
  -- One pass over the fleet. Every figure of the page is a sum of the groups by status and health; tiers and regions are its choices.
  with fleet as (
    select a.*, coalesce(a.health_status, 'unknown') as health, coalesce(a.machine_region, a.region) as place
      from public.user_fly_apps a where a.deleted_at is null
  ), counted as materialized (
    select f.status, f.health, f.tier, f.place, grouping(f.status) = 0 as of_status, grouping(f.tier) = 0 as of_tier,
           grouping(f.place) = 0 as of_place, count(*) as apps,
           coalesce(sum(f.monthly_cost_estimate_usd), 0)::text as monthly_cost_estimate_usd,
           coalesce(sum(f.price_usd_per_s) filter (where f.machine_state = 'started') * 2592000, 0)::text as monthly_list_price_usd,
           count(*) filter (where f.machine_state = 'started') as running,
           count(*) filter (where f.next_attempt_at <= v_now) as due,
           count(*) filter (where f.next_attempt_at <= v_late) as overdue,
           count(*) filter (where f.status = 'error' and f.next_attempt_at is null and f.desired_state <> 'legacy') as stuck,
           count(*) filter (where f.drift <> '{}') as drifted,
           count(*) filter (where f.lease_expires_at > v_now) as working
      from fleet f
     group by grouping sets ((f.status, f.health), (f.tier), (f.place))
  )
  select coalesce(jsonb_agg(to_jsonb(c) - array['tier', 'place', 'of_status', 'of_tier', 'of_place'] order by c.status, c.health)
                    filter (where c.of_status), '[]'),
         (select coalesce(jsonb_agg(jsonb_build_object('tier', t.tier, 'apps', coalesce(n.apps, 0)) order by t.tier), '[]')
            from (select p.tier from public.fly_plans p union select d.tier from counted d where d.of_tier and d.tier is not null) t
            left join counted n on n.of_tier and n.tier = t.tier),
         coalesce(jsonb_agg(jsonb_build_object('region', c.place, 'apps', c.apps) order by c.place) filter (where c.of_place), '[]')
    into v_groups, v_tiers, v_regions
    from counted c;
  return jsonb_build_object('now', v_now, 'groups', v_groups, 'tiers', v_tiers, 'regions', v_regions);
end
$$;
comment on function public.fly_admin_figures() is 'Live apps by status and health: how many, running, due, overdue, stuck, leased, and what they cost; the tiers and regions to filter by. Money as text. docs/database.md.';

-- The condition of a filter, as SQL about `a`. Refuses words that no app can match by their name, with those that are allowed.
create function hangar.fleet_condition(p_filter jsonb) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  perform hangar.check_keys('p_filter', p_filter, array['status', 'health', 'region', 'tier', 'work', 'cause', 'q']);
  perform hangar.check_choice('status', p_filter ->> 'status', array['active', 'provisioning', 'error', 'deprovisioning', 'deleted']);
  perform hangar.check_choice('health', p_filter ->> 'health', array['healthy', 'unhealthy', 'unknown']);
  perform hangar.check_choice('work', p_filter ->> 'work', array['due', 'overdue', 'retrying', 'stuck', 'drift', 'override', 'legacy']);
  return 'a.deleted_at is null'
    || coalesce(' and a.status = ' || quote_literal(p_filter ->> 'status'), '')
    || case p_filter ->> 'health'
         when 'healthy' then ' and a.health_status = ''healthy'''
         when 'unhealthy' then ' and a.health_status is distinct from ''healthy'' and a.health_status = ''unhealthy'''
         when 'unknown' then ' and a.health_status is distinct from ''healthy'' and coalesce(a.health_status, ''unknown'') = ''unknown'''
         else '' end
    || coalesce(' and coalesce(a.machine_region, a.region) = ' || quote_literal(p_filter ->> 'region'), '')
    || coalesce(' and a.tier = ' || quote_literal(p_filter ->> 'tier'), '')
    || coalesce(' and a.status = ''error'' and a.desired_state <> ''legacy'' and coalesce(a.error_code, ''error'') = ' || quote_literal(p_filter ->> 'cause'), '')
    || case p_filter ->> 'work'
         when 'due' then format(' and a.next_attempt_at <= %L', v_now)
         when 'overdue' then format(' and a.next_attempt_at <= %L', v_now - interval '5 minutes')
         when 'stuck' then ' and a.status = ''error'' and a.next_attempt_at is null and a.desired_state <> ''legacy'''
         when 'retrying' then ' and a.status = ''error'' and a.next_attempt_at is not null'
         when 'drift' then ' and a.drift <> ''{}'''
         when 'legacy' then ' and a.desired_state = ''legacy'''
         when 'override' then format(' and exists (select 1 from public.fly_overrides o where o.user_id = a.user_id and (o.ends_at is null or o.ends_at > %L))', v_now)
         else '' end;
end
$$;

create function public.fly_admin_fleet(
  p_filter jsonb default '{}', p_sort text default 'created', p_descending boolean default true, p_after jsonb default null,
  p_limit integer default 50, p_before jsonb default null, p_count boolean default false
) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_most constant integer := 1000;
  v_column text;
  v_type text;
  v_where text := hangar.fleet_condition(p_filter);
  v_from text := '';
  v_users uuid[];
  -- The page before a place is read backwards from it, then turned round.
  v_backwards boolean := p_before is not null;
  v_read text := case when p_descending <> v_backwards then 'desc' else 'asc' end;
  v_rows jsonb;
  v_first jsonb;
  v_last jsonb;
  v_has_more boolean;
  v_apps bigint;
  v_above bigint;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  if p_before is not null and p_after is not null then
    raise exception 'p_after and p_before exclude each other' using errcode = 'invalid_parameter_value';
  end if;
  select s.expression, s.type into v_column, v_type
    from (values ('created', 'a.created_at', 'timestamptz'),
                 ('app', 'a.fly_app_name collate "C"', 'text'),
                 ('cost', 'coalesce(a.monthly_cost_estimate_usd, 0)', 'numeric'),
                 ('checked', 'coalesce(a.last_health_check, ''-infinity'')', 'timestamptz'),
                 ('retries', 'a.retry_count', 'integer')) as s (name, expression, type)
   where s.name = p_sort;
  if v_column is null then
    raise exception 'p_sort must be app, checked, cost, created or retries, not %', p_sort using errcode = 'invalid_parameter_value';
  end if;
  if btrim(coalesce(p_filter ->> 'q', '')) <> '' then
    v_users := hangar.search_users(p_filter ->> 'q', v_most);
    v_where := v_where || format(' and a.user_id = any (%L)', v_users);
  end if;
  if v_backwards or p_after is not null then
    v_from := format(' and (%s, a.id) %s (%L::%s, %L::uuid)', v_column, case v_read when 'desc' then '<' else '>' end,
                     coalesce(p_before, p_after) ->> 0, v_type, coalesce(p_before, p_after) ->> 1);
  end if;
  -- E-mail addresses are looked up only for the rows of the page.
  execute format($q$
    with picked as (
      select a.id, %1$s as sort_value from public.user_fly_apps a where %3$s order by %1$s %2$s, a.id %2$s limit %4$s
    ), page as (
      select a.*, k.sort_value::text, row_number() over (order by k.sort_value %2$s, k.id %2$s) as nr
        from picked k join public.user_fly_apps a on a.id = k.id
    ), shown as (
      select p.*, row_number() over (order by p.nr %7$s) as place from page p where p.nr <= %6$s
    )
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', p.id, 'user_id', p.user_id, 'email', u.email, 'fly_app_name', p.fly_app_name, 'status', p.status,
             'desired_state', p.desired_state, 'health_status', coalesce(p.health_status, 'unknown'),
             'region', coalesce(p.machine_region, p.region), 'tier', p.tier, 'cpu_kind', p.cpu_kind, 'cpu_count', p.cpu_count,
             'memory_mb', p.memory_mb, 'machine_id', p.machine_id, 'machine_state', p.machine_state, 'docker_image', p.docker_image,
             'monthly_cost_estimate_usd', p.monthly_cost_estimate_usd::text, 'last_health_check', p.last_health_check,
             'drift', p.drift, 'retry_count', p.retry_count, 'error_code', p.error_code, 'error_message', p.error_message, 'created_at', p.created_at,
             'next_attempt_at', p.next_attempt_at, 'hold_until', p.hold_until, 'delete_after', p.delete_after, 'override', o.override,
             'health_detail', (select h.detail from hangar.app_health h where h.fly_app_id = p.id and h.samples > 0 and h.well_since is null),
             'lease_holder', case when p.lease_expires_at > %5$L then p.lease_holder end) order by p.place), '[]') as rows,
           (select jsonb_build_array(f.sort_value, f.id) from shown f order by f.place limit 1) as first,
           (select jsonb_build_array(l.sort_value, l.id) from shown l order by l.place desc limit 1) as last,
           (select count(*) > %6$s from page) as has_more
      from shown p
      left join lateral (select hangar.user_email(p.user_id) as email) u on true
      left join public.fly_overrides o on o.user_id = p.user_id and (o.ends_at is null or o.ends_at > %5$L)
    $q$, v_column, v_read, v_where || v_from, p_limit + 1, v_now, p_limit, case when v_backwards then 'desc' else 'asc' end)
    into v_rows, v_first, v_last, v_has_more;
  if p_count then
    execute format('select count(*), count(*) filter (where (%s, a.id) %s (%L::%s, %L::uuid)) from public.user_fly_apps a where %s',
                   v_column, case when p_descending then '>' else '<' end, v_first ->> 0, v_type, v_first ->> 1, v_where)
      into v_apps, v_above;
  end if;
  return jsonb_build_object('now', v_now, 'rows', v_rows,
    -- A cursor is null at the end to which the page was read; towards the place it was read from, there were rows when that was shown.
    'next', case when v_backwards or v_has_more then v_last end,
    'previous', case when p_after is not null or v_backwards and v_has_more then v_first end,
    'apps', v_apps, 'above', v_above,
    'search_cut', coalesce(cardinality(v_users) >= v_most, false));
end
$$;
comment on function public.fly_admin_fleet(jsonb, text, boolean, jsonb, integer, jsonb, boolean) is 'One keyset page of live apps, filtered, searched and sorted. docs/database.md.';

select hangar.restrict_functions();
