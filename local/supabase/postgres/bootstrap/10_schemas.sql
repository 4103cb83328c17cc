-- New projects (since 2026-05-30) grant the use of `public` and nothing in it: every table needs its own grants.
grant usage on schema public to postgres, anon, authenticated, service_role;

create schema extensions;
grant usage on schema extensions to postgres, anon, authenticated, service_role;

-- Realtime reads this publication; hosts add tables to it.
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;
