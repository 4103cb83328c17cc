-- The procedures behind `hangar user erase`.
-- Builds on: user_erase.

-- Reads the log in pages, so that no call takes longer than a statement may: which rows name the person.
create function public.fly_search_log(p_user uuid, p_email text default null, p_after bigint default 0, p_limit integer default 20000) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_pattern text := concat_ws('|', p_user::text, (select string_agg(hangar.email_pattern(e), '|') from unnest(hangar.searched_emails(p_user, p_email)) e));
  v_added boolean := hangar.has_added_columns();
begin
  perform hangar.check_limit('p_limit', p_limit, 50000);
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  return (select jsonb_build_object('mentions', coalesce(jsonb_agg(e.seq::text order by e.seq) filter (where e.text ~* v_pattern), '[]'),
                                    'last', max(e.seq)::text, 'read', count(*))
            from (select x.seq, hangar.event_text(x, v_added) as text from public.user_fly_app_events x where x.seq > p_after order by x.seq limit p_limit) e);
end
$$;
comment on function public.fly_search_log(uuid, text, bigint, integer) is 'Which events of a page of the log name a person, by id or e-mail address. docs/database.md.';

-- What to do first about rows of the person that are on their way to the archive. A batch that its retention holds is finished with the
-- largest retention under which it is still due.
create function hangar.explain_disturbed_batch(p_batch hangar.archive_batches) returns text
language sql volatile set search_path = ''
as $$
  select format('rows of the user (%s) are on their way to the archive. ', p_batch.source) ||
    case when coalesce(hangar.retention_cutoff(p_batch.source) >= p_batch.cutoff - interval '1 hour', false) then 'Finish that with `hangar archive run` first'
         else format('Their retention was raised or removed meanwhile, so they stay. Set %1$s_retention_days to %2$s, run `hangar archive run --source %1$s '
                '--max-batches 1`, and set it back', p_batch.source,
                floor(extract(epoch from least(hangar.now(), (select max(e.created_at) from public.user_fly_app_events e)) - p_batch.cutoff + interval '1 hour') / 86400)) end
$$;

