-- What the dashboard shows about the fleet. Read only. Every page is one keyset page, and its usual order has an index.
-- Builds on: operators, limits, entitlement.

create index user_fly_apps_newest on public.user_fly_apps (created_at desc, id desc) where deleted_at is null;
create index user_fly_apps_by_status on public.user_fly_apps (status, created_at desc, id desc) where deleted_at is null;
create index user_fly_apps_not_healthy on public.user_fly_apps (created_at desc, id desc)
  where deleted_at is null and health_status is distinct from 'healthy';
-- In the C collation, because its order serves both a prefix search and the sorting.
create index user_fly_apps_live_name on public.user_fly_apps (fly_app_name collate "C") where deleted_at is null;

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
    'alerts', (select coalesce(jsonb_agg(jsonb_build_object('kind', t.kind, 'key', t.key, 'message', t.message, 'opened_at', t.opened_at,
                 'times', t.times::text) order by t.opened_at desc), '[]')
                 from (select * from hangar.alerts l where l.resolved_at is null
                        and (l.kind not in ('provision_failed', 'deprovision_failed') or l.metadata ? 'cause')
                        order by l.opened_at desc limit 20) t),
    'failures', (select count(*) from public.user_fly_apps a where a.status = 'error' and a.deleted_at is null));
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
begin
  -- One pass over the fleet; every figure of the page is a sum of these.
  select coalesce(jsonb_agg(to_jsonb(g) order by g.status, g.health), '[]') into v_groups
    from (
      select a.status, coalesce(a.health_status, 'unknown') as health, count(*) as apps,
             coalesce(sum(a.monthly_cost_estimate_usd), 0)::text as monthly_cost_estimate_usd,
             coalesce(sum(a.price_usd_per_s) filter (where a.machine_state = 'started') * 2592000, 0)::text as monthly_list_price_usd,
             count(*) filter (where a.machine_state = 'started') as running,
             count(*) filter (where a.next_attempt_at <= v_now) as due,
             count(*) filter (where a.next_attempt_at <= v_late) as overdue,
             count(*) filter (where a.status = 'error' and a.next_attempt_at is null) as stuck,
             count(*) filter (where a.drift <> '{}') as drifted,
             count(*) filter (where a.lease_expires_at > v_now) as working
        from public.user_fly_apps a
       where a.deleted_at is null
       group by 1, 2
    ) g;
  return jsonb_build_object('now', v_now, 'groups', v_groups);
end
$$;
comment on function public.fly_admin_figures() is 'Live apps by status and health: how many, running, due, overdue, stuck, leased, and what they cost. Money as text. docs/database.md.';

