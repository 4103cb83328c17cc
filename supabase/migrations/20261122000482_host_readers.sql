-- The functions through which everything reads the host, generated from hangar.binding.
-- Builds on: host_binding.

-- The values that a binding reads at a path of a JSON column. `expression` is null in a row without that key; a JSON null is a key. `document`:
-- whether the row has a document at all.
create function hangar.json_paths(p_columns jsonb) returns table (bound text, path text, column_name text, expression text, document text)
language sql immutable set search_path = ''
as $$
  select c.key, array_to_string(p.keys, '.'), c.value ->> 'column', format('(h.%I #> %L::text[])', c.value ->> 'column', p.keys),
         format('h.%I::jsonb not in (''{}'', ''null'')', c.value ->> 'column')
    from jsonb_each(p_columns) c
    cross join lateral (select array(select jsonb_array_elements_text(c.value -> 'path')) as keys) p
   where jsonb_typeof(c.value) = 'object' and c.value ? 'path'
   order by c.key
$$;

-- Statements that raise when a key that hangar.host_state counts as one that the host writes is in no document at all: the host has renamed it. Read
-- as "no end", that would give apps to users whose subscription has ended, and take them from users who have paid until a date.
create function hangar.json_guards(p_from text, p_columns jsonb) returns text
language sql immutable set search_path = ''
as $$
  select coalesce(string_agg(format(
    E'if exists (select 1 from hangar.host_state s where %L = any (s.json_keys)) and exists (select 1 from %s h where %s)\n'
    '   and not exists (select 1 from %2$s h where %4$s is not null) then\n'
    '  raise exception ''no row of %% has the key %% in column %% any more'', %L, %L, %L using errcode = ''undefined_column'';\nend if;\n',
    j.bound, p_from, j.document, j.expression, p_from, j.path, j.column_name), '' order by j.bound), '')
    from hangar.json_paths(p_columns) j
$$;

-- Keeps in hangar.host_state which keys of JSON columns the host writes: those of every document, or of two or more. A document that alone had a key
-- may lose it for good, such as the end of the only cancelled subscription.
create function hangar.note_json_keys() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_query text := (select format('select array_remove(array[%s], null) from %s h having count(*) > 0', string_agg(format(
    'case when count(%1$s) >= 2 or count(%1$s) > 0 and count(%1$s) = count(*) filter (where %3$s) then %2$L end', j.expression, j.bound, j.document), ', ' order by j.bound), b.source_oid::regclass)
    from hangar.binding b cross join lateral hangar.json_paths(b.columns) j where b.kind = 'table' group by b.source_oid);
  v_keys text[];
begin
  if v_query is null then
    return;
  end if;
  execute v_query into v_keys;
  -- Another transaction may hold the row: then the next sync writes it.
  perform 1 from hangar.host_state s where s.json_keys is distinct from v_keys and v_keys is not null for no key update skip locked;
  if found then
    update hangar.host_state set json_keys = v_keys where only_row;
  end if;
end
$$;

