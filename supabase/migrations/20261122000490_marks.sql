-- What the host's transaction does for Hangar: append the changed user ids to hangar.marks, and queue one wake-up call. Nothing else.
-- It reads and locks nothing of ours, so it cannot fail or wait because of Hangar, and no SERIALIZABLE transaction of the host fails
-- because of it. docs/decisions, "Marks".
-- Builds on: host_binding, watched_tables, nudge.

-- Writes the trigger functions of the bound tables. A statement over the transition tables is planned when it first runs, so a renamed or
-- retyped column raises here, and is then answered by a mark for everybody. A cancel or a time-out of the host is not caught.
create function hangar.write_mark_functions() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_binding hangar.binding;
  v_bound record;
  v_users record;
  v_user text;
  v_values text;
  -- The first line tells plpgsql_check (`supabase db lint`) that the transition tables exist.
  v_body constant text := $body$
-- @plpgsql_check_options: oldtable = old_rows, newtable = new_rows
declare
  v_users uuid[];
begin
  begin
    %s
    if v_users is null then
      return null;
    end if;
    insert into hangar.marks (user_id, marked_at) select u, t.at from unnest(v_users) u cross join (select hangar.now() as at) t;
  exception
    when others then
      raise log 'hangar: the changed users are not known: %% (%%). Hangar looks at every user', sqlerrm, sqlstate;
      v_users := null;
      insert into hangar.marks (user_id) values (null);
  end;
  perform hangar.wake_up(v_users);
  return null;
exception
  when others then
    raise log 'hangar: not marked: %% (%%). The next sweep finds the change', sqlerrm, sqlstate;
    return null;
end;
$body$;
  -- Which users a statement concerns: all of its rows, and of an update those whose values have changed.
  v_collect constant text := $collect$case tg_op
      when 'INSERT' then select array_agg(distinct %1$s) into v_users from new_rows h where %1$s is not null;
      when 'DELETE' then select array_agg(distinct %1$s) into v_users from old_rows h where %1$s is not null;
      when 'UPDATE' then
        select array_agg(distinct x.u) into v_users
          from ((select %2$s from new_rows h except select %2$s from old_rows h)
                union all (select %2$s from old_rows h except select %2$s from new_rows h)) x
         where x.u is not null;
      else
        raise exception 'the table was truncated';
    end case;$collect$;
begin
  select b.* into v_binding from hangar.binding b;
  if v_binding.kind = 'table' then
    select b.* into v_bound from hangar.bound_expressions(v_binding.source_oid, v_binding.columns) b;
    v_user := hangar.as_uuid(v_binding.source_oid, v_bound.user_id);
    v_values := format('%s as u, (%s)::text, (%s)::text, (%s)::text', v_user, v_bound.tier, v_bound.status, v_bound.ends_at);
    perform hangar.write_function('mark_subscriptions', '', 'trigger', format(v_body, format(v_collect, v_user, v_values)), 'security definer set lock_timeout = ''200ms''');
  end if;
  -- The trigger of the tables that a bound function reads: which users changed is not known, so every user is looked at.
  if v_binding.kind = 'function' then
    perform hangar.write_function('mark_everybody', '', 'trigger', format(v_body,
      'insert into hangar.marks (user_id) values (null); perform hangar.wake_up(null); return null;'), 'security definer set lock_timeout = ''200ms''');
  end if;
  if v_binding.kind is not null then
    select u.* into v_users from hangar.users_table(v_binding.users) u;
    v_user := hangar.as_uuid(v_users.relation, v_users.id);
    v_values := format('%s as u%s', v_user, coalesce(', ' || v_users.deleted_at, ''));
    perform hangar.write_function('mark_users', '', 'trigger', format(v_body, format(v_collect, v_user, v_values)), 'security definer set lock_timeout = ''200ms''');
  end if;
end
$$;

-- The statement-level triggers of one table: a trigger with transition tables may serve one event only.
create function hangar.create_mark_triggers(p_relation oid, p_function text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_event record;
begin
  for v_event in
    select * from (values ('insert', 'referencing new table as new_rows'), ('update', 'referencing old table as old_rows new table as new_rows'),
                          ('delete', 'referencing old table as old_rows'), ('truncate', '')) e (event, tables)
     where not exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = p_relation and t.tgname = 'hangar_mark_' || e.event)
  loop
    execute format('create trigger hangar_mark_%s after %1$s on %s %s for each statement execute function hangar.%s()',
                   v_event.event, p_relation::regclass, v_event.tables, p_function);
  end loop;
