-- What the dashboard shows about one user, and the audit log. Read only.
-- Builds on: reports, dashboard_releases.

create index user_fly_app_events_type on public.user_fly_app_events (event_type, created_at desc);
create index user_fly_app_events_trouble on public.user_fly_app_events (status, created_at desc) where status in ('failed', 'unknown');

create function public.fly_admin_user(p_user uuid, p_days integer default 30) returns jsonb
language plpgsql volatile security definer set search_path = '' set timezone = 'UTC'
as $$
declare
  v_now timestamptz := hangar.now();
  v_from timestamptz := date_trunc('day', v_now, 'UTC') - make_interval(days => p_days - 1);
  v_status jsonb;
  v_row uuid;
begin
  perform hangar.check_limit('p_days', p_days, 90);
  v_status := public.fly_user_status(p_user) - 'events';
  v_row := coalesce(v_status -> 'row' ->> 'id', v_status -> 'last' ->> 'id')::uuid;
  return v_status || jsonb_build_object(
    'now', v_now,
    'email', hangar.user_email(p_user),
    'settings', hangar.settings_json(),
    'plans', (select coalesce(jsonb_agg(p.tier order by p.cpu_kind desc, p.cpu_count, p.memory_mb, p.price_usd, p.tier), '[]')
                from public.fly_plans p where p.dedicated),
    'lives', (select coalesce(jsonb_agg(jsonb_build_object('fly_app_name', l.fly_app_name, 'created_at', l.created_at,
                       'deleted_at', l.deleted_at) order by l.created_at desc, l.name_seq desc), '[]')
                from (select * from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is not null
                       order by a.created_at desc, a.name_seq desc limit 20) l),
    'cost', (select jsonb_build_object(
               'to_date_usd', coalesce(sum(c.seconds * c.price_usd_per_s), 0)::text,
               'running_seconds', coalesce(sum(c.seconds), 0)::text,
               'unpriced_seconds', coalesce(sum(c.seconds) filter (where c.price_usd_per_s is null), 0)::text,
               'since', min(c.started_at))
               from (select i.price_usd_per_s, i.started_at, extract(epoch from coalesce(i.ended_at, v_now) - i.started_at) as seconds
                       from public.fly_cost_intervals i where i.user_id = p_user and i.started_at < v_now) c),
    'days', (select coalesce(jsonb_agg(jsonb_build_object('day', (d.at at time zone 'UTC')::date, 'usd', coalesce(s.usd, 0)::text,
                      'running_seconds', coalesce(s.seconds, 0)::text) order by d.at), '[]')
               from generate_series(v_from, v_now, interval '1 day') d (at)
               left join lateral (
                 select sum(x.seconds) as seconds, sum(x.seconds * x.price_usd_per_s) as usd
                   from (select i.price_usd_per_s, extract(epoch from least(coalesce(i.ended_at, v_now), d.at + interval '1 day', v_now)
                                                              - greatest(i.started_at, d.at)) as seconds
                           from public.fly_cost_intervals i
                          where i.user_id = p_user and i.started_at < d.at + interval '1 day' and coalesce(i.ended_at, v_now) > d.at) x
               ) s on true),
    -- The changes of health, oldest first; `from` of the first is the health before it.
    'health', (select coalesce(jsonb_agg(jsonb_build_object('at', h.created_at, 'from', h.metadata ->> 'from', 'to', h.metadata ->> 'to',
                        'reason', h.metadata ->> 'reason') order by h.created_at, h.seq), '[]')
                 from (select * from public.user_fly_app_events e
                        where e.fly_app_id = v_row and e.created_at >= v_from
                          and e.event_type in ('health_check_passed', 'health_check_failed') and e.metadata ? 'to'
                        order by e.created_at desc, e.seq desc limit 500) h),
    'health_from', v_from,
    'release', hangar.row_release_json(v_row),
    'pin', (select hangar.pin_json(n) from hangar.user_pins n where n.user_id = p_user and (n.ends_at is null or n.ends_at > v_now)));
end
$$;
comment on function public.fly_admin_user(uuid, integer) is 'fly_user_status and what else a user''s page shows: e-mail address, cost and health by day, earlier apps, release and pin. Money as text. docs/database.md.';

create function public.fly_admin_events(p_filter jsonb default '{}', p_after jsonb default null, p_limit integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_where text := 'true';
  v_rows jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 200);
  perform hangar.check_keys('p_filter', p_filter, array['type', 'status', 'user', 'app', 'since', 'until']);
  v_where := v_where
    || coalesce(' and e.event_type = ' || quote_literal(p_filter ->> 'type'), '')
    || coalesce(' and e.status = ' || quote_literal(p_filter ->> 'status'), '')
    || coalesce(' and e.user_id = ' || quote_literal(p_filter ->> 'user') || '::uuid', '')
    || coalesce(' and e.fly_app_id = ' || quote_literal(p_filter ->> 'app') || '::uuid', '')
    || coalesce(' and e.created_at >= ' || quote_literal(p_filter ->> 'since') || '::timestamptz', '')
    || coalesce(' and e.created_at < ' || quote_literal(p_filter ->> 'until') || '::timestamptz', '');
  if p_after is not null then
    -- An index on the time can use only the first comparison.
    v_where := v_where || format(' and e.created_at <= %L::timestamptz and (e.created_at, e.seq) < (%1$L::timestamptz, %L::bigint)',
                                 p_after ->> 0, p_after ->> 1);
  end if;
  execute format($q$
    select coalesce(jsonb_agg(to_jsonb(p) || jsonb_build_object('seq', p.seq::text, 'email', u.email, 'fly_app_name', a.fly_app_name)
                              order by p.created_at desc, p.seq desc), '[]')
      from (select e.* from public.user_fly_app_events e where %s order by e.created_at desc, e.seq desc limit %s) p
      left join lateral (select hangar.user_email(p.user_id) as email) u on true
      left join public.user_fly_apps a on a.id = p.fly_app_id
    $q$, v_where, p_limit + 1) into v_rows;
  return jsonb_build_object('now', hangar.now(),
    'events', case when jsonb_array_length(v_rows) > p_limit then v_rows - p_limit else v_rows end,
    'next', case when jsonb_array_length(v_rows) > p_limit
                 then jsonb_build_array(v_rows -> (p_limit - 1) ->> 'created_at', v_rows -> (p_limit - 1) ->> 'seq') end);
end
$$;
comment on function public.fly_admin_events(jsonb, jsonb, integer) is 'One keyset page of the audit log, newest first, with e-mail address and app name. docs/database.md.';

select hangar.restrict_functions();
