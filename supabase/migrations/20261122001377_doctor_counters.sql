-- What `hangar doctor` checks about the counters that number our rows.
-- Builds on: doctor_calls, doctor_rights.

-- A copy of the rows alone (logical replication, a dump of data) leaves every counter at its beginning. Then no row can be written to the
-- log, so nothing can be done at all, not even a pause.
create function hangar.doctor_counters() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_counter record;
  v_rows bigint;
  v_last bigint;
  v_found text[] := '{}';
  v_remedy text[] := '{}';
begin
  for v_counter in
    select s.oid::regclass as sequence, t.relation::regclass as relation, t.name, a.attname
      from hangar.doctor_relations() t
      join pg_catalog.pg_depend d on d.refobjid = t.relation and d.classid = 'pg_catalog.pg_class'::regclass
                                 and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
      join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
      join pg_catalog.pg_attribute a on a.attrelid = t.relation and a.attnum = d.refobjsubid
     order by t.name
  loop
    execute format('select coalesce(max(%I), 0)::bigint from %s', v_counter.attname, v_counter.relation) into v_rows;
    execute format('select case when is_called then last_value else last_value - 1 end from %s', v_counter.sequence) into v_last;
    if v_last < v_rows then
      v_found := v_found || format('%s is at %s and has rows up to %s', v_counter.name, v_last, v_rows);
      v_remedy := v_remedy || format('select setval(%L, %s);', v_counter.sequence::text, v_rows);
    end if;
  end loop;
  if v_found <> '{}' then
    return hangar.doctor_says('wrong', 'counters are behind their rows, so nothing can be written: ' || array_to_string(v_found, '; '), array_to_string(v_remedy, ' '));
  end if;
  return hangar.doctor_says('ok', 'every counter is ahead of its rows');
end
$$;

select hangar.restrict_functions();
