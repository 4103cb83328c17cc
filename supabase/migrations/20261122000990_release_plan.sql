-- What makes a release: what it may change and whom, which others it would touch, its apps in order, and what it would cost.
-- Builds on: release_waves, access (the actor).

create function hangar.release_keys() returns text[]
language sql immutable set search_path = ''
as $$
  select array['kind', 'region', 'image', 'image_digest', 'cpu_kind', 'cpu_count', 'memory_mb', 'env', 'version', 'tiers', 'regions', 'users', 'share',
    'canary_users', 'canary_size', 'wave_shares', 'soak_s', 'deadline_s', 'max_moving', 'moving_share', 'failure_share']
$$;

-- Why an app of this release, or a plan that follows it when it is complete, cannot have the size; null if all can.
create function hangar.explain_refused_sizes(p_release hangar.releases) returns text
language sql stable set search_path = ''
as $$
  select x.refused from (
    select hangar.explain_refused_size(coalesce(p_release.cpu_kind, a.cpu_kind), coalesce(p_release.cpu_count, a.cpu_count),
                                       coalesce(p_release.memory_mb, a.memory_mb)) as refused
      from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = 'present'
       and (p_release.tiers is null or a.tier = any (p_release.tiers)) and (p_release.users is null or a.user_id = any (p_release.users))
    union all
    select format('the plan %s cannot follow this release: %s. Choose the tiers without it, or change that plan first', p.tier,
             hangar.explain_refused_size(coalesce(p_release.cpu_kind, p.cpu_kind), coalesce(p_release.cpu_count, p.cpu_count),
                                         coalesce(p_release.memory_mb, p.memory_mb)))
      from public.fly_plans p
     where hangar.changes_plans(p_release) and p.dedicated and (p_release.tiers is null or p.tier = any (p_release.tiers))
       and hangar.explain_refused_size(coalesce(p_release.cpu_kind, p.cpu_kind), coalesce(p_release.cpu_count, p.cpu_count),
                                       coalesce(p_release.memory_mb, p.memory_mb)) is not null) x
   where x.refused is not null and p_release.kind = 'machine'
     and (p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null)
   limit 1
$$;

-- Why this release cannot be made, as a sentence that names value and choices; null if it can.
create function hangar.explain_refused_release(p_release hangar.releases) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_unknown text;
  v_refused text;
begin
  if p_release.kind = 'machine' and p_release.image is null and p_release.cpu_kind is null and p_release.cpu_count is null
     and p_release.memory_mb is null and p_release.env = '{}' and p_release.region is null then
    return 'a release changes at least one of image, region, cpu_kind, cpu_count, memory_mb and env';
  elsif p_release.kind = 'plan' and (p_release.image is not null or p_release.cpu_kind is not null or p_release.cpu_count is not null
     or p_release.memory_mb is not null or p_release.env <> '{}' or p_release.region is not null) then
    return 'a release of kind plan gives each app what its plan says; it has no image, region, size or env of its own';
  elsif p_release.region is not null and (p_release.region = '' or hangar.explain_refused_region(p_release.region) is not null) then
    return coalesce(hangar.explain_refused_region(p_release.region), 'region is empty: use one or several regions, separated by commas');
  end if;
  v_refused := case when p_release.image is not null then hangar.explain_refused_setting('default_image', to_jsonb(p_release.image)) end;
  if v_refused is not null then
    return replace(v_refused, 'default_image', 'image');
  elsif p_release.image ~ '@' and p_release.image !~ '@sha256:[a-f0-9]{64}$' then
    -- Where no registry is asked, nobody else would notice before the canary.
    return format('the digest of an image is sha256: and 64 hexadecimal digits in lower case, not %s', to_jsonb(left(substring(p_release.image from '@(.*)'), 80)));
  end if;
  v_refused := hangar.explain_refused_env(p_release.env);
  if v_refused is not null then
    return v_refused;
  elsif p_release.version !~ '^[^[:cntrl:][:space:]]([^[:cntrl:]]{0,198}[^[:cntrl:][:space:]])?$' then
    return format('version must have 1 to 200 characters on one line, without space around them, not %s', to_jsonb(left(p_release.version, 80)));
  end if;
  select string_agg(t, ', ') into v_unknown from unnest(p_release.tiers) t where not exists (select 1 from public.fly_plans p where p.tier = t and p.dedicated);
  if v_unknown is not null or p_release.tiers = '{}' then
    return format('tiers must be dedicated plans (%s), not %s', coalesce((select string_agg(p.tier, ', ' order by p.tier) from public.fly_plans p
      where p.dedicated), 'there are none'), coalesce(v_unknown, 'an empty list'));
  end if;
  select string_agg(r, ', ') into v_unknown from unnest(p_release.regions) r where hangar.explain_refused_region(r) is not null;
  if v_unknown is not null or p_release.regions = '{}' then
    return format('regions must be regions of Fly (%s), not %s', array_to_string(hangar.region_words(), ', '), coalesce(v_unknown, 'an empty list'));
  end if;
  select string_agg(u::text, ', ') into v_unknown
    from (select u from unnest(coalesce(p_release.users, '{}') || coalesce(p_release.canary_users, '{}')) u
           where not exists (select 1 from public.user_fly_apps a where a.user_id = u and a.deleted_at is null and a.desired_state = 'present')
           limit 3) x;
  if v_unknown is not null then
    return format('these users have no app that is wanted: %s', v_unknown);
  elsif p_release.users = '{}' or p_release.canary_users = '{}' then
    return 'users and canary_users must name at least one user, or be left out';
  elsif cardinality(p_release.canary_users) > 50 then
    return format('canary_users must be at most 50 users, not %s', cardinality(p_release.canary_users));
  end if;
  if cardinality(p_release.wave_shares) not between 1 and 20 or array_position(p_release.wave_shares, null) is not null
     or p_release.wave_shares[cardinality(p_release.wave_shares)] <> 1
     or exists (select 1 from unnest(p_release.wave_shares) with ordinality w (share, nr)
                 where w.share <= 0 or w.share > 1 or w.share <= coalesce(p_release.wave_shares[w.nr - 1], 0)) then
    return format('wave_shares must grow from above 0 to 1, like 0.05, 0.25, 1; not %s', array_to_string(p_release.wave_shares, ', ', 'null'));
  end if;
  return hangar.explain_refused_sizes(p_release);
