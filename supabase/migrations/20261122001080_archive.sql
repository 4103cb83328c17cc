-- The archive: which rows are older than their retention, and how a batch of them is planned, read, recorded and at last deleted.
-- The command `hangar archive run` carries each batch to the bucket between these steps.
-- Builds on: archive_tables, log_state, settings, access (the actor).

-- Older rows may leave the database; null: the rows are kept for ever. The time counts back from the newest event, so that a clock
-- that jumped ahead does not make everything old at once.
create function hangar.retention_cutoff(p_source text) returns timestamptz
language sql volatile set search_path = ''
as $$
  select least(hangar.now(), (select max(e.created_at) from public.user_fly_app_events e)) - pg_catalog.make_interval(days => r.days)
    from hangar.settings g
    cross join lateral (select case p_source when 'events' then g.events_retention_days when 'samples' then g.samples_retention_days
                                             when 'closed_rows' then g.closed_rows_retention_days end as days) r
   where r.days is not null
$$;

-- The rows that may leave the database now, the oldest first, each as the line that the archive keeps. Rows of equal times come in any
-- order, so that an index gives it even if a million have the same.
-- Of the log: no intent without an outcome, and no outcome whose intent stays (the clock was set back in between), because without its
-- outcome that intent would look open for ever.
create function hangar.archivable(p_source text, p_cutoff timestamptz, p_limit integer) returns table (seq bigint, at timestamptz, line text)
language plpgsql volatile set search_path = '' set timezone = 'UTC'
as $$
begin
  if p_source = 'events' then
    return query
      select e.seq, e.created_at, to_jsonb(e)::text from public.user_fly_app_events e
       where e.created_at < p_cutoff
         and (e.event_type <> 'action' or case e.status
               when 'intent' then exists (select 1 from public.user_fly_app_events o
                                           where o.event_type = 'action' and o.status <> 'intent' and o.metadata ->> 'intent_id' = e.id::text)
               else not exists (select 1 from public.user_fly_app_events i
                                 where i.id = hangar.read_uuid(e.metadata ->> 'intent_id') and i.created_at >= p_cutoff) end)
       order by e.created_at limit p_limit;
  elsif p_source = 'samples' then
    return query
      select c.seq, c.ended_at, to_jsonb(c)::text from public.fly_cost_intervals c
       where c.ended_at < p_cutoff order by c.ended_at limit p_limit;
  elsif p_source = 'closed_rows' then
    return query
      select a.seq, a.resolved_at, to_jsonb(a)::text from hangar.alerts a
       where a.resolved_at < p_cutoff and not exists (select 1 from hangar.alert_deliveries n where n.alert_id = a.id)
       order by a.resolved_at limit p_limit;
  end if;
end
$$;

-- The rows of a batch as lines, in the order of their numbers. Only with the columns of its plan, so that a column that is added meanwhile
-- makes the rows no others.
create function hangar.archive_lines(p_source text, p_seqs int8multirange, p_columns text[], p_after bigint default -1, p_limit integer default null)
returns table (seq bigint, line text)
language plpgsql volatile set search_path = '' set timezone = 'UTC'
as $$
declare
  v_from bigint := greatest(lower(p_seqs), p_after + 1);
  v_to bigint := upper(p_seqs) - 1;
  v_added text[] := array(select unnest(hangar.list_archive_columns(p_source)) except select unnest(p_columns));
begin
  if p_source = 'events' then
    return query select e.seq, (to_jsonb(e) - v_added)::text from public.user_fly_app_events e
                  where e.seq between v_from and v_to and p_seqs @> e.seq order by e.seq limit p_limit;
  elsif p_source = 'samples' then
    return query select c.seq, (to_jsonb(c) - v_added)::text from public.fly_cost_intervals c
                  where c.seq between v_from and v_to and p_seqs @> c.seq order by c.seq limit p_limit;
  elsif p_source = 'closed_rows' then
    return query select a.seq, (to_jsonb(a) - v_added)::text from hangar.alerts a
                  where a.seq between v_from and v_to and p_seqs @> a.seq order by a.seq limit p_limit;
  end if;
end
$$;