end
$$;

-- Drops all triggers but those of these tables.
create function hangar.drop_mark_triggers(p_subscriptions oid default null, p_users oid default null, p_watched oid[] default '{}') returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_trigger record;
begin
  for v_trigger in
    select t.tgname, t.tgrelid::regclass as relation, p.proname
      from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'hangar' and p.proname in ('mark_subscriptions', 'mark_users', 'mark_everybody')
       and case p.proname when 'mark_subscriptions' then t.tgrelid is distinct from p_subscriptions
                          when 'mark_users' then t.tgrelid is distinct from p_users else t.tgrelid <> all (p_watched) end
       and not t.tgisinternal and t.tgparentid = 0
  loop
    begin
      execute format('drop trigger if exists %I on %s', v_trigger.tgname, v_trigger.relation);
    exception
      -- auth.users belongs to another role. A function may be dropped with its triggers by the function's owner; the binding writes it again.
      when insufficient_privilege then
        execute format('drop function if exists hangar.%I() cascade', v_trigger.proname);
    end;
  end loop;
end
$$;

-- Creates the triggers that are missing. Returns why changes cannot be marked, or null. Without triggers (a view, a foreign table, a
-- function, a table of users that belongs to somebody else) changes are found by looking at every user each minute.
create function hangar.ensure_mark_triggers() returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_binding hangar.binding;
  v_users oid;
begin
  select b.* into v_binding from hangar.binding b;
  if v_binding.kind is null then
    return null;
  end if;
  perform hangar.write_mark_functions();
  select u.relation into v_users from hangar.users_table(v_binding.users) u;
  begin
    if (select c.relkind from pg_catalog.pg_class c where c.oid = v_users) in ('r', 'p') then
      perform hangar.create_mark_triggers(v_users, 'mark_users');
    end if;
  exception
    when insufficient_privilege or lock_not_available or object_not_in_prerequisite_state or wrong_object_type then
      raise notice 'Hangar: changes of % are found by sweeps only (%)', v_users::regclass, sqlerrm;
  end;
  if v_binding.kind <> 'table' then
    perform hangar.watch_tables(v_binding.watched);
    return case when not hangar.is_watching(v_binding.watched) then format('%s is a function', v_binding.source) end;
  elsif (select c.relkind from pg_catalog.pg_class c where c.oid = v_binding.source_oid) not in ('r', 'p') then
    return format('%s is not a table', v_binding.source);
  end if;
  perform hangar.create_mark_triggers(v_binding.source_oid, 'mark_subscriptions');
  return null;
exception
  when insufficient_privilege or lock_not_available or object_not_in_prerequisite_state or wrong_object_type then
    return sqlerrm;
end
$$;

create function hangar.record_binding(p_from jsonb) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_to jsonb := (select to_jsonb(b) - 'only_row' - 'bound_at' - 'source_oid' from hangar.binding b);
begin
  if p_from - 'bound_at' is distinct from v_to then
    insert into public.user_fly_app_events (event_type, status, metadata)
    values ('settings_changed', 'info', hangar.actor_json() || jsonb_build_object('changes',
      jsonb_build_object('binding', jsonb_build_object('from', p_from, 'to', v_to))));
  end if;
  -- Whoever has an app, or should get one now, is looked at under the new binding.
  insert into hangar.marks (user_id) select null::uuid from hangar.settings g
   where g.live or exists (select 1 from public.user_fly_apps a where a.deleted_at is null);
  return v_to;
end
$$;

create function hangar.store_binding(p_kind text, p_source text, p_oid oid, p_columns jsonb, p_users jsonb, p_watched text[] default '{}') returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_before jsonb := (select to_jsonb(b) - 'only_row' - 'bound_at' - 'source_oid' from hangar.binding b);
  v_polled text;
  v_unreadable text;