end
$$;

-- The release that these changes describe, checked. Raises 22023 with the reason.
create function hangar.read_release(p_spec jsonb, p_actor text, p_why text) returns hangar.releases
language plpgsql stable set search_path = ''
as $$
declare
  v_release hangar.releases;
  v_bounds record;
  v_refused text;
begin
  perform hangar.require_actor(p_actor);
  perform hangar.check_keys('release', p_spec, hangar.release_keys());
  for v_bounds in
    select b.* from (values ('share', 0.000001, 1::numeric, false), ('canary_size', 1, 50, true), ('soak_s', 0, 86400, false),
      ('deadline_s', 30, 86400, false), ('max_moving', 1, 500, true), ('moving_share', 0.000001, 1, false), ('failure_share', 0, 1, false),
      ('cpu_count', 1, 64, true), ('memory_mb', 256, 524288, true)) b (name, lowest, highest, whole)
     where p_spec ? b.name and p_spec -> b.name <> 'null'
  loop
    if jsonb_typeof(p_spec -> v_bounds.name) <> 'number' or (p_spec ->> v_bounds.name)::numeric not between v_bounds.lowest and v_bounds.highest
       or v_bounds.whole and (p_spec ->> v_bounds.name)::numeric <> trunc((p_spec ->> v_bounds.name)::numeric) then
      raise exception '% must be a % from % to %, not %', v_bounds.name, case when v_bounds.whole then 'whole number' else 'number' end,
        trim_scale(v_bounds.lowest::numeric), v_bounds.highest, left(p_spec ->> v_bounds.name, 40) using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  if p_spec ? 'kind' and p_spec ->> 'kind' is distinct from 'machine' and p_spec ->> 'kind' is distinct from 'plan' then
    raise exception 'kind must be machine or plan, not %', coalesce(p_spec ->> 'kind', 'null') using errcode = 'invalid_parameter_value';
  elsif p_spec ? 'region' and jsonb_typeof(p_spec -> 'region') not in ('string', 'null') then
    raise exception 'region must be a list of regions as text, like sin,nrt' using errcode = 'invalid_parameter_value';
  elsif p_spec ->> 'cpu_kind' not in ('shared', 'performance') then
    raise exception 'cpu_kind must be shared or performance, not %', p_spec ->> 'cpu_kind' using errcode = 'invalid_parameter_value';
  end if;
  begin
    v_release := jsonb_populate_record(null::hangar.releases, '{"kind": "machine", "env": {}, "share": 1, "canary_size": 1,
      "wave_shares": [0.05, 0.25, 1], "soak_s": 60, "deadline_s": 600, "max_moving": 50, "moving_share": 0.1, "failure_share": 0.02}'
      || jsonb_strip_nulls(p_spec));
  exception when data_exception then
    raise exception 'the release cannot be read: %', sqlerrm using errcode = 'invalid_parameter_value';
  end;
  v_release.region := hangar.normalise_region(v_release.region);
  v_release.created_by := p_actor;
  v_release.why := p_why;
  v_release.state := 'draft';
  v_release.wave := 0;
  v_release.adopted := false;
  v_refused := hangar.explain_refused_release(v_release);
  if v_refused is not null then
    raise exception '%', v_refused using errcode = 'invalid_parameter_value';
  end if;
  return v_release;
end
$$;