-- Writes the functions that read the subscriptions of a bound table.
create function hangar.write_table_readers(p_relation oid, p_columns jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_from text := (select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                   where c.oid = p_relation);
  v_bound record;
  v_rows text;
  v_result constant text := 'setof hangar.host_subscription';
begin
  select b.* into v_bound from hangar.bound_expressions(p_relation, p_columns) b;
  v_rows := hangar.json_guards(v_from, p_columns) || format(
    'return query select x.user_id, nullif(hangar.trim_word(x.tier), ''''), x.status, x.ends_at, '
    'case when x.ends_at is null and hangar.trim_word(x.raw) <> '''' then format(''the end %%L cannot be read as a time'', left(x.raw, 60)) end '
    'from (select %s as user_id, (%s)::text as tier, (%s)::text as status, hangar.to_time(%s) as ends_at, (%4$s)::text as raw from %s h ',
    hangar.as_uuid(p_relation, v_bound.user_id), v_bound.tier, v_bound.status, v_bound.ends_at, v_from);
  perform hangar.write_function('list_subscriptions', '', v_result, v_rows || ') x;', 'stable');
  perform hangar.write_function('read_subscriptions', 'p_users uuid[]', v_result,
    v_rows || hangar.join_users(p_relation, v_bound.user_id, 'read_subscriptions') || ') x;', 'stable');
  perform hangar.write_function('has_no_subscriptions', '', 'boolean', format('return not exists (select 1 from %s);', v_from), 'stable');
end
$$;

-- Writes the functions that call a bound function, and refuses one with other columns than user_id, tier, status and ends_at.
create function hangar.write_function_readers(p_function oid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_proc pg_catalog.pg_proc;
  v_name text := (select format('%I.%I', n.nspname, p.proname) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                   where p.oid = p_function);
  v_columns text[];
  v_missing text;
  v_rows text;
  v_all text;
  v_some text;
  v_arguments text := pg_get_function_identity_arguments(p_function);
begin
  select p.* into v_proc from pg_catalog.pg_proc p where p.oid = p_function;
  if v_proc.prokind <> 'f' or not v_proc.proretset then
    perform hangar.refuse_binding(format('%s does not return rows', p_function::regprocedure),
      'Hangar needs a function that returns a table (user_id uuid, tier text, status text, ends_at timestamptz).');
  end if;
  select coalesce(
    (select array_agg(n.name) from unnest(v_proc.proargnames, v_proc.proargmodes) as n (name, mode) where n.mode in ('t', 'o', 'b')),
    (select array_agg(a.attname::text) from pg_catalog.pg_type t join pg_catalog.pg_attribute a on a.attrelid = t.typrelid
      where t.oid = v_proc.prorettype and a.attnum > 0 and not a.attisdropped)) into v_columns;
  select string_agg(c, ', ') into v_missing from unnest(array['user_id', 'tier', 'status', 'ends_at']) c where c <> all (coalesce(v_columns, '{}'));
  if v_missing is not null then
    perform hangar.refuse_binding(format('%s returns the columns %s. Missing: %s', p_function::regprocedure,
      coalesce(array_to_string(v_columns, ', '), 'none'), v_missing),
      'Hangar needs the columns user_id, tier, status and ends_at, by these names.');
  end if;
  if v_proc.pronargs = 0 then
    v_all := v_name || '() h';
    v_some := v_all;
  elsif v_proc.pronargs = 1 and v_proc.proargtypes[0] = 'uuid[]'::regtype then
    v_all := v_name || '(hangar.list_users()) h';
    v_some := v_name || '(read_subscriptions.p_users) h';
  elsif v_proc.pronargs = 1 and v_proc.proargtypes[0] = 'uuid'::regtype then
    v_all := 'unnest(hangar.list_users()) wanted (id) cross join lateral ' || v_name || '(wanted.id) h';
    v_some := 'unnest(read_subscriptions.p_users) wanted (id) cross join lateral ' || v_name || '(wanted.id) h';
  else
    perform hangar.refuse_binding(format('%s takes the arguments (%s)', p_function::regprocedure, v_arguments),
      'Hangar calls a function without arguments, with one uuid, or with one uuid[] of users.');
  end if;
  v_rows := 'return query select x.user_id, nullif(hangar.trim_word(x.tier), ''''), x.status, x.ends_at, '
    'case when x.ends_at is null and hangar.trim_word(x.raw) <> '''' then format(''the end %L cannot be read as a time'', left(x.raw, 60)) end '
    'from (select hangar.to_uuid(h.user_id::text) as user_id, h.tier::text as tier, h.status::text as status, '
    'hangar.to_time(h.ends_at) as ends_at, h.ends_at::text as raw from ';
  perform hangar.write_function('list_subscriptions', '', 'setof hangar.host_subscription', v_rows || v_all || ') x;', 'stable');
  perform hangar.write_function('read_subscriptions', 'p_users uuid[]', 'setof hangar.host_subscription',
    v_rows || v_some || ') x where x.user_id = any (read_subscriptions.p_users);', 'stable');
  perform hangar.write_function('has_no_subscriptions', '', 'boolean', 'return not exists (select 1 from ' || v_all || ');', 'stable');
end
$$;

-- Writes the functions that read the host's users: which exist, whether there are any, their e-mail addresses, and a search by address.
create function hangar.write_user_readers(p_users jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_users record;
  v_where text;
  v_source record;
  v_emails text := '';
  v_found text := '';
  v_existing text;
begin
  if p_users is null and to_regclass('auth.users') is not null then
    p_users := hangar.record_users('{}');
  end if;
  if p_users ->> 'table' is null and to_regclass('auth.users') is null then
    perform hangar.write_function('existing_users', 'p_users uuid[]', 'uuid[]', 'return null;', 'stable');
    perform hangar.write_function('list_users', '', 'uuid[]', 'return ''{}''::uuid[];', 'stable');
    perform hangar.write_function('has_no_users', '', 'boolean', 'return false;', 'stable');
    perform hangar.write_function('read_emails', 'p_users uuid[]', 'table (user_id uuid, email text)', 'return;', 'stable');
    perform hangar.write_function('find_by_email', 'p_like text, p_limit integer', 'uuid[]', 'return ''{}''::uuid[];', 'stable');
    return;
  end if;
  select u.* into v_users from hangar.users_table(p_users) u;
  v_where := coalesce(' and not ' || v_users.deleted_at, '');
  v_existing := format('return (select coalesce(array_agg(wanted.id), ''{}'') from %s h %s%s);', v_users.relation::regclass,
                       hangar.join_users(v_users.relation, v_users.id, 'existing_users'), v_where);
  -- Ids in a text are looked up in the forms that an index finds, and by value if one of a few users is not there in such a form.
  perform hangar.write_function('existing_users', 'p_users uuid[]', 'uuid[]', case
    when hangar.is_uuid_expression(v_users.relation, v_users.id) then v_existing
    else format(
      E'if cardinality(existing_users.p_users) <= 500 and not exists (select 1 from unnest(existing_users.p_users) wanted (id)\n'
      '  where wanted.id is not null and not exists (select 1 from %s h where %s::text = any (hangar.uuid_texts(array[wanted.id]))%s)) then\n'
      '  return existing_users.p_users;\nend if;\n%s', v_users.relation::regclass, v_users.id, v_where, v_existing) end, 'stable');
  perform hangar.write_function('list_users', '', 'uuid[]', format(
    'return (select coalesce(array_agg(%1$s), ''{}'') from %2$s h where %1$s is not null%3$s);', hangar.as_uuid(v_users.relation, v_users.id),
    v_users.relation::regclass, v_where), 'stable');
  perform hangar.write_function('has_no_users', '', 'boolean', format(
    'return not exists (select 1 from %s h where true%s);', v_users.relation::regclass, v_where), 'stable');
  -- The bound table first, then user_profiles, then auth.users.
  for v_source in
    select s.relation, s.id, s.email from (
      select 1 as nr, v_users.relation, v_users.id, v_users.email where p_users ? 'table'
      union all select 2, to_regclass('public.user_profiles'), 'h.id', 'h.email::text' where not p_users ? 'table'
      union all select 3, to_regclass('auth.users'), 'h.id', 'h.email::text') s
     where s.email is not null and (s.nr = 1 or 2 = (select count(*) from pg_catalog.pg_attribute a
                                     where a.attrelid = s.relation and a.attname in ('id', 'email') and not a.attisdropped))
     order by s.nr
  loop
    v_emails := v_emails || case when v_emails = '' then '' else ', ' end || format('(select %s from %s h where %s limit 1)', v_source.email,
      v_source.relation::regclass, case when hangar.is_uuid_expression(v_source.relation, v_source.id) then v_source.id || ' = wanted.id'
                                        else v_source.id || '::text = any (hangar.uuid_texts(array[wanted.id]))' end);
    v_found := v_found || case when v_found = '' then '' else ' union ' end || format('(select %s as id from %s h where lower(%s) like %%1$L limit %%2$s)',
      hangar.as_uuid(v_source.relation, v_source.id), v_source.relation::regclass, v_source.email);
  end loop;
  perform hangar.write_function('read_emails', 'p_users uuid[]', 'table (user_id uuid, email text)', case when v_emails = '' then 'return;' else
    format('return query select wanted.id, coalesce(%s) from (select distinct unnest(read_emails.p_users) as id) wanted;', v_emails) end, 'stable');
  -- The pattern is a literal in the statement, so that a host's index on lower(email) can be used.
  perform hangar.write_function('find_by_email', 'p_like text, p_limit integer', 'uuid[]', case when v_found = '' then 'return ''{}''::uuid[];' else format(
    E'declare v_found uuid[];\nbegin\nexecute format(%L, find_by_email.p_like, find_by_email.p_limit) into v_found;\nreturn coalesce(v_found, ''{}'');\nend;',
    'select array_agg(x.id) from (' || v_found || ') x') end, 'stable');
end
$$;

-- The oid of the bound table or function as the host has it now; null if it is gone. A table that a migration tool has created again, or
-- replaced by another table of the same name, is found by its name. A renamed table is found by its oid.
create function hangar.find_source(p_binding hangar.binding) returns oid
language plpgsql stable set search_path = ''
as $$
begin
  if p_binding.kind = 'table' then
    return coalesce(to_regclass(p_binding.source), (select c.oid from pg_catalog.pg_class c where c.oid = p_binding.source_oid));
  end if;
  return coalesce(to_regprocedure(p_binding.source), (select p.oid from pg_catalog.pg_proc p where p.oid = p_binding.source_oid));
end
$$;

-- Writes all generated functions from hangar.binding, as the host's tables are now. Raises what is wrong with the binding.
create function hangar.write_host_functions() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_binding hangar.binding;
  v_oid oid;
begin
  select b.* into v_binding from hangar.binding b;
  perform hangar.write_user_readers(v_binding.users);
  if v_binding.kind is null then
    perform hangar.write_function('list_subscriptions', '', 'setof hangar.host_subscription', 'return;', 'stable');
    perform hangar.write_function('read_subscriptions', 'p_users uuid[]', 'setof hangar.host_subscription', 'return;', 'stable');
    perform hangar.write_function('has_no_subscriptions', '', 'boolean', 'return false;', 'stable');
    return;
  end if;
  v_oid := hangar.find_source(v_binding);
  if v_oid is null then
    perform hangar.refuse_binding(format('the bound %s %s does not exist any more', v_binding.kind, v_binding.source),
      'Bind Hangar to the one that replaces it: hangar.bind_subscriptions(…), or undo the binding: hangar.unbind().');
  elsif v_oid is distinct from v_binding.source_oid then
    update hangar.binding set source_oid = v_oid where only_row;
  end if;
  if v_binding.kind = 'table' then
    perform hangar.write_table_readers(v_oid, v_binding.columns);
  else
    perform hangar.write_function_readers(v_oid);
  end if;
end
$$;
select hangar.write_host_functions();

select hangar.restrict_functions();
