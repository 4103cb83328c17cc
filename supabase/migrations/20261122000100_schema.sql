-- The schema `hangar`, its clock, and the pure functions that SQL and Python share.
-- Builds on Supabase's roles alone: it names those that are missing and then leaves nothing behind.

do $$
declare
  v_missing text;
begin
  select string_agg(r, ', ') into v_missing
    from unnest(array['anon', 'authenticated', 'service_role']) r
   where not exists (select 1 from pg_catalog.pg_roles where rolname = r);
  if v_missing is not null then
    raise exception 'Hangar needs the Supabase roles and does not find: %', v_missing using errcode = 'undefined_object';
  end if;
end
$$;

create schema hangar;
comment on schema hangar is 'Internal to Hangar: settings, operators, sweeps, alerts and the functions behind the procedures. The API does not expose it.';
revoke all on schema hangar from public;
-- Views with security_invoker call hangar.now() and hangar.user_email() as the role that reads them.
grant usage on schema hangar to service_role;

-- PL/pgSQL even where one expression would do: Postgres plans an SQL function with a search_path again at each call, and these
-- functions run inside the host's own writes. STABLE, so that a comparison with it can use an index; PL/pgSQL still reads the
-- clock at each call.
create function hangar.now() returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return pg_catalog.clock_timestamp();
end
$$;
comment on function hangar.now() is 'The only clock. Tests and the local cloud replace it.';

-- Tables that are created in this schema from here on: service_role reads them and writes them only through the procedures.
alter default privileges in schema hangar grant select on tables to service_role;

-- Which of these files this database has. `hangar install` writes the row in the file's own transaction, and so does each file that
-- `hangar install --into` writes. After another tool has run these files, `hangar install` adds the rows later. docs/install.md.
create table hangar.schema_migrations (
  version text primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default hangar.now(),
  -- `install`: by `hangar install`; `folder`: by a file of `hangar install --into`; `supabase`: recognised in the history of the Supabase CLI.
  how text not null check (how in ('install', 'folder', 'supabase'))
);
comment on table hangar.schema_migrations is 'Which files of the schema were applied, with the SHA-256 of each. docs/install.md.';
alter table hangar.schema_migrations enable row level security;

create function hangar.app_name(p_prefix text, p_user uuid, p_seq integer) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return p_prefix || '-' || left(encode(sha256(convert_to(p_user::text || ':' || p_seq::text, 'UTF8')), 'hex'), 8);
end
$$;
comment on function hangar.app_name(text, uuid, integer) is 'Python computes the same name; a test compares both.';

create function hangar.network_name(p_installation uuid, p_row uuid) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return 'hangar-' || left(replace(p_installation::text, '-', ''), 12) || '-' || replace(p_row::text, '-', '');
end
$$;
comment on function hangar.network_name(uuid, uuid) is 'Proof of ownership: Fly never changes the network of an app.';

create function hangar.monthly_cost_estimate_usd(p_cpus integer, p_memory_mb integer) returns numeric
language plpgsql immutable set search_path = ''
as $$
begin
  return round(greatest(5.00, p_cpus * 2.50 + p_memory_mb::numeric / 1024 * 2.00), 2);
end
$$;
comment on function hangar.monthly_cost_estimate_usd(integer, integer) is 'max(5.00, vCPU x 2.50 + GB x 2.00), rounded half-up to cents. Python computes the same; a test compares both.';

create function hangar.explain_refused_size(p_kind text, p_cpus integer, p_memory_mb integer) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  -- fly-go machine_types.go and Fly's machine sizing page.
  v_cpus integer[] := case p_kind when 'shared' then array[1, 2, 4, 6, 8] else array[1, 2, 4, 6, 8, 10, 12, 14, 16] end;
  v_least integer := p_cpus * case p_kind when 'shared' then 256 else 2048 end;
  v_most integer := p_cpus * case p_kind when 'shared' then 2048 else 8192 end;
begin
  if p_kind is null or p_kind not in ('shared', 'performance') then
    return pg_catalog.format('cpu kind %L does not exist on Fly: use shared or performance', p_kind);
  elsif p_cpus is null or p_cpus <> all (v_cpus) then
    return pg_catalog.format('%s %s vCPU does not exist on Fly: use one of %s', p_cpus, p_kind, pg_catalog.array_to_string(v_cpus, ', '));
  elsif p_memory_mb is null or p_memory_mb < v_least then
    return pg_catalog.format('%s %s vCPU with %s MB is refused by Fly: %1$s %2$s vCPU need at least %4$s MB', p_cpus, p_kind, p_memory_mb, v_least);
  elsif p_memory_mb > v_most then
    return pg_catalog.format('%s %s vCPU with %s MB is refused by Fly: %s MB is the most for that size', p_cpus, p_kind, p_memory_mb, v_most);
  elsif p_memory_mb % 256 <> 0 then
    return pg_catalog.format('%s MB is refused by Fly: memory comes in steps of 256 MB', p_memory_mb);
  end if;
  return null;
end
$$;
comment on function hangar.explain_refused_size(text, integer, integer) is 'Why Fly would refuse this size, as a sentence; null if Fly accepts it. Python answers the same; a test compares both.';

-- Whether a function in `public` is ours, because the host may have functions of its own named fly_*. `doctor_shape` adds those that were
-- recorded: a copy of the database may have lost the comments.
create function hangar.is_procedure(p_function oid) returns boolean
language sql stable set search_path = ''
as $$ select coalesce(pg_catalog.obj_description(p_function, 'pg_proc') like '%docs/database.md%', false) $$;

-- Closes every function of ours and opens the procedures to service_role. Every file that creates functions ends with a call of it,
-- so that its functions are never open, not even if a later file fails.
-- Default privileges cannot do this. Postgres grants EXECUTE to PUBLIC by itself, and only a default for *every* schema of the role
-- `postgres` revokes that; on Supabase it would also close the functions that the host creates later, and the default that opens
-- functions in `public` to anon and authenticated is the host's too.
create function hangar.restrict_functions() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_function record;
begin
  for v_function in
    with ours as (
      select p.oid, p.proacl, p.proowner,
             -- A policy calls token_is_valid() as the role that reads the table.
             case when p.oid::regprocedure::text = 'hangar.token_is_valid()' then '{anon,authenticated,service_role}'::text[]
                  when n.nspname = 'public' or p.oid::regprocedure::text in ('hangar.now()', 'hangar.user_email(uuid)') then '{service_role}'
                  else '{}' end as callers
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
       where n.nspname = 'hangar'
          or n.nspname = 'public' and p.proname like 'fly\_%' and hangar.is_procedure(p.oid)
    )
    select o.oid::regprocedure as name, o.callers from ours o
     -- Every file calls this, so that a function that is as it should be is left alone. A function without rights of its own is PUBLIC's.
     where o.proacl is null
        or o.callers <> array(select coalesce(r.rolname::text, 'public') as name from aclexplode(o.proacl) a left join pg_catalog.pg_roles r on r.oid = a.grantee
                               where a.grantee <> o.proowner and (a.grantee = 0 or r.rolname in ('anon', 'authenticated', 'service_role')) order by name)
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.name);
    if v_function.callers <> '{}' then
      execute format('grant execute on function %s to %s', v_function.name, array_to_string(v_function.callers, ', '));
    end if;
  end loop;
end
$$;
select hangar.restrict_functions();
