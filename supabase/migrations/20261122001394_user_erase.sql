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
    ('hangar.marks', 'delete', 'the user''s subscription is read again by a sweep'),
    ('public.fly_overrides', 'delete', 'an operator''s decision about the user'),
    ('public.user_fly_app_events', 'log', 'pseudonymised row by row, because the log is large'),
    ('public.fly_cost_intervals', 'owner', 'it has no text; found by the index on the user'),
    ('hangar.erased_users', 'keep', 'pseudonyms and hashes'),
    ('hangar.archive_batches', 'keep', 'the record of the archive, which holds no user'),
    ('hangar.schema_migrations', 'keep', 'about the schema'),
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

-- An address as a regular expression that does not match within a longer address. Null if it is no address that could be searched for.
create function hangar.email_pattern(p_email text) returns text
language sql immutable set search_path = ''
as $$
  select case when p_email ~ '^[^\s"\\@]+@[^\s"\\@]+$' then
    '(?<![[:alnum:]._%+-])' || pg_catalog.regexp_replace(p_email, '([^[:alnum:]])', '\\\1', 'g') || '(?![[:alnum:]-]|\.[[:alnum:]])' end
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

-- One table: replaces id and address in every column that can hold them, and returns the number of rows that had them.
create function hangar.erase_in_table(p_table regclass, p_name text, p_user uuid, p_pseudonym uuid, p_email_pattern text) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  v_sets text;
  v_texts text;
  v_changed bigint;
begin
  select string_agg(format(case t.typname
           when 'uuid' then '%1$I = case when t.%1$I = $1 then $2 else t.%1$I end'
           when '_uuid' then '%1$I = array_replace(t.%1$I, $1, $2)'
           when '_text' then '%1$I = hangar.erase_text(t.%1$I::text, $1, $2, $3)::text[]'
           when 'jsonb' then '%1$I = hangar.erase_text(t.%1$I::text, $1, $2, $3)::jsonb'
           else '%1$I = hangar.erase_text(t.%1$I, $1, $2, $3)' end, c.attname), ', '),
         string_agg(format('t.%I', c.attname), ', ')
    into v_sets, v_texts
    from pg_attribute c join pg_type t on t.oid = c.atttypid
   where c.attrelid = p_table and c.attnum > 0 and not c.attisdropped and c.attgenerated = '' and t.typname in ('uuid', '_uuid', 'text', '_text', 'jsonb')
     and not exists (select 1 from hangar.erasure_rules() r where r.place = p_name || '.' || c.attname)
     -- A key of our own, made from no person. A user's id as the key is refused or deleted before.
     and not exists (select 1 from pg_index i where i.indrelid = p_table and i.indisprimary and c.attnum = any (i.indkey::smallint[]) and t.typname = 'uuid');
  if v_sets is null then
    return 0;
  end if;
  execute format('update %s t set %s where concat_ws(%L, %s) ~* $4', p_table, v_sets, E'\n', v_texts)
    using p_user, p_pseudonym, p_email_pattern, concat_ws('|', p_user::text, p_email_pattern);
  get diagnostics v_changed = row_count;
  return v_changed;
end
$$;

-- The log: the user's own events, those of the user's apps, and events of others that name the user (p_mentions, and all after p_read_to,
-- which the caller has not searched). What operators wrote about the user, and the commands that they ran, are free text and go whole.
create function hangar.erase_events(
  p_user uuid, p_pseudonym uuid, p_email_pattern text, p_mentions bigint[], p_read_to bigint
) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  v_pattern text := concat_ws('|', p_user::text, p_email_pattern);
  v_rows uuid[] := array(select a.id from public.user_fly_apps a where a.user_id in (p_user, p_pseudonym));
  v_changed bigint;
begin
  update public.user_fly_app_events e
     set user_id = case when e.user_id = p_user then p_pseudonym else e.user_id end,
         metadata = hangar.erase_text((e.metadata || case when e.user_id = p_user or e.fly_app_id = any (v_rows) then
           (select coalesce(jsonb_object_agg(k, '(erased)'), '{}') from jsonb_object_keys(e.metadata) k where k in ('reason', 'command')) else '{}' end)::text,
           p_user, p_pseudonym, p_email_pattern)::jsonb,
         error_details = case when e.event_type = 'command_run' and (e.user_id = p_user or e.fly_app_id = any (v_rows)) then '(erased)'
                              else hangar.erase_text(e.error_details, p_user, p_pseudonym, p_email_pattern) end
   where e.seq in (
     select o.seq from public.user_fly_app_events o where o.user_id = p_user
     union select o.seq from public.user_fly_app_events o where o.fly_app_id = any (v_rows) and concat_ws(E'\n', o.user_id, o.metadata, o.error_details) ~* v_pattern
     -- Rows that were written at the same time as those that were searched may have committed later.
     union select o.seq from public.user_fly_app_events o
            where (o.seq > p_read_to - 1000 or o.seq = any (p_mentions)) and concat_ws(E'\n', o.user_id, o.metadata, o.error_details) ~* v_pattern);
  get diagnostics v_changed = row_count;
  return v_changed;
end
$$;

-- Why this person cannot be erased now: [{"code", "message"}], each with what to do first.
create function hangar.explain_refused_erasure(p_user uuid) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_app text := (select a.fly_app_name from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null);
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
    (3, 'app', v_app is not null, 'the user has the app %s. Wait until Hangar has deleted it at Fly; `hangar status` shows what it waits for', v_app),
    (4, 'orphan', v_orphan is not null, 'the app %s of the user may still exist at Fly without a row. Approve its removal with `hangar orphans` first', v_orphan),
    (5, 'secret', v_secret is not null, 'the secret %s of the user is at Fly, or a call about it has not ended. Remove it with `hangar user secret`, or wait '
      'until the app is deleted', v_secret),
    (6, 'release', v_release is not null, 'release %s moves the user''s app now. Wait until it is over, or abort it', v_release::text),
    (7, 'operator', exists (select 1 from hangar.operators o where o.user_id = p_user), 'the user is an operator of Hangar. Run `hangar operators remove` first', null)
    ) f (nr, code, applies, form, value) cross join lateral (select f.nr, f.code, format(f.form, f.value) as message) x where f.applies);
end
$$;

-- Whether a batch that is on its way to the bucket would no longer hold the rows for which it was planned.
create function hangar.find_disturbed_batch() returns text
language sql volatile set search_path = ''
as $$
  select min(b.source) from hangar.archive_batches b cross join lateral hangar.archive_content(b.source, b.seqs) c
   where b.state <> 'deleted' and c.sha256 <> b.content_sha256
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
  update hangar.release_targets t set previous = t.previous - 'env' where t.user_id = p_user and t.previous ? 'env';
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