-- What the object of these rows contains before it is compressed: every line with a line feed.
create function hangar.archive_content(p_source text, p_seqs int8multirange, p_columns text[], out rows bigint, out bytes bigint, out sha256 text)
language sql volatile set search_path = ''
as $$
  select count(*), coalesce(sum(octet_length(l.line) + 1), 0),
         encode(pg_catalog.sha256(convert_to(coalesce(string_agg(l.line || E'\n', '' order by l.seq), ''), 'UTF8')), 'hex')
    from hangar.archive_lines(p_source, p_seqs, p_columns) l
$$;

create function hangar.archive_batch_json(p_batch hangar.archive_batches) returns jsonb
language sql stable set search_path = '' set timezone = 'UTC'
as $$
  select to_jsonb(p_batch) - array['deleting_in', 'columns'] || jsonb_build_object('id', p_batch.id::text, 'first_seq', p_batch.first_seq::text,
    'last_seq', p_batch.last_seq::text, 'seqs', p_batch.seqs::text, 'installation_id', (select g.installation_id from hangar.settings g))
$$;

-- At most 10,000 rows and 8 MB, but one row whatever its size.
create function hangar.plan_archive_batch(p_source text, p_cutoff timestamptz, p_bucket text, p_prefix text, p_actor text)
returns hangar.archive_batches
language plpgsql volatile set search_path = ''
as $$
declare
  v_most_rows constant integer := 10000;
  v_most_bytes constant bigint := 8 * 1024 * 1024;
  v_row record;
  v_seqs bigint[] := array[]::bigint[];
  v_bytes bigint := 0;
  v_multirange int8multirange;
  v_content record;
  v_batch hangar.archive_batches;
  v_columns text[] := hangar.list_archive_columns(p_source);
  -- How many rows are worth looking at: twice as many as fit if they are as long as the first hundred.
  v_limit integer := (select least(v_most_rows, 100 + 2 * v_most_bytes / avg(octet_length(a.line)))
                        from hangar.archivable(p_source, p_cutoff, 100) a);
begin
  for v_row in select a.seq, octet_length(a.line) + 1 as bytes from hangar.archivable(p_source, p_cutoff, v_limit) a loop
    exit when v_bytes > 0 and v_bytes + v_row.bytes > v_most_bytes;
    v_bytes := v_bytes + v_row.bytes;
    v_seqs := v_seqs || v_row.seq;
  end loop;
  if cardinality(v_seqs) = 0 then
    return null;
  end if;
  select range_agg(int8range(s, s + 1)) into v_multirange from unnest(v_seqs) s;
  select c.* into v_content from hangar.archive_content(p_source, v_multirange, v_columns) c;
  insert into hangar.archive_batches (source, first_seq, last_seq, seqs, rows, content_bytes, content_sha256, columns, cutoff, bucket, object, planned_by)
  values (p_source, lower(v_multirange), upper(v_multirange) - 1, v_multirange, v_content.rows::integer, v_content.bytes, v_content.sha256, v_columns, p_cutoff,
          p_bucket, hangar.archive_object(p_prefix, p_source, lower(v_multirange), upper(v_multirange) - 1), p_actor)
  returning * into v_batch;
  return v_batch;
end
$$;