-- A release that is under way and moves apps of this one, by its number; null if there is none. p_found: the apps of this release.
create function hangar.find_overlap(p_release hangar.releases, p_found hangar.found_target[]) returns integer
language sql stable set search_path = ''
as $$
  select pg_catalog.min(t.release_id)
    from hangar.releases r
    join hangar.release_targets t on t.release_id = r.id
    join pg_catalog.unnest(p_found) f on f.row_id = t.row_id
   where r.state in ('rolling', 'paused', 'rolling_back') and r.id is distinct from p_release.id and (f.left_out is null or f.left_out = 'other_release')
$$;

create function hangar.refuse_other_release(p_other integer) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if exists (select 1 from hangar.releases r where r.id = p_other and r.state = 'rolling_back') then
    raise exception 'release % puts some of the same apps back: wait until it has ended (`hangar release status %`)', p_other, p_other using errcode = 'PT409';
  end if;
  raise exception 'release % is under way and concerns some of the same apps: wait until it has ended, or end it with `hangar release abort %`',
    p_other, p_other using errcode = 'PT409';
end
$$;

create function hangar.refuse_overlap(p_release hangar.releases, p_found hangar.found_target[]) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_other integer := hangar.find_overlap(p_release, p_found);
begin
  if v_other is not null then
    perform hangar.refuse_other_release(v_other);
  end if;
end
$$;

-- Why a release with these apps would move nobody, as a sentence; null if it moves somebody.
create function hangar.explain_nothing_to_do(p_found hangar.found_target[]) returns text
language sql immutable set search_path = ''
as $$
  select case when not exists (select 1 from pg_catalog.unnest(p_found) f where f.left_out is null)
    then coalesce((select pg_catalog.string_agg(pg_catalog.format('%s are left out (%s)', x.n, x.left_out), ', ' order by x.left_out)
                     from (select f.left_out, count(*) as n from pg_catalog.unnest(p_found) f group by f.left_out) x), 'the selection is empty') end
$$;

create function hangar.insert_targets(p_release hangar.releases, p_found hangar.found_target[]) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  delete from hangar.release_targets t where t.release_id = p_release.id;
  insert into hangar.release_targets (release_id, row_id, user_id, wave, place, was_unhealthy, state, reason_code)
  select p_release.id, f.row_id, f.user_id, coalesce(f.wave, 0), coalesce(f.place, 0), f.was_unhealthy,
         case when f.left_out is null then 'pending' else 'skipped' end, f.left_out
    from unnest(p_found) f;
end
$$;

-- What the apps of the release cost a month now and afterwards, as estimates.
create function hangar.release_cost(p_release hangar.releases, p_found hangar.found_target[], out before_usd numeric, out after_usd numeric)
language sql stable set search_path = ''
as $$
  select coalesce(sum(a.monthly_cost_estimate_usd), 0),
         coalesce(sum(hangar.monthly_cost_estimate_usd((s.spec).cpu_count, (s.spec).memory_mb)), 0)
    from unnest(p_found) f
    join public.user_fly_apps a on a.id = f.row_id
    cross join lateral hangar.release_spec(p_release, a) s
   where f.left_out is null
$$;

-- Why the operator's cap on cost would stop this release on its way, as a sentence; null if it would not.
create function hangar.explain_refused_cost(p_release hangar.releases, p_found hangar.found_target[]) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_cap numeric := (select g.max_monthly_cost_usd from hangar.settings g);
  v_cost record;
  v_total numeric;
begin
  select c.* into v_cost from hangar.release_cost(p_release, p_found) c;
  v_total := (select c.cost_usd from hangar.count_apps() c) + v_cost.after_usd - v_cost.before_usd;
  return case when v_cost.after_usd > v_cost.before_usd and v_total > v_cap
              then format('the apps would be estimated at %s USD a month, and max_monthly_cost_usd is %s: choose fewer apps or a smaller size, or raise the cap',
                          v_total, v_cap) end;
end
$$;

-- The apps of the release by region and size, before and after: what a list price needs.
create function hangar.region_moves(p_release hangar.releases, p_found hangar.found_target[]) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(m) order by m.apps desc, m.region, m.to_region), '[]')
    from (select coalesce(a.machine_region, a.region) as region,
                 case when hangar.needs_move(a, (s.spec).region) then (s.spec).region else coalesce(a.machine_region, a.region) end as to_region,
                 a.cpu_kind, a.cpu_count, a.memory_mb, (s.spec).cpu_kind as to_cpu_kind, (s.spec).cpu_count as to_cpu_count,
                 (s.spec).memory_mb as to_memory_mb, count(*) as apps
            from pg_catalog.unnest(p_found) f
            join public.user_fly_apps a on a.id = f.row_id
            cross join lateral hangar.release_spec(p_release, a) s
           where f.left_out is null
           group by 1, 2, 3, 4, 5, 6, 7, 8) m
$$;

select hangar.restrict_functions();
