-- The tables that a bound function reads: a change in one of them means that every user has to be looked at.
-- Builds on: tables, host_binding. The function of their triggers, hangar.mark_everybody, is written with the others in marks.

-- Whether each watched table has its trigger. A table that the host has dropped and created again lacks it until the next sync.
create function hangar.is_watching(p_watched text[]) returns boolean
language sql stable set search_path = ''
as $$
  select cardinality(p_watched) > 0 and not exists (
    select 1 from unnest(p_watched) w where not exists (
      select 1 from pg_catalog.pg_trigger t where t.tgrelid = to_regclass(w) and t.tgname = 'hangar_mark_watched' and t.tgenabled <> 'D'))
$$;

create function hangar.watch_tables(p_watched text[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_table text;
begin
  for v_table in
    select w from unnest(p_watched) w where to_regclass(w) is not null and not exists (
      select 1 from pg_catalog.pg_trigger t where t.tgrelid = to_regclass(w) and t.tgname = 'hangar_mark_watched')
  loop
    begin
      execute format('create trigger hangar_mark_watched after insert or update or delete or truncate on %s for each statement '
                     'execute function hangar.mark_everybody()', v_table);
    exception
      when insufficient_privilege or lock_not_available or object_not_in_prerequisite_state or wrong_object_type then
        raise notice 'Hangar: changes of % are found by looking at every user each minute (%)', v_table, sqlerrm;
    end;
  end loop;
end
$$;

select hangar.restrict_functions();
