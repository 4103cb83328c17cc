-- Which key signs the tokens of machines, and which keys the project accepts. Each sweep reads both and records them here.
-- Builds on: app_tables, access. The alert and the procedure are in `signing_key_alerts`, the renewal in `token_renewal`.

create table hangar.signing_keys (
  only_row boolean primary key default true check (only_row),
  -- The id of the key in HANGAR_USER_TOKEN_KEY of the function that swept last.
  signing text not null check (signing <> ''),
  -- The ids that the project publishes. It refuses a token that was signed with another key.
  published text[] not null check (cardinality(published) <= 100),
  -- How many apps have a token of a key that is not published, as of read_at.
  refused_apps integer not null default 0,
  read_at timestamptz not null default hangar.now()
);
comment on table hangar.signing_keys is 'The key that signs the tokens of machines, and the keys that the project accepts, as the last sweep read them.';
alter table hangar.signing_keys enable row level security;
revoke all on hangar.signing_keys from public, anon, authenticated, service_role;
grant select on hangar.signing_keys to service_role;
create policy service_role_all on hangar.signing_keys for all to service_role using (true) with check (true);

create index user_fly_apps_token_issued on public.user_fly_apps (token_issued_at) where deleted_at is null and desired_state = 'present';
-- Apps whose token is not known, or whose machine does not run with the one in Fly's secrets: few, and none at rest.
create index user_fly_apps_token_open on public.user_fly_apps (id)
  where deleted_at is null and desired_state = 'present' and machine_id is not null
    and (token_expires_at is null or token_running_until is distinct from token_expires_at);

-- What the last sweep read, unless that is more than an hour ago: an old answer says nothing.
create function hangar.read_signing_keys() returns hangar.signing_keys
language sql stable set search_path = ''
as $$ select k from hangar.signing_keys k where k.read_at > hangar.now() - interval '1 hour' $$;

-- Whether the project would refuse a token that is issued now: the functions sign with a key that it does not publish.
create function hangar.is_signing_key_refused() returns boolean
language sql stable set search_path = ''
as $$ select coalesce((select k.signing <> all (k.published) from hangar.read_signing_keys() k), false) $$;

-- Whether the project refuses this row's token, because it was signed with a key that is not accepted any more.
create function hangar.is_token_refused(p_row public.user_fly_apps) returns boolean
language sql stable set search_path = ''
as $$
  select p_row.token_key_id is not null
     and exists (select 1 from hangar.signing_keys k where k.read_at > hangar.now() - interval '1 hour' and p_row.token_key_id <> all (k.published))
$$;

-- The same however old the answer is: a release does not judge by it that all is well again.
create function hangar.was_token_refused(p_row public.user_fly_apps) returns boolean
language sql stable set search_path = ''
as $$
  select p_row.token_key_id is not null and exists (select 1 from hangar.signing_keys k where p_row.token_key_id <> all (k.published))
$$;

select hangar.restrict_functions();
