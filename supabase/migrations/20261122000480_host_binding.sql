-- The host binding: which table or function of the host holds the subscriptions, where its users and their e-mail addresses are, and
-- what may be bound. docs/host-binding.md.
-- Builds on: tables, audit_log, host_values.
-- The generated functions are PL/pgSQL, which depends on nothing that it names: no ALTER or DROP of the host is refused because of us.
-- A function whose table or column is gone raises when it is called; hangar.entitlements then reports that nothing is known.

create function hangar.refuse_binding(p_message text, p_hint text default null) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  raise exception '%', p_message using errcode = 'invalid_parameter_value',
    hint = coalesce(p_hint, 'Nothing was changed. docs/host-binding.md explains bindings by example.');
end
$$;

create function hangar.column_names(p_relation oid) returns text
language sql stable set search_path = ''
as $$
  select coalesce(string_agg(a.attname, ', ' order by a.attnum), 'none')
    from pg_catalog.pg_attribute a where a.attrelid = p_relation and a.attnum > 0 and not a.attisdropped
$$;

-- Null if p_column is.
create function hangar.has_column(p_relation oid, p_column text) returns boolean
language sql stable strict set search_path = ''
as $$
  select exists (select 1 from pg_catalog.pg_attribute a where a.attrelid = p_relation and a.attname = p_column and a.attnum > 0 and not a.attisdropped)
$$;

-- The type that a domain restricts, through domains over domains; every other type is its own.
create function hangar.base_type(p_type oid) returns oid
language sql stable set search_path = ''
as $$
  with recursive b (oid) as (
    select p_type union all select t.typbasetype from b join pg_catalog.pg_type t on t.oid = b.oid where t.typtype = 'd')
  select b.oid from b join pg_catalog.pg_type t on t.oid = b.oid where t.typtype <> 'd'
$$;

