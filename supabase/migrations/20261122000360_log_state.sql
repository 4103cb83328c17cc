-- What the log alone would have to remember for ever, in a table of its own, and who reads the log to decide something.
-- So the log can be cut at `events_retention_days` and nothing is decided differently.
-- Builds on: tables, audit_log.

create table hangar.intended_deletions (
  fly_app_id uuid primary key references public.user_fly_apps (id),
  intended_at timestamptz not null
);
comment on table hangar.intended_deletions is 'The rows whose app Hangar once intended to delete because its user is no longer entitled. An orphan of such a row may be removed at once.';
revoke all on hangar.intended_deletions from public, anon, authenticated, service_role;
grant select on hangar.intended_deletions to service_role;
alter table hangar.intended_deletions enable row level security;
create policy service_role_all on hangar.intended_deletions for all to service_role using (true) with check (true);

-- A trigger, so that no way of writing the log can forget it.
create function hangar.record_intended_deletion() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into hangar.intended_deletions (fly_app_id, intended_at) values (new.fly_app_id, new.created_at) on conflict do nothing;
  return null;
end
$$;
create trigger record_intended_deletion after insert on public.user_fly_app_events
  for each row when (new.fly_app_id is not null and new.event_type = 'action' and new.status = 'intent'
                 and new.metadata ->> 'action' = 'delete_app' and new.metadata ->> 'purpose' = 'deprovision')
  execute function hangar.record_intended_deletion();

-- Every function that reads the log, and how far back. A test finds the readers in the catalog, so that a new one must be listed here.
-- Null: it reads an intent without an outcome, which is never cut, or one page for people, which ends where the log ends.
create function hangar.log_readers() returns table (reader text, look_back interval, reads text)
language sql immutable set search_path = ''
as $$
  values
    ('hangar.brake_status', interval '1 hour', 'apps taken away in the last hour'),
    ('hangar.delete_slot_at', interval '1 minute', 'app deletions of the last minute'),
    ('hangar.is_being_removed', interval '10 minutes', 'removals of an orphan that have no outcome yet'),
    ('hangar.was_restarted', interval '1 minute', 'restarts of the last minute'),
    ('hangar.count_repairs', interval '1 hour', 'repairs of the last hour: the crash loop'),
    ('hangar.find_stalled', interval '1 hour', 'changes of the desired state in the last hour'),
    ('hangar.orphan_removals', interval '1 day', 'removals of orphans within a day'),
    ('hangar.close_orphan_removals', interval '1 day', 'removals of orphans within a day that have no outcome'),
    ('hangar.lease_row', null, 'the outcome of the open intent'),
    ('public.fly_record_orphan_outcome', null, 'the open intent that the outcome belongs to'),
    ('public.fly_user_status', null, 'a page: the 50 newest events of a user'),
    ('public.fly_admin_user', null, 'a page: changes of health in up to 90 days'),
    ('public.fly_admin_events', null, 'a page of the log'),
    ('public.fly_admin_release', null, 'a page: the latest events of a release'),
    ('hangar.archivable', null, 'what is older than the retention'),
    ('hangar.archive_lines', null, 'the rows of one batch'),
    ('hangar.retention_cutoff', null, 'the time of the newest event'),
    ('hangar.explain_disturbed_batch', null, 'the time of the newest event'),
    ('hangar.doctor_retention', null, 'the time of the oldest event'),
    ('public.fly_archive_delete', null, 'the rows of one batch'),
    ('public.fly_search_log', null, 'which rows of a page name a person'),
    ('hangar.erase_events', null, 'the rows that name a person'),
    ('hangar.original_machine', null, 'the newest event of an app of the original system that names its machine'),
    ('hangar.original_tier', null, 'the newest event of an app of the original system that names its tier')
$$;
comment on function hangar.log_readers() is 'Who reads user_fly_app_events, and how far back. events_retention_days is at least 30, which is far beyond all of them.';

select hangar.restrict_functions();
