-- Who was erased: what is left of a person after `hangar user erase`. The procedures are in `user_erase`.
-- Builds on: tables.

create table hangar.erased_users (
  -- SHA-256 of the installation and the user's id. Only somebody who knows the id can find the row.
  user_hash text primary key check (user_hash ~ '^[0-9a-f]{64}$'),
  pseudonym uuid not null unique default gen_random_uuid(),
  -- SHA-256 of the user's id and an e-mail address, so that a guessed address cannot be tried without the id.
  email_hashes text[] not null default '{}',
  -- The machine tokens that were issued up to this moment are refused.
  erased_at timestamptz not null default hangar.now(),
  -- The transaction that erases now. The log's trigger lets it pass.
  erasing_in xid8
);
comment on table hangar.erased_users is 'The pseudonym of each person who was erased, found by a hash of the user''s id. docs/erasure.md.';
revoke all on hangar.erased_users from public, anon, authenticated, service_role;
grant select on hangar.erased_users to service_role;
alter table hangar.erased_users enable row level security;
create policy service_role_all on hangar.erased_users for all to service_role using (true) with check (true);

create function hangar.user_hash(p_user text) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(g.installation_id || ':' || p_user, 'UTF8')), 'hex') from hangar.settings g
$$;

create function hangar.email_hash(p_user uuid, p_email text) returns text
language sql immutable set search_path = ''
as $$
  select pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p_user || ':' || pg_catalog.lower(p_email), 'UTF8')), 'hex')
$$;

select hangar.restrict_functions();