-- The column of a mapped value: the JSON of the binding is its name, or an object that has it as `column`. Null for a constant.
create function hangar.mapped_column(p_mapped jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case jsonb_typeof(p_mapped) when 'string' then p_mapped #>> '{}' when 'object' then p_mapped ->> 'column' end
$$;

-- The SQL expression of one bound value, over a row of the host's table called `h`. p_mapped: a column's name, {"value": …}, or
-- {"column": …, "path": […]} for a value inside a JSON column.
create function hangar.bound_expression(p_relation oid, p_key text, p_mapped jsonb) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_column text := hangar.mapped_column(p_mapped);
  v_type oid;
begin
  if jsonb_typeof(p_mapped) = 'object' and p_mapped ? 'value' and p_mapped - 'value' = '{}' and jsonb_typeof(p_mapped -> 'value') in ('string', 'number', 'null') then
    if p_key = 'user_id' then
      perform hangar.refuse_binding('user_id cannot be a constant: map it to the column that names the user');
    end if;
    return format('%L::text', p_mapped ->> 'value');
  elsif v_column is null or jsonb_typeof(p_mapped) = 'object' and p_mapped - 'column' - 'path' <> '{}' then
    perform hangar.refuse_binding(format('%s is mapped to %s, which is neither a column nor a constant', p_key, p_mapped),
      'Use "column", {"value": "active"} or {"column": "data", "path": ["plan", "name"]}.');
  end if;
  select hangar.base_type(a.atttypid) into v_type from pg_catalog.pg_attribute a
   where a.attrelid = p_relation and a.attname = v_column and a.attnum > 0 and not a.attisdropped;
  if v_type is null then
    perform hangar.refuse_binding(format('%s has no column %s for %s. Its columns: %s', p_relation::regclass, v_column, p_key,
                                         hangar.column_names(p_relation)),
      format('Map %s to a column%s.', p_key, case when p_key in ('status', 'ends_at', 'tier') then format(' or to a constant, for example {"%s": {"value": %s}}',
             p_key, case p_key when 'ends_at' then 'null' when 'status' then '"active"' else '"pro"' end)
        when p_key in ('email', 'deleted_at') then format(', or to null if there is none: {"%s": null}', p_key) else '' end));
  end if;
  if jsonb_typeof(p_mapped) = 'object' and p_mapped ? 'path' then
    if v_type not in ('json'::regtype, 'jsonb'::regtype) or jsonb_typeof(p_mapped -> 'path') <> 'array' then
      perform hangar.refuse_binding(format('%s has a path, so column %s must be json or jsonb and the path a list of keys', p_key, v_column));
    end if;
    return format('(h.%I #>> %L::text[])', v_column, (select array_agg(e) from jsonb_array_elements_text(p_mapped -> 'path') e));
  end if;
  if v_type in ('json'::regtype, 'jsonb'::regtype) then
    perform hangar.refuse_binding(format('column %s for %s is %s: say which value inside it', v_column, p_key, v_type::regtype),
      format('Use {"column": "%s", "path": ["key"]}.', v_column));
  end if;
  if p_key = 'user_id' and v_type <> 'uuid'::regtype
     and (select t.typcategory from pg_catalog.pg_type t where t.oid = v_type) <> 'S' then
    perform hangar.refuse_binding(format('column %s for user_id is %s, must be uuid or text that holds uuids', v_column, v_type::regtype));
  end if;
  return format('h.%I', v_column);
end
$$;

-- Whether this expression is a uuid column, which needs no conversion.
create function hangar.is_uuid_expression(p_relation oid, p_expression text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (select 1 from pg_catalog.pg_attribute a
                  where a.attrelid = p_relation and 'h.' || quote_ident(a.attname) = p_expression and a.atttypid = 'uuid'::regtype and not a.attisdropped)
$$;

-- The four expressions of a bound table: user_id, tier, status, ends_at. Raises what is wrong with the mapping.
create function hangar.bound_expressions(p_relation oid, p_columns jsonb, out user_id text, out tier text, out status text, out ends_at text)
language plpgsql stable set search_path = ''
as $$
declare
  v_unknown text;
  v_candidates text;
begin
  if p_columns is null or jsonb_typeof(p_columns) <> 'object' then
    perform hangar.refuse_binding('p_columns must be a JSON object, for example {"tier": "plan_name"}');
  end if;
  select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_columns) k where k not in ('user_id', 'tier', 'status', 'ends_at');
  if v_unknown is not null then
    perform hangar.refuse_binding(format('p_columns has unknown keys: %s. Known keys: user_id, tier, status, ends_at', v_unknown));
  end if;
  user_id := hangar.bound_expression(p_relation, 'user_id', coalesce(p_columns -> 'user_id', '"user_id"'));
  tier := hangar.bound_expression(p_relation, 'tier', coalesce(p_columns -> 'tier', '"tier"'));
  status := hangar.bound_expression(p_relation, 'status', coalesce(p_columns -> 'status', '"status"'));
  if p_columns ? 'ends_at' or hangar.has_column(p_relation, 'expires_at') then
    ends_at := hangar.bound_expression(p_relation, 'ends_at', coalesce(p_columns -> 'ends_at', '"expires_at"'));
    return;
  end if;
  -- No end date is right for a host without one, and cuts paid time short for a host that calls it something else.
  select string_agg(a.attname, ', ') into v_candidates from pg_catalog.pg_attribute a
   where a.attrelid = p_relation and a.attnum > 0 and not a.attisdropped and a.attname ~* '(end|expir|until|renew|period|valid)';
  if v_candidates is not null then
    perform hangar.refuse_binding(format('%s has no column expires_at, and one of its other columns may hold the end of a subscription: %s',
                                         p_relation::regclass, v_candidates),
      'Map ends_at to a column, or to {"value": null} if subscriptions have no end date.');
  end if;
  ends_at := 'null::text';
end
$$;

-- Where the host keeps its users, from p_users of the binding: {"table", "id", "email", "deleted_at"}. `email` and `deleted_at` are obeyed as
-- they were recorded when Hangar was bound (hangar.record_users): absent or null means that there is none.
create function hangar.users_table(p_users jsonb, out relation oid, out id text, out email text, out deleted_at text)
language plpgsql stable set search_path = ''
as $$
declare
  v_unknown text;
begin
  select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_users) k where k not in ('table', 'id', 'email', 'deleted_at');
  if v_unknown is not null then
    perform hangar.refuse_binding(format('p_users has unknown keys: %s. Known keys: table, id, email, deleted_at', v_unknown));
  end if;
  relation := to_regclass(coalesce(p_users ->> 'table', 'auth.users'));
  if relation is null then
    perform hangar.refuse_binding(format('the table of users, %s, does not exist', coalesce(p_users ->> 'table', 'auth.users')),
      'Name it in p_users, for example {"table": "public.\"User\"", "id": "id", "email": "email"}.');
  end if;
  id := hangar.bound_expression(relation, 'user_id', coalesce(p_users -> 'id', '"id"'));
  -- Addresses are for operators only: that their column is gone keeps no user from being read. hangar.explain_changed_users says it.
  if nullif(p_users -> 'email', 'null') is not null and (hangar.mapped_column(p_users -> 'email') is null
                                                         or hangar.has_column(relation, hangar.mapped_column(p_users -> 'email'))) then
    email := hangar.bound_expression(relation, 'email', p_users -> 'email') || '::text';
  end if;
  if nullif(p_users -> 'deleted_at', 'null') is not null then
    deleted_at := hangar.bound_expression(relation, 'deleted_at', p_users -> 'deleted_at');
    deleted_at := format('(%1$s is not null and hangar.is_deleted(%1$s))', deleted_at);
  end if;
