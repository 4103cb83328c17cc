-- Erasing a person, for `hangar user erase`: what is only about the person is deleted; what Hangar must keep (the log, money, the proof
-- that an app was Hangar's) keeps a pseudonym instead of the user's id, and no e-mail address. docs/erasure.md.
-- Builds on: erasure_tables, entitlement, archive, doctor_rights (our tables).

-- Which of our tables are treated otherwise than the rest. In every other table, also one that a later version adds, each uuid, text and
-- JSON column loses the user's id and e-mail address.
create function hangar.erasure_rules() returns table (place text, rule text, why text)
language sql immutable set search_path = ''
as $$
  values
    ('hangar.user_specs', 'delete', 'what a release has given the user'),
    ('hangar.user_pins', 'delete', 'what an operator has fixed for the user'),
    ('hangar.user_secrets', 'delete', 'names of secrets, which Fly has no more'),
    ('hangar.token_revocations', 'delete', 'every token from before the erasure is refused anyway'),
    ('hangar.host_losses', 'delete', 'a loss of entitlement that waits for an operator'),
    ('hangar.marks', 'delete', 'the user''s subscription is read again by a sweep'),
    ('public.fly_overrides', 'delete', 'an operator''s decision about the user'),
    ('public.user_fly_app_events', 'log', 'pseudonymised row by row, because the log is large'),
    ('public.fly_cost_intervals', 'owner', 'it has no text; found by the index on the user'),
    ('hangar.erased_users', 'keep', 'pseudonyms and hashes'),
    ('hangar.archive_batches', 'keep', 'the record of the archive, which holds no user'),
    ('hangar.schema_migrations', 'keep', 'about the schema'),
    ('hangar.recorded_shape', 'keep', 'about the schema'),
    ('hangar.settings', 'keep', 'configuration'),
    ('hangar.binding', 'keep', 'configuration'),
    ('hangar.status_rules', 'keep', 'configuration'),
    ('hangar.region_capacity', 'keep', 'about Fly''s regions'),
    ('hangar.alert_destinations', 'keep', 'configuration'),
    ('public.fly_plans', 'keep', 'configuration'),
    -- What machines of other users run with must not change because somebody is erased.
    ('hangar.releases.env', 'keep', 'configuration of many users'),
    ('hangar.user_specs.env', 'keep', 'configuration of another user'),
    ('hangar.user_pins.env', 'keep', 'configuration of another user'),
    ('hangar.release_targets.previous', 'keep', 'configuration of another user')
$$;

create function hangar.erasure_tables() returns table (relation regclass, name text, rule text)
language sql stable set search_path = ''
as $$
  select r.relation::regclass, r.name, coalesce(e.rule, 'pseudonym')
    from hangar.doctor_relations() r left join hangar.erasure_rules() e on e.place = r.name where r.is_table
$$;

-- JSON as text, with the character 1 behind each escape. JSON never contains it, so \tom@x.test, a tab and om@x.test, is not taken for tom@x.test.
create function hangar.mark_escapes(p_json text) returns text
language sql immutable set search_path = ''
as $$
  select case when pg_catalog.strpos(p_json, '\') = 0 then p_json
              else pg_catalog.regexp_replace(p_json, '\\(?:u[0-9a-fA-F]{4}|[^u])', '\&' || pg_catalog.chr(1), 'g') end
$$;

-- An address as a regular expression that does not match within a longer address. Null if it is no address that could be searched for.
-- A text may hold JSON or a URL: the address also begins behind an escape (\n, \u003c, %3C), and signs in it may be encoded (%40).
create function hangar.email_pattern(p_email text) returns text
language sql immutable set search_path = ''
as $$
  select case when p_email ~ '^[^\s"\\@]+@[^\s"\\@]+$' then
    '(?:(?<![[:alnum:]._%+-])|(?<=\\\x01?(?:[nrtbf]|u[0-9a-f]{4})|%[0-9a-f]{2}))' ||
    (select pg_catalog.string_agg(case when c ~ '[A-Za-z0-9]' then c else
              '(?:' || pg_catalog.regexp_replace(c, '([^[:alnum:]])', '\\\1') || '|'
                || pg_catalog.regexp_replace(pg_catalog.encode(pg_catalog.convert_to(c, 'UTF8'), 'hex'), '(..)', '%\1', 'g') || ')' end, '' order by nr)
       from pg_catalog.regexp_split_to_table(p_email, '') with ordinality x (c, nr)) ||
    '(?![[:alnum:]-]|\.[[:alnum:]])' end
$$;

-- The addresses of a person that texts are searched for: the host's, and one that the operator names.
create function hangar.searched_emails(p_user uuid, p_email text) returns text[]
language plpgsql stable set search_path = ''
as $$
begin
  return array(select distinct lower(btrim(e)) from unnest(array[p_email, hangar.user_email(p_user)]) e where hangar.email_pattern(btrim(e)) is not null order by 1);
end
$$;

create function hangar.erase_text(p_text text, p_user uuid, p_pseudonym uuid, p_email_pattern text) returns text
language sql immutable set search_path = ''
as $$
  select pg_catalog.regexp_replace(pg_catalog.regexp_replace(p_text, p_user::text, p_pseudonym::text, 'gi'), coalesce(p_email_pattern, '(?!)'), '(erased)', 'gi')
$$;

create function hangar.erase_json(p_json text, p_user uuid, p_pseudonym uuid, p_email_pattern text) returns text
language sql immutable set search_path = ''
as $$
  select pg_catalog.replace(hangar.erase_text(hangar.mark_escapes(p_json), p_user, p_pseudonym, p_email_pattern), pg_catalog.chr(1), '')
$$;

-- The columns of the log that Hangar knows. In a table of the original system the host may have added others.
create function hangar.event_columns() returns text[]
language sql immutable set search_path = ''
as $$
  select array['id', 'fly_app_id', 'user_id', 'event_type', 'status', 'metadata', 'error_details', 'created_at', 'seq']
$$;

-- The columns that may name a person, also those that the host has added to a table of the original system. `kind` says how each is changed.
-- A domain counts as its base type. `kept`: the column cannot be changed, because a foreign key needs the value or its type takes no other
-- text; `find_remains` names it.
create function hangar.erasable_columns(p_table regclass, p_name text, p_except text[])
returns table (attname name, type text, kind text, is_key boolean)
language sql stable set search_path = ''
as $$
  select c.attname, c.type, c.kind, c.is_key
    from (
      select a.attname, a.attnum, b.typname, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, f.is_key, case
               when f.is_key then case when (b.typname = 'uuid' or b.typcategory = 'S') and not a.attnotnull then 'reference' else 'kept' end
               when b.typname = 'uuid' then 'uuid' when b.typname = '_uuid' then 'uuids'
               when b.typname in ('json', 'jsonb') then 'json'
               when b.typcategory = 'S' or b.typname in ('hstore', 'xml') or e.typcategory = 'S' or e.typname in ('json', 'jsonb', 'hstore', 'xml') then 'text'
               when b.typcategory not in ('B', 'N', 'D', 'T', 'G', 'I', 'V', 'R') then 'kept' end as kind
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        join pg_catalog.pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
        left join pg_catalog.pg_type e on e.oid = b.typelem and b.typcategory = 'A'
        cross join lateral (select exists (select 1 from pg_catalog.pg_constraint k
                              where k.conrelid = p_table and k.contype = 'f' and a.attnum = any (k.conkey)) as is_key) f
       where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attname <> all (p_except)) c
   where c.kind is not null
     and not exists (select 1 from hangar.erasure_rules() r where r.place = p_name || '.' || c.attname)
     -- A key of our own, made from no person. A user's id as the key is refused or deleted before.
     and not exists (select 1 from pg_catalog.pg_index i
                      where i.indrelid = p_table and i.indisprimary and c.attnum = any (i.indkey::smallint[]) and c.typname = 'uuid')
$$;

-- The assignments that replace the id ($1 by $2) and the address ($3) in the columns of a table, and the texts that are searched. A column
-- whose foreign key would refuse the pseudonym becomes null.
create function hangar.erasing_columns(p_table regclass, p_name text, p_except text[], out sets text, out texts text)
language sql stable set search_path = ''
as $$
  select string_agg(format(case c.kind
           when 'uuid' then '%1$I = case when t.%1$I = $1 then $2 else t.%1$I end'
           when 'reference' then '%1$I = case when t.%1$I::text ~* concat_ws(''|'', $1::text, $3) then null else t.%1$I end'
           when 'uuids' then '%1$I = array_replace(t.%1$I, $1, $2)'
           when 'json' then '%1$I = hangar.erase_json(t.%1$I::text, $1, $2, $3)::%2$s'
           else '%1$I = hangar.erase_text(t.%1$I::text, $1, $2, $3)::%2$s' end, c.attname, c.type), ', '),
         string_agg(format(case c.kind when 'json' then 'hangar.mark_escapes(t.%I::text)' else 't.%I::text' end, c.attname), ', ')
    from hangar.erasable_columns(p_table, p_name, p_except) c where c.kind <> 'kept'
$$;

-- The assignments for the columns that the host has added to the log; null if none of them can name a person.
create function hangar.erasing_added_columns() returns text
language sql stable set search_path = ''
as $$
  select c.sets from hangar.erasing_columns('public.user_fly_app_events', 'public.user_fly_app_events', hangar.event_columns()) c
$$;

-- Whether the log has columns of the host that could hold a person, so that they must be searched.
create function hangar.has_added_columns() returns boolean
language sql stable set search_path = ''
as $$
  select exists (select 1 from hangar.erasable_columns('public.user_fly_app_events', 'public.user_fly_app_events', hangar.event_columns()))
$$;

-- An entry of the log as the text that is searched. Added columns make it slow.
create function hangar.event_text(p_event public.user_fly_app_events, p_added boolean) returns text
language sql stable set search_path = ''
as $$
  select concat_ws(E'\n', p_event.user_id, hangar.mark_escapes(p_event.metadata::text), p_event.error_details,
                   case when p_added then hangar.mark_escapes((to_jsonb(p_event) - hangar.event_columns())::text) end)
$$;

-- One table: replaces id and address in every column that can hold them, and returns the number of rows that had them.
create function hangar.erase_in_table(p_table regclass, p_name text, p_user uuid, p_pseudonym uuid, p_email_pattern text) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  v_columns record := hangar.erasing_columns(p_table, p_name, '{}');
  v_changed bigint;
begin
  if v_columns.sets is null then
    return 0;
  end if;
  execute format('update %s t set %s where concat_ws(%L, %s) ~* $4', p_table, v_columns.sets, E'\n', v_columns.texts)
    using p_user, p_pseudonym, p_email_pattern, concat_ws('|', p_user::text, p_email_pattern);
  get diagnostics v_changed = row_count;
  return v_changed;
end
$$;

-- The log: the user's own events, those of the user's apps, and events of others that name the user (p_mentions, and all after p_read_to,
-- which the caller has not searched). What operators wrote about the user, and the commands that they ran, are free text and go whole.
-- The metadata of an entry of the original system may be a list or a plain value.
create function hangar.erase_events(
  p_user uuid, p_pseudonym uuid, p_email_pattern text, p_mentions bigint[], p_read_to bigint
) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  v_pattern text := concat_ws('|', p_user::text, p_email_pattern);
  v_rows uuid[] := array(select a.id from public.user_fly_apps a where a.user_id in (p_user, p_pseudonym));
  v_added text := hangar.erasing_added_columns();
  v_search boolean := hangar.has_added_columns();
  v_found bigint[];
begin
  v_found := array(
    select o.seq from public.user_fly_app_events o where o.user_id = p_user
    union select o.seq from public.user_fly_app_events o where o.fly_app_id = any (v_rows) and hangar.event_text(o, v_search) ~* v_pattern
    -- Rows that were written at the same time as those that were searched may have committed later.
    union select o.seq from public.user_fly_app_events o
           where (o.seq > p_read_to - 1000 or o.seq = any (p_mentions)) and hangar.event_text(o, v_search) ~* v_pattern);
  update public.user_fly_app_events e
     set user_id = case when e.user_id = p_user then p_pseudonym else e.user_id end,
         metadata = hangar.erase_json((case when (e.user_id = p_user or e.fly_app_id = any (v_rows)) and jsonb_typeof(e.metadata) = 'object' then
           e.metadata || (select coalesce(jsonb_object_agg(k, '(erased)'), '{}') from jsonb_object_keys(e.metadata) k where k in ('reason', 'command'))
           else e.metadata end)::text, p_user, p_pseudonym, p_email_pattern)::jsonb,
         error_details = case when e.event_type = 'command_run' and (e.user_id = p_user or e.fly_app_id = any (v_rows)) then '(erased)'
                              else hangar.erase_text(e.error_details, p_user, p_pseudonym, p_email_pattern) end
   where e.seq = any (v_found);
  if v_added is not null then
    execute format('update public.user_fly_app_events t set %s where t.seq = any ($4)', v_added)
      using p_user, p_pseudonym, p_email_pattern, v_found;
  end if;
  return cardinality(v_found);
end
$$;

-- Why this person cannot be erased now: [{"code", "message"}], each with what to do first.
create function hangar.explain_refused_erasure(p_user uuid) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_app text := (select a.fly_app_name from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null);
  v_legacy boolean := exists (select 1 from public.user_fly_apps a where a.user_id = p_user and a.desired_state = 'legacy');
  v_orphan text := (select min(o.app) from public.fly_orphans o where o.user_id = p_user);
  v_want hangar.entitlement;
  v_pays boolean := exists (select 1 from hangar.judge_subscriptions(hangar.try_read_subscriptions(array[p_user])) j where j.verdict);
  v_release integer;
  v_secret text;
begin
  select e.* into v_want from hangar.entitlements(array[p_user]) e;
  select min(t.release_id) into v_release from hangar.release_targets t join hangar.releases r on r.id = t.release_id
   where t.user_id = p_user and r.state in ('rolling', 'paused', 'rolling_back') and (t.state in ('applying', 'verifying') or t.must_go_back);
  select min(s.name) into v_secret from hangar.user_secrets s
   where s.user_id = p_user and (s.lost_at is null and exists (select 1 from public.user_fly_apps a where a.id = s.row_id and a.deleted_at is null)
                                 or s.state <> 'set' and s.requested_at > hangar.now() - interval '10 minutes');
  return (select coalesce(jsonb_agg(jsonb_build_object('code', x.code, 'message', x.message) order by x.nr), '[]') from (values
    (1, 'entitled', v_want.entitled, 'the user is entitled to an app (%s), so Hangar would create one again. End the subscription in the host''s table, and '
      'wait until the app is deleted', v_want.why),
    -- Erasing deletes the override.
    (1, 'denied', v_want.why = 'override_deny' and v_pays, 'only an override denies the user an app, and erasing deletes it. End the subscription in the '
      'host''s table first', null),
    (2, 'unknown', v_want.entitled is null and v_want.why is distinct from 'not_bound', 'it is not known whether the user is entitled (%s). Correct that first; '
      '`hangar doctor` names the cause', v_want.why),
    (3, 'app', v_app is not null, case when v_legacy then 'the user has the app %s of the original system, and Hangar removes none of those before an '
      'operator has decided about it. Run `hangar adopt` for the user first' else 'the user has the app %s. Wait until Hangar has deleted it at Fly; '
      '`hangar status` shows what it waits for' end, v_app),
    (4, 'orphan', v_orphan is not null, 'the app %s of the user may still exist at Fly without a row. Approve its removal with `hangar orphans` first', v_orphan),
    (5, 'secret', v_secret is not null, 'the secret %s of the user is at Fly, or a call about it has not ended. Remove it with `hangar user secret`, or wait '
      'until the app is deleted', v_secret),
    (6, 'release', v_release is not null, 'release %s moves the user''s app now. Wait until it is over, or abort it', v_release::text),
    (7, 'operator', exists (select 1 from hangar.operators o where o.user_id = p_user), 'the user is an operator of Hangar. Run `hangar operators remove` first', null)
    ) f (nr, code, applies, form, value) cross join lateral (select f.nr, f.code, format(f.form, f.value) as message) x where f.applies);
end
$$;

-- Whether a batch that is on its way to the bucket would no longer hold the rows for which it was planned.
create function hangar.find_disturbed_batch() returns hangar.archive_batches
language sql volatile set search_path = ''
as $$
  select b.* from hangar.archive_batches b cross join lateral hangar.archive_content(b.source, b.seqs, b.columns) c
   where b.state <> 'deleted' and c.sha256 <> b.content_sha256 order by b.source limit 1
$$;

-- Erases the person in this transaction. Returns what was done, as [{"table", "what", "rows"}].
create function hangar.erase_person(p_user uuid, p_pseudonym uuid, p_email_pattern text, p_mentions bigint[], p_read_to bigint) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_done jsonb := jsonb_build_array();
  v_table record;
  v_rows bigint;
begin
  -- Open alerts about the user have no app any more. Their last message is sent with the pseudonym.
  update hangar.alerts a set resolved_at = hangar.now() where a.resolved_at is null and (a.key = p_user::text or a.metadata ->> 'user_id' = p_user::text);
  update hangar.release_targets t set previous = t.previous - 'given' where t.user_id = p_user and t.previous ? 'given';
  -- The log comes last, because triggers of other tables write their old values into it.
  for v_table in select t.* from hangar.erasure_tables() t where t.rule <> 'keep' order by t.rule = 'log', t.name loop
    if v_table.rule = 'delete' then
      execute format('delete from %s where user_id = $1', v_table.relation) using p_user;
      get diagnostics v_rows = row_count;
      v_done := v_done || case when v_rows > 0 then jsonb_build_object('table', v_table.name, 'what', 'deleted', 'rows', v_rows) else '[]' end;
    end if;
    if v_table.rule = 'log' then
      v_rows := hangar.erase_events(p_user, p_pseudonym, p_email_pattern, p_mentions, p_read_to);
    elsif v_table.rule = 'owner' then
      execute format('update %s set user_id = $2 where user_id = $1', v_table.relation) using p_user, p_pseudonym;
      get diagnostics v_rows = row_count;
    else
      v_rows := hangar.erase_in_table(v_table.relation, v_table.name, p_user, p_pseudonym, p_email_pattern);
    end if;
    v_done := v_done || case when v_rows > 0 then jsonb_build_object('table', v_table.name, 'what', 'pseudonymised', 'rows', v_rows) else '[]' end;
  end loop;
  return v_done;
end
$$;

select hangar.restrict_functions();
