-- How a table of the original system becomes the table that `app_tables` has just created under its name.
-- Builds on: original_system, tables. These functions are dropped when `app_tables` and `access` have used them.

-- The columns that `app_tables` creates, as a list of names.
create function hangar.column_names(p_table regclass) returns text[]
language sql stable set search_path = ''
as $$
  select pg_catalog.array_agg(a.attname::text order by a.attnum) from pg_catalog.pg_attribute a
   where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
$$;

-- Whether every column of this list is one of ours.
create function hangar.is_ours(p_table regclass, p_columns smallint[], p_ours text[]) returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.bool_and(a.attname = any (p_ours)), false) from pg_catalog.pg_attribute a
   where a.attrelid = p_table and a.attnum = any (p_columns)
$$;

-- Removes the constraints and indexes that concern nothing but columns of ours, except the primary key, to which other tables may refer.
create function hangar.drop_original_parts(p_old regclass, p_ours text[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_part text;
begin
  for v_part in
    select format('alter table %s drop constraint %I', p_old, c.conname) from pg_catalog.pg_constraint c
     where c.conrelid = p_old and c.contype in ('c', 'u', 'f') and hangar.is_ours(p_old, c.conkey, p_ours) order by c.conname
  loop
    execute v_part;
  end loop;
  for v_part in
    select format('drop index %s', i.indexrelid::regclass) from pg_catalog.pg_index i
     where i.indrelid = p_old and not i.indisprimary and i.indexprs is null and i.indpred is null
       and hangar.is_ours(p_old, i.indkey::smallint[], p_ours) order by 1
  loop
    execute v_part;
  end loop;
end
$$;

-- Gives the old table the columns that the new one has and it lacks. None is required yet, because there are rows.
create function hangar.add_new_columns(p_table text, p_old regclass, p_new regclass) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_column record;
begin
  for v_column in
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, a.attidentity, pg_catalog.pg_get_expr(d.adbin, d.adrelid) as value
      from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = p_new and a.attnum > 0 and not a.attisdropped
       and not exists (select 1 from pg_catalog.pg_attribute o where o.attrelid = p_old and o.attname = a.attname and not o.attisdropped)
     order by a.attnum
  loop
    execute format('alter table %s add column %I %s %s', p_old, v_column.attname, v_column.type,
      case when v_column.attidentity <> '' then 'generated always as identity' else coalesce('default ' || v_column.value, '') end);
    insert into hangar.original_objects (table_name, kind, name, restore)
    values (p_table, 'added', v_column.attname, format('alter table public.%I drop column %I', p_table, v_column.attname));
  end loop;
end
$$;

-- Rows of the original system: closed ones are history, the others are legacy apps, which Hangar shows and does nothing with.
-- A row that is active and has a time of deletion comes from a race of the original system; its app may run, so it counts as live.
create function hangar.fill_original_apps(p_old regclass) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_rows bigint;
  v_legacy bigint;
  v_twice text;
begin
  execute format($sql$
    update %s a
       set network = hangar.network_name(g.installation_id, a.id), generation = 0, next_attempt_at = null,
           retry_count = greatest(coalesce(a.retry_count, 0), 0),
           desired_state = case when a.status = 'deleted' then 'absent' else 'legacy' end,
           deleted_at = case when a.status = 'deleted' then coalesce(a.deleted_at, a.updated_at) end
      from hangar.settings g where g.only_row
    $sql$, p_old);
  execute format('select count(*), count(*) filter (where a.desired_state = ''legacy'') from %s a', p_old) into v_rows, v_legacy;
  execute format('select string_agg(t.user_id::text, '', '') from (select a.user_id from %s a where a.deleted_at is null '
                 'group by a.user_id having count(*) > 1 limit 3) t', p_old) into v_twice;
  if v_twice is not null then
    raise exception 'user_fly_apps has two rows that are not deleted for some users, and Hangar allows one: %', v_twice
      using errcode = 'unique_violation', hint = 'Mark the row as deleted whose app is gone, then install again.';
  end if;
  raise notice 'Hangar: the table user_fly_apps of the original system was upgraded in place, with its % rows. % of them are legacy apps: Hangar does nothing with them until `hangar adopt` takes them over',
    v_rows, v_legacy;
end
$$;

-- Requires what the new table requires: types, defaults, values that must be there, and constraints. The log keeps entries that a free text of
-- the original system made. If old entries break a rule, it holds for new ones only, which have higher numbers. The rule must not stay
-- `not valid` instead: then no statement could change an old entry, and a person in it could not be erased.
create function hangar.tighten(p_table text, p_old regclass, p_new regclass, p_keeps_old boolean) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_part record;
  v_last_seq bigint;
begin
  for v_part in
    select a.attname, a.attnotnull, a.attidentity, pg_catalog.pg_get_expr(d.adbin, d.adrelid) as value
      from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = p_new and a.attnum > 0 and not a.attisdropped and a.attname <> 'id' order by a.attnum
  loop
    execute format('alter table %s alter column %I %s not null', p_old, v_part.attname, case when v_part.attnotnull then 'set' else 'drop' end);
    if v_part.attidentity = '' then
      execute format('alter table %s alter column %I %s', p_old, v_part.attname, coalesce('set default ' || v_part.value, 'drop default'));
    end if;
  end loop;
  for v_part in
    select c.conname, c.contype, pg_catalog.pg_get_constraintdef(c.oid) as definition, pg_catalog.pg_get_expr(c.conbin, c.conrelid) as rule
      from pg_catalog.pg_constraint c where c.conrelid = p_new and c.contype in ('c', 'u') order by c.conname
  loop
    begin
      execute format('alter table %s add constraint %I %s', p_old, v_part.conname, v_part.definition);
    exception when check_violation then
      if not p_keeps_old then
        raise;
      end if;
      execute format('select max(e.seq) from %s e', p_old) into v_last_seq;
      execute format('alter table %s add constraint %I check (%s or seq <= %s)', p_old, v_part.conname, v_part.rule, v_last_seq);
    end;
    insert into hangar.original_objects (table_name, kind, name, restore)
    values (p_table, 'added', v_part.conname, format('alter table public.%I drop constraint if exists %I', p_table, v_part.conname));
  end loop;
end
$$;

-- Does nothing if set_originals_aside found no table.
create function hangar.upgrade_original(p_table text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_old regclass := to_regclass(format('hangar.%I', p_table));
  v_new regclass := format('public.%I', p_table)::regclass;
  v_indexes text[];
  v_triggers text[];
  v_comment text := obj_description(v_new, 'pg_class');
  v_text text;
begin
  if v_old is null then
    return;
  end if;
  -- A trigger of the host that keeps updated_at must not change the rows.
  v_triggers := array(select format('alter table public.%I enable %s trigger %I', p_table, case t.tgenabled when 'A' then 'always' else '' end, t.tgname)
                        from pg_catalog.pg_trigger t where t.tgrelid = v_old and not t.tgisinternal and t.tgenabled in ('O', 'A'));
  for v_text in select format('alter table %s disable trigger %I', v_old, t.tgname) from pg_catalog.pg_trigger t
                 where t.tgrelid = v_old and not t.tgisinternal and t.tgenabled in ('O', 'A') loop
    execute v_text;
  end loop;
  if p_table = 'user_fly_apps' then
    execute format('insert into hangar.original_apps (row_id, original) select a.id, to_jsonb(a) from %s a', v_old);
  end if;
  perform hangar.drop_original_parts(v_old, hangar.column_names(v_new));
  perform hangar.add_new_columns(p_table, v_old, v_new);
  if p_table = 'user_fly_apps' then
    perform hangar.fill_original_apps(v_old);
  else
    execute format('update %s e set metadata = ''{}'' where e.metadata is null or e.metadata = ''null''', v_old);
  end if;
  -- What waits on the rows (deferred keys) would forbid the changes below.
  set constraints all immediate;
  perform hangar.tighten(p_table, v_old, v_new, p_table = 'user_fly_app_events');
  v_indexes := array(
    select pg_catalog.pg_get_indexdef(i.indexrelid) from pg_catalog.pg_index i
     where i.indrelid = v_new and not exists (select 1 from pg_catalog.pg_constraint c where c.conindid = i.indexrelid));
  execute format('drop table public.%I', p_table);
  execute format('alter table hangar.%I set schema public', p_table);
  foreach v_text in array v_indexes loop
    execute v_text;
  end loop;
  foreach v_text in array v_triggers loop
    execute v_text;
  end loop;
  execute format('comment on table public.%I is %L', p_table, v_comment);
  if p_table = 'user_fly_apps' then
    execute format('alter table public.%I set (fillfactor = 80)', p_table);
  end if;
end
$$;

-- The policies of the original system let anybody see every app who could call themselves an administrator, and let service_role write
-- around leases and audit log. Those of `access` replace them.
create function hangar.drop_original_policies() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_policy text;
  v_writers text;
begin
  for v_policy in
    select format('drop policy %I on public.%I', p.policyname, p.tablename) from pg_catalog.pg_policies p
     where p.schemaname = 'public' and p.tablename in ('user_fly_apps', 'user_fly_app_events')
  loop
    execute v_policy;
  end loop;
  if exists (select 1 from hangar.original_objects o where o.kind = 'policy') then
    raise notice 'Hangar: the policies and rights of the original system on its tables are replaced: a user reads their own app and its events, and the roles of the API write only through the procedures. Who operates Hangar is in `hangar operators`';
  end if;
  -- Owners and superusers may always write; the others have a right that somebody gave them.
  select string_agg(distinct format('%s on %s', quote_ident(r.rolname), c.relname), ', ') into v_writers
    from pg_catalog.pg_class c
    cross join lateral (
      select g.grantee from pg_catalog.aclexplode(c.relacl) g where g.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
      union select g.grantee from pg_catalog.pg_attribute a cross join lateral pg_catalog.aclexplode(a.attacl) g
             where a.attrelid = c.oid and g.privilege_type in ('INSERT', 'UPDATE')) w
    join pg_catalog.pg_roles r on r.oid = w.grantee
   where c.oid in ('public.user_fly_apps'::regclass, 'public.user_fly_app_events'::regclass)
     and w.grantee <> c.relowner and not r.rolsuper and r.rolname <> current_user;
  if v_writers is not null and exists (select 1 from hangar.original_objects) then
    raise notice 'Hangar: these roles keep a right to write that somebody gave them, around the procedures: %. Take it away with `revoke insert, update, delete, truncate on … from …`', v_writers;
  end if;
end
$$;

select hangar.restrict_functions();
