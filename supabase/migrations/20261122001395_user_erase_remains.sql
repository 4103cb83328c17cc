-- What `hangar user erase` cannot change and an operator must: columns of the host whose type or foreign key keeps the value.
-- Builds on: user_erase.

-- What still names the person after the erasure, by column: [{"table", "column", "rows", "why"}]. Of the log only the person's own
-- entries are read, and those that the search has found.
create function hangar.find_remains(p_user uuid, p_pseudonym uuid, p_email_pattern text, p_mentions bigint[], p_read_to bigint) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_pattern text := concat_ws('|', p_user::text, p_email_pattern);
  v_apps uuid[] := array(select a.id from public.user_fly_apps a where a.user_id = p_pseudonym);
  v_found jsonb := jsonb_build_array();
  v_column record;
  v_rows bigint;
begin
  for v_column in
    select t.name, t.relation, c.attname, c.is_key, c.type, t.rule = 'log' as is_log
      from hangar.erasure_tables() t
      cross join lateral hangar.erasable_columns(t.relation, t.name, case t.rule when 'log' then hangar.event_columns() else '{}'::text[] end) c
     where t.rule in ('pseudonym', 'log') and c.kind = 'kept' order by t.name, c.attname
  loop
    execute format('select count(*) from %s t where t.%I::text ~* $1', v_column.relation, v_column.attname)
      || case when v_column.is_log then ' and (t.user_id = $2 or t.fly_app_id = any ($3) or t.seq = any ($4) or t.seq > $5 - 1000)' else '' end
      into v_rows using v_pattern, p_pseudonym, v_apps, p_mentions, p_read_to;
    if v_rows > 0 then
      v_found := v_found || jsonb_build_object('table', v_column.name, 'column', v_column.attname, 'rows', v_rows, 'why',
        case when v_column.is_key then 'a foreign key that must not be null needs the value'
             else format('the type %s has no place for a pseudonym', v_column.type) end);
    end if;
  end loop;
  return v_found;
end
$$;

select hangar.restrict_functions();