-- The users that a search text means: the id of a user or an app, the beginning of an e-mail address, the beginning of an app's name (with
-- or without the prefix), or a whole machine id. At most p_limit of each.
create function hangar.search_users(p_query text, p_limit integer) returns uuid[]
language plpgsql stable set search_path = ''
as $$
declare
  v_query text := lower(btrim(p_query));
  v_like text := replace(replace(replace(v_query, '\', '\\'), '%', '\%'), '_', '\_') || '%';
  v_prefix text := (select g.app_prefix || '-' from hangar.settings g);
  v_found uuid[];
  v_users uuid[] := '{}'::uuid[];
begin
  if v_query = '' then
    return '{}'::uuid[];
  end if;
  if v_query ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    select array_agg(x.id) into v_found from (
      select a.user_id as id from public.user_fly_apps a where a.user_id = v_query::uuid or a.id = v_query::uuid
      union select e.user_id from hangar.entitlements(array[v_query::uuid]) e where e.known) x;
    return coalesce(v_found, '{}'::uuid[]);
  end if;
  v_users := v_users || hangar.search_emails(v_like, p_limit);
  execute format('select array_agg(x.user_id) from ('
                 '(select a.user_id from public.user_fly_apps a where a.deleted_at is null and a.fly_app_name collate "C" like %1$L limit %3$s)'
                 ' union (select a.user_id from public.user_fly_apps a where a.deleted_at is null and a.fly_app_name collate "C" like %2$L limit %3$s)'
                 ' union (select a.user_id from public.user_fly_apps a where a.fly_app_name = %4$L)) x',
                 v_like, v_prefix || v_like, p_limit, v_query) into v_found;
  v_users := v_users || coalesce(v_found, '{}');
  if v_query ~ '^[0-9a-f]{14}$' then
    select array_agg(a.user_id) into v_found from public.user_fly_apps a where a.machine_id = v_query;
    v_users := v_users || coalesce(v_found, '{}');
  end if;
  return v_users;
end
$$;
comment on function hangar.search_users(text, integer) is 'The users a search of the dashboard means.';

create function public.fly_admin_fleet(
  p_filter jsonb default '{}', p_sort text default 'created', p_descending boolean default true, p_after jsonb default null,
  p_limit integer default 50
) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_most constant integer := 1000;
  v_column text;
  v_type text;
  v_where text := 'a.deleted_at is null';
  v_users uuid[];
  v_rows jsonb;
  v_next jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  perform hangar.check_keys('p_filter', p_filter, array['status', 'health', 'region', 'tier', 'work', 'q']);
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
  v_where := v_where
    || coalesce(' and a.status = ' || quote_literal(p_filter ->> 'status'), '')
    || case p_filter ->> 'health'
         when 'healthy' then ' and a.health_status = ''healthy'''
         when 'unhealthy' then ' and a.health_status is distinct from ''healthy'' and a.health_status = ''unhealthy'''
         when 'unknown' then ' and a.health_status is distinct from ''healthy'' and coalesce(a.health_status, ''unknown'') = ''unknown'''
         else '' end
    || coalesce(' and coalesce(a.machine_region, a.region) = ' || quote_literal(p_filter ->> 'region'), '')
    || coalesce(' and a.tier = ' || quote_literal(p_filter ->> 'tier'), '')
    || case p_filter ->> 'work'
         when 'due' then format(' and a.next_attempt_at <= %L', v_now)
         when 'overdue' then format(' and a.next_attempt_at <= %L', v_now - interval '5 minutes')
         when 'stuck' then ' and a.status = ''error'' and a.next_attempt_at is null'
         when 'retrying' then ' and a.status = ''error'' and a.next_attempt_at is not null'
         when 'drift' then ' and a.drift <> ''{}'''
         when 'override' then ' and exists (select 1 from public.fly_overrides o where o.user_id = a.user_id)'
         else '' end;
  if btrim(coalesce(p_filter ->> 'q', '')) <> '' then
    v_users := hangar.search_users(p_filter ->> 'q', v_most);
    v_where := v_where || format(' and a.user_id = any (%L)', v_users);
  end if;
  if p_after is not null then
    v_where := v_where || format(' and (%s, a.id) %s (%L::%s, %L::uuid)', v_column, case when p_descending then '<' else '>' end,
                                 p_after ->> 0, v_type, p_after ->> 1);
  end if;
  -- E-mail addresses are looked up only for the rows of the page.
  execute format($q$
    with picked as (
      select a.id, %1$s as sort_value from public.user_fly_apps a where %3$s order by %1$s %2$s, a.id %2$s limit %4$s
    ), page as (
      select a.*, k.sort_value::text, row_number() over (order by k.sort_value %2$s, k.id %2$s) as place
        from picked k join public.user_fly_apps a on a.id = k.id
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
             'lease_holder', case when p.lease_expires_at > %5$L then p.lease_holder end) order by p.place), '[]'),
           (select jsonb_build_array(l.sort_value, l.id) from page l
             where l.place = %6$s and exists (select 1 from page m where m.place > %6$s))
      from page p
      left join lateral (select hangar.user_email(p.user_id) as email) u on true
      left join public.fly_overrides o on o.user_id = p.user_id and (o.ends_at is null or o.ends_at > %5$L)
     where p.place <= %6$s
    $q$, v_column, case when p_descending then 'desc' else 'asc' end, v_where, p_limit + 1, v_now, p_limit)
    into v_rows, v_next;
  return jsonb_build_object('now', v_now, 'rows', v_rows,
    -- Null on the last page: there is a cursor only if a further row is known to exist.
    'next', v_next,
    'search_cut', coalesce(cardinality(v_users) >= v_most, false));
end
$$;
comment on function public.fly_admin_fleet(jsonb, text, boolean, jsonb, integer) is 'One keyset page of live apps, filtered, searched and sorted. docs/database.md.';

create function public.fly_admin_search(p_query text, p_limit integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_users uuid[];
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  v_users := hangar.search_users(p_query, p_limit + 1);
  return jsonb_build_object(
    'users', (select coalesce(jsonb_agg(jsonb_build_object('user_id', x.id, 'email', x.email, 'tier', e.tier, 'subscription', e.subscription_status,
                       'override', o.override, 'fly_app_name', a.fly_app_name, 'status', a.status,
                       'health_status', case when a.id is not null then coalesce(a.health_status, 'unknown') end) order by x.email, x.id), '[]')
                from (select i.id, u.email from (select distinct y as id from unnest(v_users) y) i
                        left join hangar.emails(v_users) u on u.user_id = i.id order by u.email, i.id limit p_limit) x
                left join hangar.entitlements(v_users) e on e.user_id = x.id
                left join public.fly_overrides o on o.user_id = x.id and (o.ends_at is null or o.ends_at > hangar.now())
                left join public.user_fly_apps a on a.user_id = x.id and a.deleted_at is null),
    'more', (select count(distinct y) > p_limit from unnest(v_users) y));
end
$$;
comment on function public.fly_admin_search(text, integer) is 'Users, with or without an app, by id, beginning of e-mail address, beginning of app name, or machine id. docs/database.md.';

select hangar.restrict_functions();
