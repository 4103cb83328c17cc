-- The environment that a plan, a release or a pin adds to a machine: names and texts that nobody has to guess about.
-- Builds on: schema.

-- Names that Hangar gives every machine itself. Another value for one of them would make the machine serve another user or database.
create function hangar.own_env_names() returns text[]
language sql immutable set search_path = ''
as $$ select array['USER_ID', 'RUN_MODE', 'HANGAR_APP_ID', 'SUPABASE_URL', 'SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_USER_TOKEN'] $$;
comment on function hangar.own_env_names() is 'Variables that Hangar sets in every machine. Python has the same list; a test compares both.';

-- Why this is no environment of a machine, as a sentence; null if it is one. Names only: a value may be a secret.
create function hangar.explain_refused_env(p_env jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case
    when p_env is null or pg_catalog.jsonb_typeof(p_env) <> 'object' then 'env must be an object of names like LOG_LEVEL and texts'
    else (
      select case when bool_or(x.own) then 'env must not name what Hangar sets itself: ' || string_agg(x.name, ', ' order by x.name) filter (where x.own)
                  when bool_or(x.long) then 'env values may have at most 32768 bytes, and names at most 255; too long: '
                                            || string_agg(x.name, ', ' order by x.name) filter (where x.long)
                  else 'env must map names like LOG_LEVEL to texts; not so: ' || string_agg(x.name, ', ' order by x.name) end
        from (select pg_catalog.left(e.key, 60) as name, e.key = any (hangar.own_env_names()) as own,
                     pg_catalog.octet_length(e.value #>> '{}') > 32768 or pg_catalog.octet_length(e.key) > 255 as long
                from pg_catalog.jsonb_each(p_env) e
               where pg_catalog.jsonb_typeof(e.value) <> 'string' or e.key !~ '^[A-Za-z_][A-Za-z0-9_]*$' or e.key = any (hangar.own_env_names())
                  -- Linux starts no program with a variable of more than 128 KiB, and its whole environment has a limit, too.
                  or pg_catalog.octet_length(e.value #>> '{}') > 32768 or pg_catalog.octet_length(e.key) > 255
               order by e.key limit 5) x
      having count(*) > 0)
  end
$$;

select hangar.restrict_functions();