begin
  if p_users is null or jsonb_typeof(p_users) <> 'object' then
    perform hangar.refuse_binding('p_users must be a JSON object, for example {"table": "public.profiles", "id": "id", "email": "email"}');
  end if;
  p_users := hangar.record_users(p_users);
  insert into hangar.binding (kind, source, source_oid, columns, users, watched)
  values (p_kind, p_source, p_oid, p_columns, p_users, p_watched)
  on conflict (only_row) do update set kind = excluded.kind, source = excluded.source, source_oid = excluded.source_oid,
    columns = excluded.columns, users = excluded.users, watched = excluded.watched, bound_at = hangar.now(), bound_by = session_user;
  update hangar.host_state set json_keys = '{}' where only_row and json_keys <> '{}';  -- of the binding before
  perform hangar.write_host_functions();
  v_unreadable := hangar.explain_unreadable_host();
  if v_unreadable is not null then
    perform hangar.refuse_binding(format('%s cannot be read: %s', p_source, v_unreadable));
  end if;
  perform hangar.note_json_keys();
  perform hangar.drop_mark_triggers(case when p_kind = 'table' then p_oid end, (select u.relation from hangar.users_table(p_users) u),
                                    array(select to_regclass(w)::oid from unnest(p_watched) w));
  v_polled := hangar.ensure_mark_triggers();
  return hangar.record_binding(v_before) || jsonb_build_object('polled', v_polled);
end
$$;

create function hangar.bind_subscriptions(p_table regclass, p_columns jsonb default '{}', p_users jsonb default '{}') returns jsonb
language plpgsql volatile set search_path = ''
as $$
begin
  if p_table is null then
    perform hangar.refuse_binding('p_table must name the table of subscriptions');
  elsif (select c.relkind from pg_catalog.pg_class c where c.oid = p_table) not in ('r', 'p', 'v', 'm', 'f') then
    perform hangar.refuse_binding(format('%s is not a table or view', p_table));
  end if;
  perform hangar.bound_expressions(p_table, p_columns);
  if not p_columns ? 'ends_at' then
    -- On record as it is today: a host that renames or drops expires_at later has not become a host without ends.
    p_columns := p_columns || jsonb_build_object('ends_at', case when exists (select 1 from pg_catalog.pg_attribute a
      where a.attrelid = p_table and a.attname = 'expires_at' and not a.attisdropped) then '"expires_at"'::jsonb else '{"value": null}' end);
  end if;
  return hangar.store_binding('table', (select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = p_table), p_table, p_columns, p_users);
end
$$;
comment on function hangar.bind_subscriptions(regclass, jsonb, jsonb) is 'Tells Hangar which table of the host holds the subscriptions. Run it as the database owner; safe to repeat. docs/host-binding.md.';

create function hangar.bind_function(p_function regprocedure, p_users jsonb default '{}', p_watch regclass[] default '{}') returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_watched text[];
  v_wrong text;
begin
  if p_function is null then
    perform hangar.refuse_binding('p_function must name a function, for example ''public.my_subscriptions()''');
  end if;
  select array_agg(format('%I.%I', n.nspname, c.relname) order by n.nspname, c.relname),
         string_agg(c.oid::regclass::text, ', ') filter (where c.relkind not in ('r', 'p'))
    into v_watched, v_wrong
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = any (p_watch::oid[]);
  if v_wrong is not null then
    perform hangar.refuse_binding(format('p_watch names %s, which is not a table', v_wrong),
      'Name the tables that the function reads, or leave p_watch out: Hangar then looks at every user each minute.');
  end if;
  return hangar.store_binding('function', p_function::text, p_function, '{}', p_users,
    coalesce(v_watched, '{}'));
end
$$;
comment on function hangar.bind_function(regprocedure, jsonb, regclass[]) is 'Tells Hangar which function of the host returns the subscriptions (user_id, tier, status, ends_at), and optionally which tables it reads. Run it as the database owner; safe to repeat. docs/host-binding.md.';

create function hangar.unbind() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_before jsonb := (select to_jsonb(b) - 'only_row' - 'bound_at' - 'source_oid' from hangar.binding b);
begin
  perform hangar.drop_mark_triggers();
  delete from hangar.binding where only_row;
  perform hangar.write_host_functions();
  perform hangar.record_binding(v_before);
end
$$;
comment on function hangar.unbind() is 'Undoes the binding: Hangar then changes nobody, and nothing of Hangar is left on the host''s tables.';

select hangar.restrict_functions();