end
$$;

-- p_users of a binding with the columns `email` and `deleted_at` as the table of users has them now, unless they are mapped. On record, because
-- a host that renames or drops deleted_at later has not become a host without deleted users, and a column that it adds may mean something else.
create function hangar.record_users(p_users jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_relation oid := (select u.relation from hangar.users_table(p_users) u);
  v_key text;
begin
  foreach v_key in array array['email', 'deleted_at'] loop
    if nullif(p_users -> v_key, 'null') is not null then
      perform hangar.bound_expression(v_relation, v_key, p_users -> v_key);
    elsif not p_users ? v_key and hangar.has_column(v_relation, v_key) and (v_key = 'deleted_at' or p_users ? 'table') then
      p_users := p_users || jsonb_build_object(v_key, v_key);
    end if;
  end loop;
  return p_users;
end
$$;

create function hangar.as_uuid(p_relation oid, p_expression text) returns text
language sql stable set search_path = ''
as $$
  select case when hangar.is_uuid_expression(p_relation, p_expression) then p_expression else 'hangar.to_uuid(' || p_expression || '::text)' end
$$;

-- In generated functions every name of ours has its alias or function before it, and the host's row is `h`: a column of the host may have any name.
-- A join with the users of the argument p_users of p_function, by value: whatever form a text has in which the host writes an id. The second
-- condition about a text is one that Postgres checks only for rows that meet the first.
create function hangar.join_users(p_relation oid, p_expression text, p_function text) returns text
language sql stable set search_path = ''
as $$
  select case when hangar.is_uuid_expression(p_relation, p_expression)
              then format('join unnest(%s.p_users) wanted (id) on wanted.id = %s', p_function, p_expression)
              else format('join unnest(%s.p_users) wanted (id) on replace(wanted.id::text, ''-'', '''') = %s and wanted.id is not distinct from %s',
                          p_function, hangar.uuid_digits(p_expression), hangar.as_uuid(p_relation, p_expression)) end
$$;

-- Writes one generated function, unless it is written already: every sweep comes here.
create function hangar.write_function(p_name text, p_arguments text, p_returns text, p_body text, p_options text default '') returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_body text := E'begin\n' || p_body || E'\nend';
begin
  -- Every sync writes again. Two syncs that replace the same function at the same time would fail.
  if not exists (select 1 from pg_catalog.pg_proc p where p.pronamespace = 'hangar'::regnamespace and p.proname = p_name and p.prosrc = v_body) then
    execute format('create or replace function hangar.%s(%s) returns %s language plpgsql %s set search_path = '''' as %L',
                   p_name, p_arguments, p_returns, p_options, v_body);
    -- A new function may be run by everybody. Bound after the installation, no migration restricts it.
    execute format('revoke all on function hangar.%s(%s) from public, anon, authenticated, service_role', p_name, p_arguments);
  end if;
end
$$;

select hangar.restrict_functions();
