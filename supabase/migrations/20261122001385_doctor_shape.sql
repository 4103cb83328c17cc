-- What our tables, views and functions looked like when they were installed, for `hangar doctor`: rules, types, policies, indexes, triggers
-- and the attributes of functions, as Postgres itself writes them. The texts of functions are compared with the files instead.
-- Builds on: doctor_calls, doctor_rights (our tables and functions). `recorded_shape` fills the table.

create table hangar.recorded_shape (
  kind text not null,
  name text not null,
  definition text not null,
  primary key (kind, name)
);
revoke all on hangar.recorded_shape from public, anon, authenticated, service_role;
grant select on hangar.recorded_shape to service_role;
comment on table hangar.recorded_shape is 'Our tables, views and functions as they were installed. docs/doctor.md.';
alter table hangar.recorded_shape enable row level security;
create policy service_role_all on hangar.recorded_shape for all to service_role using (true) with check (true);

create or replace function hangar.is_procedure(p_function oid) returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.obj_description(p_function, 'pg_proc') like '%docs/database.md%', false)
      or exists (select 1 from hangar.recorded_shape r where r.kind = 'function' and r.name = p_function::regprocedure::text)
$$;

-- Each part with its definition, as Postgres writes it, whatever the settings of the database and the role.
create function hangar.read_shape() returns table (kind text, name text, definition text)
language sql stable set search_path = '' set intervalstyle = 'postgres' set datestyle = 'ISO, YMD' set timezone = 'UTC' set bytea_output = 'hex'
set extra_float_digits = 1 set quote_all_identifiers = off
as $$
  select 'policy', format('%s on %s', p.polname, t.name),
         format('as %s for %s to %s%s%s', case when p.polpermissive then 'permissive' else 'restrictive' end,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
           (select string_agg(case r when 0 then 'public' else quote_ident(pg_get_userbyid(r)) end, ', ' order by r) from unnest(p.polroles) r),
           ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    from hangar.doctor_relations() t join pg_catalog.pg_policy p on p.polrelid = t.relation
  union all
  select 'constraint', format('%s on %s', quote_ident(c.conname), t.name), pg_get_constraintdef(c.oid)
    from hangar.doctor_relations() t join pg_catalog.pg_constraint c on c.conrelid = t.relation where c.contype in ('c', 'u', 'f', 'p', 'x')
  union all
  select 'index', format('%s on %s', quote_ident(c.relname), t.name), pg_get_indexdef(i.indexrelid)
    from hangar.doctor_relations() t join pg_catalog.pg_index i on i.indrelid = t.relation join pg_catalog.pg_class c on c.oid = i.indexrelid
   where not exists (select 1 from pg_catalog.pg_constraint k where k.conindid = i.indexrelid and k.conrelid = t.relation)
  union all
  select 'trigger', format('%s on %s', quote_ident(g.tgname), t.name), pg_get_triggerdef(g.oid)
    from hangar.doctor_relations() t join pg_catalog.pg_trigger g on g.tgrelid = t.relation where not g.tgisinternal
  union all
  select 'column', format('%s of %s', quote_ident(a.attname), t.name),
         format('type %s%s%s', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ', set not null' else ', drop not null' end,
           coalesce(', set default ' || pg_get_expr(d.adbin, d.adrelid), case when a.attidentity = '' then ', drop default' end))
    from hangar.doctor_relations() t join pg_catalog.pg_attribute a on a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where t.is_table and a.attgenerated = ''
  union all
  select 'view', t.name, format('%sas %s', 'with (' || array_to_string(c.reloptions, ', ') || ') ', pg_get_viewdef(t.relation))
    from hangar.doctor_relations() t join pg_catalog.pg_class c on c.oid = t.relation where not t.is_table
  union all
  select 'rule', format('%s on %s', quote_ident(r.rulename), t.name), pg_get_ruledef(r.oid)
    from hangar.doctor_relations() t join pg_catalog.pg_rewrite r on r.ev_class = t.relation where t.is_table
  union all
  select 'owner', format('%s %s', case when t.is_table then 'table' else 'view' end, t.name), quote_ident(pg_get_userbyid(c.relowner))
    from hangar.doctor_relations() t join pg_catalog.pg_class c on c.oid = t.relation
  union all
  select 'owner', 'schema hangar', quote_ident(pg_get_userbyid(n.nspowner)) from pg_catalog.pg_namespace n where n.nspname = 'hangar'
  union all
  -- hangar.now() is replaced in tests and in the local cloud.
  select 'function', f.name, format('%s owner to %s', case when p.prosecdef then 'security definer' else 'security invoker' end, quote_ident(pg_get_userbyid(p.proowner)))
    from hangar.doctor_functions() f join pg_catalog.pg_proc p on p.oid = f.function where f.name <> 'hangar.now()'
$$;

-- The statements that restore one part as it was recorded. For a column only what differs, because Postgres refuses to set the type of a column that a view reads.
create function hangar.restore_shape(p_kind text, p_name text, p_definition text, p_now text) returns text
language sql immutable set search_path = ''
as $$
  select case p_kind
    when 'policy' then format('drop policy if exists %1$s; create policy %1$s %2$s;', p_name, p_definition)
    when 'constraint' then format('alter table %2$s drop constraint if exists %1$s; alter table %2$s add constraint %1$s %3$s;',
      split_part(p_name, ' on ', 1), split_part(p_name, ' on ', 2), p_definition)
    when 'index' then format('drop index if exists %s.%s; %s;', split_part(split_part(p_name, ' on ', 2), '.', 1), split_part(p_name, ' on ', 1), p_definition)
    when 'trigger' then format('drop trigger if exists %s; %s;', p_name, p_definition)
    when 'column' then (
      select string_agg(format('alter table %s alter column %s %s;', split_part(p_name, ' of ', 2), split_part(p_name, ' of ', 1), part), ' ' order by nr)
        from unnest(regexp_split_to_array(p_definition, ', (?=(?:set|drop) )')) with ordinality x (part, nr)
       where part <> all (regexp_split_to_array(p_now, ', (?=(?:set|drop) )')))
    when 'owner' then format('alter %s owner to %s;', p_name, p_definition)
    when 'view' then format('create or replace view %s %s', p_name, p_definition)
    else format('alter function %1$s %2$s; alter function %1$s owner to %3$s;', p_name, split_part(p_definition, ' owner to ', 1),
      split_part(p_definition, ' owner to ', 2)) end
$$;

-- The statement that takes away, or makes harmless, what was added.
create function hangar.drop_added(p_kind text, p_name text) returns text
language sql immutable set search_path = ''
as $$
  select case p_kind
    when 'constraint' then format('alter table %s drop constraint %s;', split_part(p_name, ' on ', 2), split_part(p_name, ' on ', 1))
    when 'column' then format('alter table %s alter column %s drop not null;', split_part(p_name, ' of ', 2), split_part(p_name, ' of ', 1))
    else format('drop %s %s;', p_kind, p_name) end
$$;

-- Records the schema as it is now: after an installation, after a change that an operator made on purpose, after an upgrade of Postgres.
create function hangar.record_shape() returns void
language sql volatile set search_path = ''
as $$
  delete from hangar.recorded_shape where kind <> '';
  insert into hangar.recorded_shape (kind, name, definition)
  select s.kind, s.name, s.definition from hangar.read_shape() s
  union all select 'server', 'major version', (current_setting('server_version_num')::integer / 10000)::text;
$$;

create function hangar.doctor_shape() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_recorded text := (select r.definition from hangar.recorded_shape r where r.kind = 'server');
  v_found text;
  v_remedy text;
  v_added text;
  v_again text := '  -- or, if you have changed it on purpose: select hangar.record_shape();';
begin
  if v_recorded is distinct from (current_setting('server_version_num')::integer / 10000)::text then
    return hangar.doctor_says('warning', format('not checked: the schema was recorded by Postgres %s, and this is another version, which may write the same rule in '
      'other words', coalesce(v_recorded, '?')), 'select hangar.record_shape();');
  end if;
  select string_agg(x.what, ', ') || case when max(x.n) > 5 then format(' and %s more', max(x.n) - 5) else '' end, string_agg(x.restore, ' ') into v_found, v_remedy
    from (select format('%s %s', r.kind, r.name) as what, hangar.restore_shape(r.kind, r.name, r.definition, s.definition) as restore, count(*) over () as n
            from hangar.recorded_shape r left join hangar.read_shape() s using (kind, name)
           where r.kind <> 'server' and s.definition is distinct from r.definition
             -- The check `schema` names what is missing altogether; a new binding replaces functions.
             and (s.definition is not null or r.kind in ('policy', 'constraint', 'index', 'trigger'))
           order by r.kind, r.name limit 5) x;
  if v_found is not null then
    return hangar.doctor_says('wrong', 'not as it was installed: ' || v_found, v_remedy || v_again);
  end if;
  select string_agg(format('%s %s', s.kind, s.name), ', ' order by s.kind, s.name), string_agg(hangar.drop_added(s.kind, s.name), ' ' order by s.kind, s.name)
    into v_added, v_remedy
    from hangar.read_shape() s
   where (s.kind in ('trigger', 'rule', 'constraint') or s.kind = 'column' and s.definition ~ ', set not null' and s.definition !~ ', set default')
     and not exists (select 1 from hangar.recorded_shape r where r.kind = s.kind and r.name = s.name);
  if v_added is not null then
    return hangar.doctor_says('warning', 'added to tables of Hangar, and can change, drop or refuse its rows: ' || v_added, v_remedy || v_again);
  end if;
  return hangar.doctor_says('ok', 'rules, columns, policies, indexes and triggers are as they were installed');
end
$$;

select hangar.restrict_functions();