-- Without p_apply it does everything and takes it back, so that a dry run shows exactly what would happen.
create function public.fly_erase_user(
  p_user uuid, p_actor text, p_reason text, p_email text default null, p_mentions jsonb default '[]', p_read_to bigint default 0, p_apply boolean default false
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_emails text[] := hangar.searched_emails(p_user, p_email);
  v_pattern text := (select string_agg(hangar.email_pattern(e), '|') from unnest(v_emails) e);
  v_known hangar.erased_users;
  v_refusals jsonb;
  v_done jsonb;
  v_remains jsonb := jsonb_build_array();
  v_batch hangar.archive_batches;
  v_where text;
  v_money jsonb;
  v_applied boolean := false;
begin
  perform hangar.require_actor(p_actor);
  if p_user is null or p_mentions is null or jsonb_typeof(p_mentions) <> 'array' then
    raise exception 'p_user must be a uuid and p_mentions a JSON array of numbers' using errcode = 'invalid_parameter_value';
  elsif p_apply and coalesce(btrim(p_reason), '') = '' then
    raise exception 'erasing a person needs a reason' using errcode = 'invalid_parameter_value';
  elsif p_email is not null and hangar.email_pattern(btrim(p_email)) is null then
    raise exception 'p_email must be an e-mail address, not %', left(p_email, 80) using errcode = 'invalid_parameter_value';
  elsif exists (select 1 from hangar.erased_users u where u.pseudonym = p_user) then
    raise exception '% is the pseudonym of a person who was erased already', p_user using errcode = 'PT409';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('hangar.archive', 0));
  v_refusals := hangar.explain_refused_erasure(p_user);
  v_money := (select jsonb_build_object('intervals', count(*), 'usd', coalesce(round(sum(c.price_usd_per_s * extract(epoch from coalesce(c.ended_at, hangar.now()) - c.started_at)), 6), 0)::text)
                from public.fly_cost_intervals c where c.user_id = p_user);
  begin
    insert into hangar.erased_users as u (user_hash, email_hashes, erasing_in)
    values (hangar.user_hash(p_user::text), array(select hangar.email_hash(p_user, e) from unnest(v_emails) e), pg_current_xact_id())
    on conflict (user_hash) do update set erased_at = hangar.now(), erasing_in = excluded.erasing_in,
      email_hashes = array(select distinct h from unnest(u.email_hashes || excluded.email_hashes) h order by h)
    returning u.* into v_known;
    v_done := hangar.erase_person(p_user, v_known.pseudonym, v_pattern, array(select m::bigint from jsonb_array_elements_text(p_mentions) m), p_read_to);
    v_remains := hangar.find_remains(p_user, v_known.pseudonym, v_pattern, array(select m::bigint from jsonb_array_elements_text(p_mentions) m), p_read_to);
    v_batch := hangar.find_disturbed_batch();
    if v_batch.id is not null then
      v_refusals := v_refusals || jsonb_build_object('code', 'archiving', 'message', hangar.explain_disturbed_batch(v_batch));
    end if;
    if exists (select 1 from public.user_fly_apps a where a.user_id = v_known.pseudonym and a.deleted_at is null) and v_refusals = '[]' then
      raise exception 'the user was given an app at this moment; nothing was changed' using errcode = 'PT409';
    end if;
    if not p_apply or v_refusals <> '[]' or v_done = '[]' then
      raise exception 'take it back' using errcode = 'HGDRY';
    end if;
    update hangar.erased_users u set erasing_in = null where u.user_hash = v_known.user_hash;
    insert into public.user_fly_app_events (user_id, event_type, status, metadata)
    values (v_known.pseudonym, 'user_erased', 'info', jsonb_build_object('rows', (select sum((d ->> 'rows')::bigint) from jsonb_array_elements(v_done) d),
      'actor', hangar.erase_text(p_actor, p_user, v_known.pseudonym, v_pattern), 'reason', hangar.erase_text(left(p_reason, 500), p_user, v_known.pseudonym, v_pattern)));
    v_applied := true;
  exception
    when sqlstate 'HGDRY' then
      null;
    -- A constraint of the host on a column that it has added, for example a check or a unique index. Then nothing is erased.
    when integrity_constraint_violation or data_exception then
      get stacked diagnostics v_where = table_name;
      v_refusals := v_refusals || jsonb_build_object('code', 'column', 'message', format('a constraint of yours%s refuses the pseudonym: %s. Clear the '
        'column for this person first', case when v_where <> '' then ' on the table ' || v_where else '' end, hangar.erase_text(sqlerrm, p_user, v_known.pseudonym, v_pattern)));
      v_done := coalesce(v_done, '[]');
  end;
  if p_apply and v_refusals <> '[]' then
    raise exception 'nothing was erased: %', (select string_agg(r ->> 'message', '. Also, ') from jsonb_array_elements(v_refusals) r) using errcode = 'PT409';
  end if;
  return jsonb_build_object('user_id', p_user, 'email', coalesce(hangar.user_email(p_user), v_emails[1]), 'searched', v_emails, 'applied', v_applied,
    'pseudonym', case when v_applied or exists (select 1 from hangar.erased_users u where u.user_hash = v_known.user_hash) then v_known.pseudonym end,
    'changes', v_done, 'remains', v_remains, 'refusals', v_refusals, 'money', v_money,
    'archived_rows', (select coalesce(sum(b.rows), 0)::text from hangar.archive_batches b where b.state <> 'planned'));
end
$$;
comment on function public.fly_erase_user(uuid, text, text, text, jsonb, bigint, boolean) is 'Erases a person in one transaction; without p_apply only shows what that would do. docs/database.md.';

create function public.fly_erased_users(p_after text default '', p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  return jsonb_build_object('installation_id', (select g.installation_id from hangar.settings g), 'erased', (
    select coalesce(jsonb_agg(jsonb_build_object('user_hash', x.user_hash, 'pseudonym', x.pseudonym, 'email_hashes', x.email_hashes, 'erased_at', x.erased_at) order by x.user_hash), '[]')
      from (select u.* from hangar.erased_users u where u.user_hash > p_after order by u.user_hash limit p_limit) x));
end
$$;
comment on function public.fly_erased_users(text, integer) is 'A keyset page of the persons who were erased: hashes and pseudonyms, which the archive keeps beside its objects. docs/database.md.';

select hangar.restrict_functions();
