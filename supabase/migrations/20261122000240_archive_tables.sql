-- What has left the database for the archive: one row for each batch, which is one object in a bucket.
-- Builds on: tables. The procedures are in `archive`; the trigger that lets the log be cut is in `access`.

create table hangar.archive_batches (
  id bigint generated always as identity primary key,
  source text not null check (source in ('events', 'samples', 'closed_rows')),
  first_seq bigint not null,
  last_seq bigint not null,
  -- Exactly these rows, fixed when the batch is planned: a row that commits later belongs to a later batch, whatever its number.
  seqs int8multirange not null,
  rows integer not null check (rows between 1 and 10000),
  -- The lines before compression: their bytes, and their SHA-256. The rows are compared with it once more before they are deleted.
  content_bytes bigint not null,
  content_sha256 text not null check (content_sha256 ~ '^[0-9a-f]{64}$'),
  schema_version integer not null default 1,
  -- The columns that a line has. One that is added to the table later is left out of the lines of this batch.
  columns text[] not null,
  -- Every row of the batch is older.
  cutoff timestamptz not null,
  bucket text not null check (bucket <> ''),
  object text not null check (object <> ''),
  object_sha256 text check (object_sha256 ~ '^[0-9a-f]{64}$'),
  object_bytes bigint,
  state text not null default 'planned' check (state in ('planned', 'written', 'verified', 'deleted')),
  planned_by text not null,
  planned_at timestamptz not null default hangar.now(),
  written_at timestamptz,
  verified_at timestamptz,
  deleted_at timestamptz,
  -- The transaction that deletes the rows now. The log's trigger lets it pass.
  deleting_in xid8,
  -- Why the last attempt ended early; null after a step that succeeded.
  problem text,
  problem_at timestamptz,
  check (first_seq = lower(seqs) and last_seq = upper(seqs) - 1),
  check (state = 'planned' or object_sha256 is not null),
  check ((state = 'deleted') = (deleted_at is not null))
);
comment on table hangar.archive_batches is 'The batches of rows that were, or are being, archived and then deleted: range, object, checksums and state. docs/archive.md.';
create unique index archive_batches_range on hangar.archive_batches (source, first_seq, last_seq);
-- A batch is finished before the next one is planned.
create unique index archive_batches_one_open on hangar.archive_batches (source) where state <> 'deleted';

revoke all on hangar.archive_batches from public, anon, authenticated, service_role;
grant select on hangar.archive_batches to service_role;
alter table hangar.archive_batches enable row level security;
create policy service_role_all on hangar.archive_batches for all to service_role using (true) with check (true);

-- Where a batch is in its bucket. The digits keep the order of the names; the installation keeps two databases with one bucket apart.
create function hangar.archive_object(p_prefix text, p_source text, p_first bigint, p_last bigint) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.format('%s%s/%s/%s-%s.jsonl.gz', p_prefix, g.installation_id, p_source,
                           pg_catalog.lpad(p_first::text, 19, '0'), pg_catalog.lpad(p_last::text, 19, '0'))
    from hangar.settings g
$$;

-- The columns that the table of a source has now.
create function hangar.list_archive_columns(p_source text) returns text[]
language sql stable set search_path = ''
as $$
  select array(select a.attname::text from pg_catalog.pg_attribute a
                where a.attrelid = case p_source when 'events' then 'public.user_fly_app_events'::regclass when 'samples' then 'public.fly_cost_intervals'::regclass
                                                 when 'closed_rows' then 'hangar.alerts'::regclass end
                  and a.attnum > 0 and not a.attisdropped order by a.attnum)
$$;

-- A uuid that is written in JSON; null if it is none.
create function hangar.read_uuid(p_text text) returns uuid
language sql immutable set search_path = ''
as $$
  select case when p_text ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then p_text::uuid end
$$;

-- The record of what left the database stays: a batch keeps its rows, and one that is deleted does not change.
create function hangar.guard_archive_batch() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' and old.state <> 'deleted' and (new.source, new.seqs, new.rows, new.content_sha256) = (old.source, old.seqs, old.rows, old.content_sha256) then
    return new;
  end if;
  raise exception 'hangar.archive_batches is the record of the archive: % is refused', lower(tg_op) using errcode = 'insufficient_privilege';
end
$$;
create trigger guard_archive_batch before update or delete on hangar.archive_batches
  for each row execute function hangar.guard_archive_batch();
create trigger guard_archive_batch_truncate before truncate on hangar.archive_batches
  for each statement execute function hangar.guard_archive_batch();

select hangar.restrict_functions();
