-- How the dashboard searches: the users that a text means. Read only.
-- Builds on: settings, host_tables, entitlement, host_readers.

-- The index with which a search finds a part of an app's name or of a machine id. It needs pg_trgm, in whichever schema that is; without
-- it the same search reads all live apps, which is slower and finds the same. Returns what there is now. Safe to repeat.
create function hangar.add_search_index() returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_schema text := (select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm');
begin
  if v_schema is null and to_regnamespace('extensions') is not null
     and exists (select 1 from pg_catalog.pg_available_extensions x where x.name = 'pg_trgm') then
    begin
      create extension pg_trgm schema extensions;
      update hangar.host_state set enabled_extensions = enabled_extensions || 'pg_trgm'::text where only_row;
      v_schema := 'extensions';
    exception when insufficient_privilege or feature_not_supported or undefined_file then
      return format('searched without an index, because pg_trgm cannot be created: %s', sqlerrm);
    end;
  end if;
  if v_schema is null then
    return 'searched without an index, because pg_trgm is not installed';
  end if;
  execute format('create index if not exists user_fly_apps_search on public.user_fly_apps using gin (fly_app_name %1$I.gin_trgm_ops, '
                 'machine_id %1$I.gin_trgm_ops) where deleted_at is null', v_schema);
  return 'searched with an index';
end
$$;
comment on function hangar.add_search_index() is 'Creates the index of the dashboard''s search if pg_trgm can be had. Run it again after pg_trgm was enabled.';
select hangar.add_search_index();

create function hangar.check_choice(p_name text, p_value text, p_choices text[]) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_value <> all (p_choices) then
    raise exception '% must be one of %, not %', p_name, array_to_string(p_choices, ', '), quote_literal(left(p_value, 100))
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- The text as a LIKE pattern that means itself.
create function hangar.escape_like(p_text text) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return replace(replace(replace(p_text, '\', '\\'), '%', '\%'), '_', '\_');
end
$$;

-- The users that a search text means: the id of a user or an app, or any part of an e-mail address, of a live app's name or of its machine
-- id, ignoring case. Apps that are gone are found by their whole name or machine id. At most p_limit of each.
create function hangar.search_users(p_query text, p_limit integer) returns uuid[]
language plpgsql stable set search_path = ''
as $$
declare
  v_query text := lower(btrim(p_query));
  v_part text := '%' || hangar.escape_like(v_query) || '%';
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
  -- The whole address first: it must not be missing when more addresses contain it than p_limit.
  if position('@' in v_query) > 0 then
    v_users := hangar.search_emails(hangar.escape_like(v_query), p_limit);
  end if;
  v_users := v_users || hangar.search_emails(v_part, p_limit);
  -- The pattern is a literal in the statement, so that the planner sees how many apps it fits.
  execute format('select array_agg(x.user_id) from ('
                 '(select a.user_id from public.user_fly_apps a where a.fly_app_name = %2$L)'
                 ' union (select a.user_id from public.user_fly_apps a where a.machine_id = %2$L and %2$L ~ ''^[0-9a-f]{14}$'')'
                 ' union (select a.user_id from public.user_fly_apps a where a.deleted_at is null'
                 '         and (a.fly_app_name like %1$L or a.machine_id like %1$L) limit %3$s)) x',
                 v_part, v_query, p_limit) into v_found;
  return (select coalesce(array_agg(distinct y), '{}') from unnest(v_users || coalesce(v_found, '{}')) y);
end
$$;
comment on function hangar.search_users(text, integer) is 'The users a search of the dashboard means.';

create function public.fly_admin_search(p_query text, p_limit integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_users uuid[];
  v_query text := lower(btrim(p_query));
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  v_users := hangar.search_users(p_query, p_limit + 1);
  return jsonb_build_object(
    'users', (select coalesce(jsonb_agg(jsonb_build_object('user_id', x.id, 'email', x.email, 'tier', e.tier, 'subscription', e.subscription_status,
                       'override', o.override, 'fly_app_name', a.fly_app_name, 'status', a.status,
                       'health_status', case when a.id is not null then coalesce(a.health_status, 'unknown') end) order by x.rank, x.email, x.id), '[]')
                -- The address that was typed comes first, then those that begin with it.
                from (select i as id, u.email, case when lower(u.email) = v_query then 0 when starts_with(lower(u.email), v_query) then 1 else 2 end as rank
                        from unnest(v_users) i
                        left join hangar.emails(v_users) u on u.user_id = i order by rank, u.email, i limit p_limit) x
                left join hangar.entitlements(v_users) e on e.user_id = x.id
                left join public.fly_overrides o on o.user_id = x.id and (o.ends_at is null or o.ends_at > hangar.now())
                left join public.user_fly_apps a on a.user_id = x.id and a.deleted_at is null),
    'more', cardinality(v_users) > p_limit);
end
$$;
comment on function public.fly_admin_search(text, integer) is 'Users, with or without an app, by id, or by any part of e-mail address, app name or machine id. docs/database.md.';

select hangar.restrict_functions();