create function public.fly_archive_plan(p_source text, p_bucket text, p_prefix text, p_at timestamptz, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_most_apart constant interval := interval '5 minutes';
  v_cutoff timestamptz := hangar.retention_cutoff(p_source);
  v_batch hangar.archive_batches;
  v_object text;
begin
  perform hangar.require_actor(p_actor);
  if p_source is null or p_source not in ('events', 'samples', 'closed_rows') then
    raise exception 'p_source must be events, samples or closed_rows, not %', p_source using errcode = 'invalid_parameter_value';
  elsif coalesce(p_bucket, '') = '' then
    raise exception 'p_bucket must name the bucket' using errcode = 'invalid_parameter_value';
  elsif p_at is null or p_at not between hangar.now() - v_most_apart and hangar.now() + v_most_apart then
    raise exception 'the clock of the archiver (%) and that of the database (%) differ by more than % minutes; nothing was archived',
      p_at, hangar.now(), extract(minute from v_most_apart)::integer using errcode = 'invalid_parameter_value';
  end if;
  -- One plan at a time, so that two archivers work on the same batch.
  perform pg_advisory_xact_lock(hashtextextended('hangar.archive', 0));
  select b.* into v_batch from hangar.archive_batches b where b.source = p_source and b.state <> 'deleted' for update;
  if v_batch.id is not null then
    v_object := hangar.archive_object(p_prefix, p_source, v_batch.first_seq, v_batch.last_seq);
    if (v_batch.bucket, v_batch.object) is distinct from (p_bucket, v_object) then
      -- Its rows are all still here, so another bucket or prefix starts from the beginning.
      update hangar.archive_batches b
         set bucket = p_bucket, object = v_object, state = 'planned', object_sha256 = null, object_bytes = null, written_at = null,
             verified_at = null, planned_by = p_actor, planned_at = hangar.now(), problem = null, problem_at = null
       where b.id = v_batch.id
      returning b.* into v_batch;
    end if;
  elsif v_cutoff is null then
    return jsonb_build_object('batch', null, 'why', 'no_retention');
  else
    v_batch := hangar.plan_archive_batch(p_source, v_cutoff, p_bucket, p_prefix, p_actor);
  end if;
  return case when v_batch.id is null then jsonb_build_object('batch', null, 'why', 'nothing_due')
              else jsonb_build_object('batch', hangar.archive_batch_json(v_batch), 'why', null) end;
end
$$;
comment on function public.fly_archive_plan(text, text, text, timestamptz, text) is 'The unfinished batch of a source, or a new one of its oldest rows beyond the retention. docs/database.md.';

create function public.fly_archive_read(p_batch bigint, p_after bigint, p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_batch hangar.archive_batches;
begin
  perform hangar.check_limit('p_limit', p_limit, 1000);
  select b.* into v_batch from hangar.archive_batches b where b.id = p_batch;
  return (select jsonb_build_object('lines', coalesce(jsonb_agg(l.line order by l.seq), '[]'), 'last', max(l.seq)::text, 'state', v_batch.state)
            from hangar.archive_lines(v_batch.source, v_batch.seqs, v_batch.columns, p_after, p_limit) l);
end
$$;
comment on function public.fly_archive_read(bigint, bigint, integer) is 'The next rows of a batch as lines, by their numbers. docs/database.md.';

create function public.fly_archive_record(
  p_batch bigint, p_bucket text, p_object text, p_state text, p_sha256 text default null, p_bytes bigint default null, p_problem text default null
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_batch hangar.archive_batches;
  v_moves boolean;
begin
  select b.* into v_batch from hangar.archive_batches b where b.id = p_batch for update;
  if v_batch.id is null then
    raise exception 'there is no batch %', p_batch using errcode = 'invalid_parameter_value';
  elsif p_state is not null and p_state not in ('written', 'verified') then
    raise exception 'p_state must be written, verified or null, not %', p_state using errcode = 'invalid_parameter_value';
  elsif v_batch.state = 'deleted' or (v_batch.bucket, v_batch.object) is distinct from (p_bucket, p_object)
     or p_state is not null and v_batch.object_sha256 is not null and v_batch.object_sha256 is distinct from p_sha256 then
    -- Another archiver finished it, or moved it to another bucket or prefix, or the object is not what was written.
    return hangar.archive_batch_json(v_batch);
  end if;
  v_moves := coalesce(p_state = 'written' and v_batch.state = 'planned' or p_state = 'verified' and v_batch.state = 'written', false);
  update hangar.archive_batches b
     set state = case when v_moves then p_state else b.state end,
         object_sha256 = coalesce(b.object_sha256, p_sha256), object_bytes = coalesce(b.object_bytes, p_bytes),
         written_at = case when v_moves and p_state = 'written' then hangar.now() else b.written_at end,
         verified_at = case when v_moves and p_state = 'verified' then hangar.now() else b.verified_at end,
         problem = left(p_problem, 500), problem_at = case when p_problem is not null then hangar.now() end
   where b.id = v_batch.id
  returning b.* into v_batch;
  return hangar.archive_batch_json(v_batch);
end
$$;
comment on function public.fly_archive_record(bigint, text, text, text, text, bigint, text) is 'A batch was written to its bucket, or read back from there and compared, or an attempt ended early. docs/database.md.';

create function public.fly_archive_delete(p_batch bigint, p_bucket text, p_object text, p_sha256 text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_batch hangar.archive_batches;
  v_cutoff timestamptz;
  v_content record;
  v_deleted bigint;
begin
  select b.* into v_batch from hangar.archive_batches b where b.id = p_batch for update;
  v_cutoff := hangar.retention_cutoff(v_batch.source);
  if (v_batch.bucket, v_batch.object) is distinct from (p_bucket, p_object) then
    return jsonb_build_object('deleted', false, 'why', 'not_verified');
  elsif v_batch.state = 'deleted' then
    return jsonb_build_object('deleted', true, 'why', null);
  elsif v_batch.state is distinct from 'verified' or v_batch.object_sha256 is distinct from p_sha256 then
    return jsonb_build_object('deleted', false, 'why', 'not_verified');
  elsif v_cutoff is null or v_cutoff < v_batch.cutoff - interval '1 hour' then
    -- The setting was raised or removed since the batch was planned. The hour is for a clock that was set back a little.
    return jsonb_build_object('deleted', false, 'why', 'retention');
  end if;
  select c.* into v_content from hangar.archive_content(v_batch.source, v_batch.seqs, v_batch.columns) c;
  if v_content.rows <> v_batch.rows or v_content.sha256 <> v_batch.content_sha256 then
    return jsonb_build_object('deleted', false, 'why', 'rows_changed');
  end if;
  -- The trigger of the log lets this transaction delete exactly the rows of this batch.
  update hangar.archive_batches b set deleting_in = pg_current_xact_id() where b.id = v_batch.id;
  if v_batch.source = 'events' then
    delete from public.user_fly_app_events e where e.seq between v_batch.first_seq and v_batch.last_seq and v_batch.seqs @> e.seq;
  elsif v_batch.source = 'samples' then
    delete from public.fly_cost_intervals c where c.seq between v_batch.first_seq and v_batch.last_seq and v_batch.seqs @> c.seq;
  else
    delete from hangar.alerts a where a.seq between v_batch.first_seq and v_batch.last_seq and v_batch.seqs @> a.seq;
  end if;
  get diagnostics v_deleted = row_count;
  if v_deleted <> v_batch.rows then
    raise exception 'batch % has % rows, but % would have been deleted', v_batch.id, v_batch.rows, v_deleted using errcode = 'serialization_failure';
  end if;
  update hangar.archive_batches b
     set state = 'deleted', deleted_at = hangar.now(), deleting_in = null, problem = null, problem_at = null where b.id = v_batch.id;
  return jsonb_build_object('deleted', true, 'why', null);
end
$$;
comment on function public.fly_archive_delete(bigint, text, text, text) is 'Deletes the rows of a batch that was read back from its bucket, if they are still those that it holds. docs/database.md.';

create function public.fly_archive_batches(p_after bigint default 0, p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  return jsonb_build_object('batches', (
    select coalesce(jsonb_agg(hangar.archive_batch_json(b) order by b.id), '[]')
      from (select x.* from hangar.archive_batches x where x.id > p_after order by x.id limit p_limit) b));
end
$$;
comment on function public.fly_archive_batches(bigint, integer) is 'A keyset page of the batches, the oldest first. docs/database.md.';

-- For reports: what the settings ask for, and how far the archive is. `overdue`: the age of the oldest row that should have left a day ago.
create function hangar.archive_json() returns jsonb
language plpgsql volatile set search_path = ''
as $$
begin
  return (
    select jsonb_object_agg(s.source, jsonb_build_object(
             'retention_days', s.days,
             'deleted_rows', coalesce(d.rows, 0)::text, 'last_deleted_at', d.last_at,
             'open', (select jsonb_build_object('object', b.object, 'bucket', b.bucket, 'state', b.state, 'problem', b.problem, 'problem_at', b.problem_at)
                        from hangar.archive_batches b where b.source = s.source and b.state <> 'deleted'),
             'overdue', case when s.days is not null then (
               select a.at from hangar.archivable(s.source, hangar.retention_cutoff(s.source) - interval '1 day', 1) a) end))
      from hangar.settings g
      cross join lateral (values ('events', g.events_retention_days), ('samples', g.samples_retention_days),
                                 ('closed_rows', g.closed_rows_retention_days)) s (source, days)
      left join lateral (select sum(b.rows) as rows, max(b.deleted_at) as last_at
                           from hangar.archive_batches b where b.source = s.source and b.state = 'deleted') d on true);
end
$$;

select hangar.restrict_functions();
