-- What the dashboard shows about releases: the list, one release with its waves, reasons and apps, and the line on a user's page. Read only.
-- Builds on: release_operator, user_pins.

-- Where an app stands in its release. Each app is in exactly one part; an app that has failed and is on its way back is going_back.
create function hangar.target_part(p_target hangar.release_targets) returns text
language sql immutable set search_path = ''
as $$
  select case when p_target.state = 'skipped' and p_target.place = 0 then 'left_out'
              when p_target.state = 'failed' then 'failed'
              when p_target.goes_back or p_target.must_go_back then 'going_back'
              when p_target.state in ('applying', 'verifying') then 'moving'
              else p_target.state end
$$;

create type hangar.release_part as (row_id uuid, user_id uuid, wave integer, place integer, part text, code text, reason text);

-- The apps of a release by part. A draft is planned with the fleet of this moment, as its start will plan it.
create function hangar.release_parts(p_release hangar.releases) returns setof hangar.release_part
language plpgsql stable set search_path = ''
as $$
begin
  if p_release.state = 'draft' then
    return query
    select f.row_id, f.user_id, f.wave, f.place, case when f.left_out is null then 'pending' else 'left_out' end, f.left_out, null::text
      from hangar.find_targets(p_release) f;
  else
    return query
    select t.row_id, t.user_id, case when t.place > 0 then t.wave end, nullif(t.place, 0), hangar.target_part(t), coalesce(t.reason_code, w.code),
           coalesce(t.reason, case when t.reason_code is null then w.reason end)
      from hangar.release_targets u cross join lateral hangar.see_target(u) t join public.user_fly_apps a on a.id = u.row_id
      cross join lateral hangar.find_wait(p_release, t, a) w
     where u.release_id = p_release.id;
  end if;
end
$$;

-- The waves of a release with the number of apps in each part, as recorded.
create function hangar.recorded_waves(p_id integer) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('wave', w.wave, 'size', w.size, 'parts', w.parts) order by w.wave), '[]')
    from (select c.wave, sum(c.apps)::integer as size, pg_catalog.jsonb_object_agg(c.part, c.apps) as parts
            from (select t.wave, hangar.target_part(t) as part, pg_catalog.count(*)::integer as apps
                    from hangar.release_targets u cross join lateral hangar.see_target(u) t
                   where u.release_id = p_id and u.place > 0 group by 1, 2) c
           group by c.wave) w
$$;

-- What a release has done with one app: of the release that is under way, else of the latest one.
create function hangar.row_release_json(p_row uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('id', r.id, 'state', r.state, 'wave', case when t.place > 0 then t.wave end, 'target', t.state,
      'part', hangar.target_part(t), 'code', t.reason_code, 'reason', t.reason)
    from hangar.release_targets u cross join lateral hangar.see_target(u) t join hangar.releases r on r.id = u.release_id
   where u.row_id = p_row and r.state <> 'draft'
   order by r.state in ('rolling', 'paused', 'rolling_back') desc, r.id desc limit 1
$$;

create function public.fly_admin_releases(p_before integer default null, p_limit integer default 20) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_rows jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  select coalesce(jsonb_agg(hangar.release_json(r) - 'targets' || jsonb_build_object('waves', hangar.recorded_waves(r.id)) order by r.id desc), '[]')
    into v_rows
    from (select x.* from hangar.releases x where p_before is null or x.id < p_before order by x.id desc limit p_limit + 1) r;
  return jsonb_build_object('now', hangar.now(),
    'releases', case when jsonb_array_length(v_rows) > p_limit then v_rows - p_limit else v_rows end,
    'next', case when jsonb_array_length(v_rows) > p_limit then v_rows -> (p_limit - 1) -> 'id' end,
    'differ', hangar.count_differing());
end
$$;
comment on function public.fly_admin_releases(integer, integer) is 'One page of releases, the latest first, with their waves by part, and how many apps differ from their plan. docs/database.md.';

-- One page of the apps of a release, in its order, with what each runs and should run. `p_limit` + 1 rows.
create function hangar.release_apps(
  p_release hangar.releases, p_parts hangar.release_part[], p_filter jsonb, p_after jsonb, p_limit integer
) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('row_id', c.row_id, 'user_id', c.user_id, 'email', hangar.user_email(c.user_id),
      'app', a.fly_app_name, 'is_deleted', a.deleted_at is not null, 'wave', c.wave, 'part', c.part, 'state', t.state, 'code', c.code,
      'reason', c.reason, 'rank', c.rank::text,
      'runs', case when a.observed_spec is not null then pg_catalog.jsonb_build_object('image', a.observed_spec ->> 'image', 'digest', nullif(a.observed_spec ->> 'image_digest', ''),
        'cpu_kind', a.observed_spec ->> 'cpu_kind', 'cpu_count', a.observed_spec -> 'cpu_count', 'memory_mb', a.observed_spec -> 'memory_mb') end,
      'should_run', pg_catalog.jsonb_build_object('image', (w.spec).docker_image, 'cpu_kind', (w.spec).cpu_kind, 'cpu_count', (w.spec).cpu_count,
        'memory_mb', (w.spec).memory_mb)) order by c.rank, c.row_id), '[]')
    from (select p.*, coalesce(p.place, 2147483647) as rank
            from pg_catalog.unnest(p_parts) p
           where (p_filter ->> 'part' is null or p.part = p_filter ->> 'part')
             and (p_filter ->> 'wave' is null or p.wave::text = p_filter ->> 'wave')
             and (p_filter ->> 'code' is null or p.code = p_filter ->> 'code')
             and (p_after is null or (coalesce(p.place, 2147483647), p.row_id) > ((p_after ->> 0)::integer, (p_after ->> 1)::uuid))
           order by rank, p.row_id limit p_limit + 1) c
    join public.user_fly_apps a on a.id = c.row_id
    left join hangar.release_targets t on t.release_id = p_release.id and t.row_id = c.row_id
    cross join lateral (select case when p_release.state = 'draft' and c.part = 'pending' then (select s.spec from hangar.release_spec(p_release, a) s)
                                    else hangar.spec_of(a) end as spec) w
