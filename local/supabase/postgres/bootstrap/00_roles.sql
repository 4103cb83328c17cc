-- The roles of a Supabase project. Roles belong to the whole server, so they may exist already.
do $$
declare
  missing text;
begin
  for missing in
    select wanted.name || ' ' || wanted.rights
    from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      -- As on Supabase `postgres` owns the database and runs the migrations, and is not a superuser.
      ('postgres', 'login createdb createrole replication bypassrls')
    ) as wanted (name, rights)
    where not exists (select from pg_catalog.pg_roles where rolname = wanted.name)
  loop
    execute 'create role ' || missing;
  end loop;
end
$$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres;
grant pg_monitor, pg_signal_backend, pg_read_all_data to postgres;

-- PostgREST applies these when it sets the role; service_role has none, so the 8 s of the login role apply.
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = auth;
alter role postgres set search_path = "$user", public, extensions;