$$;

-- The apps of a release counted by wave and part, and by reason with one example each.
create function hangar.count_release(p_parts hangar.release_part[]) returns jsonb
language sql stable set search_path = ''
as $$
  with parts as materialized (
    select p.* from pg_catalog.unnest(p_parts) p
  ), waves as (
    select c.wave, sum(c.apps)::integer as size, pg_catalog.jsonb_object_agg(c.part, c.apps) as parts
      from (select p.wave, p.part, pg_catalog.count(*)::integer as apps from parts p where p.wave is not null group by 1, 2) c group by c.wave
  ), reasons as (
    select p.part, p.code, pg_catalog.count(*)::integer as apps, (pg_catalog.array_agg(p.row_id order by p.place, p.row_id))[1] as row_id,
           (pg_catalog.array_agg(p.reason order by p.place, p.row_id))[1] as reason
      from parts p where p.code is not null group by p.part, p.code
     order by pg_catalog.count(*) desc, p.part, p.code limit 50
  )
  select pg_catalog.jsonb_build_object(
    'waves', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('wave', w.wave, 'size', w.size, 'parts', w.parts) order by w.wave), '[]') from waves w),
    'parts', (select coalesce(pg_catalog.jsonb_object_agg(c.part, c.apps), '{}')
                from (select p.part, pg_catalog.count(*)::integer as apps from parts p group by p.part) c),
    'reasons', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('part', r.part, 'code', r.code, 'apps', r.apps, 'reason', r.reason,
                          'example', a.fly_app_name, 'user_id', a.user_id) order by r.apps desc, r.part, r.code), '[]')
                  from reasons r join public.user_fly_apps a on a.id = r.row_id))
$$;

create function public.fly_admin_release(p_id integer, p_filter jsonb default '{}', p_after jsonb default null, p_limit integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_release hangar.releases;
  v_parts hangar.release_part[];  -- read once, because the plan of a draft concerns the whole fleet
  v_found hangar.found_target[];
  v_apps jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 200);
  perform hangar.check_keys('p_filter', p_filter, array['part', 'wave', 'code']);
  select r.* into v_release from hangar.releases r where r.id = p_id;
  if v_release.id is null then
    return jsonb_build_object('now', hangar.now(), 'known', false);
  end if;
  select array_agg(p) into v_parts from hangar.release_parts(v_release) p;
  if v_release.state = 'draft' then
    v_found := array(select f from hangar.find_targets(v_release) f);
  end if;
  v_apps := hangar.release_apps(v_release, v_parts, p_filter, p_after, p_limit);
  return (hangar.release_json(v_release) - 'targets') || hangar.count_release(v_parts) || jsonb_build_object('now', hangar.now(), 'known', true,
    'apps', case when jsonb_array_length(v_apps) > p_limit then v_apps - p_limit else v_apps end,
    'next', case when jsonb_array_length(v_apps) > p_limit then jsonb_build_array(v_apps -> (p_limit - 1) ->> 'rank', v_apps -> (p_limit - 1) ->> 'row_id') end,
    -- Only a draft has a plan to decide about.
    'plan', case when v_release.state = 'draft' then (
      select jsonb_build_object('before_usd', c.before_usd::text, 'after_usd', c.after_usd::text, 'overlap',
          case when exists (select 1 from hangar.releases r where r.state in ('rolling', 'paused', 'rolling_back')) then hangar.find_overlap(v_release, v_found) end)
        from hangar.release_cost(v_release, v_found) c) end,
    'log', (select coalesce(jsonb_agg(to_jsonb(e) || '{"email": null, "fly_app_name": null}' order by e.created_at desc, e.seq desc), '[]')
              from (select x.* from public.user_fly_app_events x
                     where x.event_type = 'release_changed' and x.metadata ->> 'release' = p_id::text
                     order by x.created_at desc, x.seq desc limit 20) e));
end
$$;
comment on function public.fly_admin_release(integer, jsonb, jsonb, integer) is 'One release with its waves by part, its reasons, its latest events and a keyset page of its apps; a draft with its plan. docs/database.md.';

select hangar.restrict_functions();
