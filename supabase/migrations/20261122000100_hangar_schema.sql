-- The schema `hangar`: everything that is not for the API to see. What is missing in the host fails here, by name.

do $$
declare
  v_missing text;
begin
  select string_agg(format('%s.%s (%s)', needed.tbl, needed.col, coalesce(found.problem, 'missing')), ', ' order by needed.tbl, needed.col)
    into v_missing
    from (values
      ('auth.users', 'id', 'uuid'),
      ('public.user_profiles', 'id', 'uuid'),
      ('public.user_profiles', 'email', null),
      ('public.user_subscriptions', 'user_id', 'uuid'),
      ('public.user_subscriptions', 'tier', null),
      ('public.user_subscriptions', 'status', null),
      ('public.user_subscriptions', 'expires_at', null)
    ) as needed (tbl, col, typ)
    left join lateral (
      select case when needed.typ is not null and a.atttypid <> needed.typ::pg_catalog.regtype
                  then format('is %s, must be %s', format_type(a.atttypid, a.atttypmod), needed.typ) end as problem
        from pg_catalog.pg_attribute a
       where a.attrelid = to_regclass(needed.tbl) and a.attname = needed.col and not a.attisdropped
    ) as found on true
   where to_regclass(needed.tbl) is null
      or found.problem is not null
      or not exists (select 1 from pg_catalog.pg_attribute a
                      where a.attrelid = to_regclass(needed.tbl) and a.attname = needed.col and not a.attisdropped);
  if v_missing is not null then
    raise exception 'Hangar needs these columns of the host and does not find them: %', v_missing
      using errcode = 'undefined_table',
            hint = 'Hangar serves a host that keeps auth.users, user_profiles and user_subscriptions; create them first. See docs/database.md.';
  end if;
  select string_agg(r, ', ') into v_missing
    from unnest(array['anon', 'authenticated', 'service_role']) r
   where not exists (select 1 from pg_catalog.pg_roles where rolname = r);
  if v_missing is not null then
    raise exception 'Hangar needs the Supabase roles and does not find: %', v_missing using errcode = 'undefined_object';
  end if;
end
$$;

create schema hangar;
comment on schema hangar is 'Hangar''s own: settings, operators, sweeps, alerts and the functions behind the procedures. Not exposed by the API.';
revoke all on schema hangar from public;
-- Views with security_invoker ask hangar.now() as their reader.
grant usage on schema hangar to service_role;

-- PL/pgSQL also where one expression would do: an SQL function with a search_path is planned anew at each call, and these stand
-- in the host's own write. STABLE, so that an index can be used on a comparison with it; PL/pgSQL asks it anew each time.
create function hangar.now() returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return pg_catalog.clock_timestamp();
end
$$;
comment on function hangar.now() is 'The only clock. Tests and the local cloud replace it.';

-- Supabase deletes a user for good or softly (deleted_at); a host's stand-in may not know the second.
do $$
declare
  v_where text := '';
begin
  if exists (select 1 from pg_catalog.pg_attribute
              where attrelid = 'auth.users'::pg_catalog.regclass and attname = 'deleted_at' and not attisdropped) then
    v_where := ' where deleted_at is null';
  end if;
  execute 'create view hangar.living_users with (security_invoker = on) as select id from auth.users' || v_where;
end
$$;
comment on view hangar.living_users is 'The users who exist and are not softly deleted.';

create table hangar.settings (
  only_row boolean primary key default true check (only_row),
  installation_id uuid not null default gen_random_uuid(),
  live boolean not null default false,
  paused boolean not null default false,
  deletes_paused boolean not null default false,
  fly_org_slug text not null default 'personal' check (fly_org_slug <> ''),
  -- Fly takes 63 characters; nine of them are the dash and the hash.
  app_prefix text not null default 'vyx-user' check (app_prefix ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  default_region text not null default 'sin' check (default_region ~ '^[a-z]{3}$'),
  default_image text not null default 'registry.fly.io/vyx-app:latest' check (default_image <> ''),
  -- A week at most, which also keeps out Infinity and NaN: those pass every lower bound and fail in every interval made of them.
  retry_base_s numeric not null default 300 check (retry_base_s > 0),
  retry_cap_s numeric not null default 1800 check (retry_cap_s >= retry_base_s and retry_cap_s <= 604800),
  -- Longer than the longest HTTP time-out of one action (Fly's wait: 60 s).
  lease_s numeric not null default 120 check (lease_s > 0 and lease_s <= 604800),
  sweep_lease_s numeric not null default 120 check (sweep_lease_s > 0 and sweep_lease_s <= 604800),
  max_apps integer check (max_apps >= 0),
  max_monthly_cost_usd numeric(12, 2) check (max_monthly_cost_usd >= 0 and max_monthly_cost_usd < 'NaN'),
  brake_floor integer not null default 20 check (brake_floor >= 0),
  brake_share numeric not null default 0.05 check (brake_share between 0 and 1),
  -- More apps than this whose rows this database never had: it has lost its memory.
  brake_lost integer not null default 3 check (brake_lost >= 0),
  brake_released_at timestamptz,
  -- Fly takes 100; the rest is room for calls that are repeated.
  deletes_per_minute integer not null default 90 check (deletes_per_minute > 0),
  orphan_after_s numeric not null default 900 check (orphan_after_s between 0 and 604800),
  -- More broken apps than this at once are one incident, not so many repairs.
  incident_floor integer not null default 10 check (incident_floor > 0),
  incident_share numeric not null default 0.2 check (incident_share between 0 and 1),
  unhealthy_after integer not null default 3 check (unhealthy_after > 0),
  bad_sample_gap_s numeric not null default 240 check (bad_sample_gap_s between 0 and 604800),
  updated_at timestamptz not null default hangar.now()
);
comment on table hangar.settings is 'One row. `live` admits everybody who is entitled; `paused` is the kill switch: no Fly write at all.';
comment on column hangar.settings.installation_id is 'Stands here and in the functions'' environment; a mismatch means a cloned database and makes Hangar read-only.';
insert into hangar.settings default values;

create table hangar.operators (
  user_id uuid primary key,
  added_by text not null,
  added_at timestamptz not null default hangar.now()
);
comment on table hangar.operators is 'Who may operate Hangar. The host''s is_admin is not trusted.';

create table hangar.sweeps (
  name text primary key,
  token uuid,
  holder text,
  lease_expires_at timestamptz,
  cursor jsonb,
  started_at timestamptz,
  heartbeat_at timestamptz,
  finished_at timestamptz,
  completed_at timestamptz,
  report jsonb
);
comment on table hangar.sweeps is 'One sweep at a time for each name: its lease, where it stands, its last report.';

create table hangar.alerts (
  id uuid primary key default gen_random_uuid(),
  kind text not null,
  key text not null,
  message text not null,
  metadata jsonb not null default '{}',
  opened_at timestamptz not null default hangar.now(),
  seen_at timestamptz not null default hangar.now(),
  times bigint not null default 1,
  -- Null: nobody has been told yet. What the functions raise they tell themselves.
  told_at timestamptz,
  resolved_at timestamptz
);
create unique index alerts_one_open on hangar.alerts (kind, key) where resolved_at is null;

-- Row level security even here: the schema is not exposed today, and a setting of the API should not be what protects it.
alter table hangar.settings enable row level security;
alter table hangar.operators enable row level security;
alter table hangar.sweeps enable row level security;
alter table hangar.alerts enable row level security;
create policy service_role_all on hangar.settings for all to service_role using (true) with check (true);
create policy service_role_all on hangar.operators for all to service_role using (true) with check (true);
create policy service_role_all on hangar.sweeps for all to service_role using (true) with check (true);
create policy service_role_all on hangar.alerts for all to service_role using (true) with check (true);
revoke all on hangar.settings, hangar.operators, hangar.sweeps, hangar.alerts, hangar.living_users
  from public, anon, authenticated, service_role;
grant select on hangar.settings, hangar.operators, hangar.sweeps, hangar.alerts to service_role;

create function hangar.settings_json() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.to_jsonb(s) - 'only_row' || pg_catalog.jsonb_build_object(
           'max_monthly_cost_usd', s.max_monthly_cost_usd::text,
           'incident_open', exists (select 1 from hangar.alerts a where a.kind = 'incident' and a.resolved_at is null))
    from hangar.settings s
$$;
comment on function hangar.settings_json() is 'The settings as the procedures return them: money as text.';

create function hangar.app_name(p_prefix text, p_user uuid, p_seq integer) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return p_prefix || '-' || left(encode(sha256(convert_to(p_user::text || ':' || p_seq::text, 'UTF8')), 'hex'), 8);
end
$$;
comment on function hangar.app_name(text, uuid, integer) is 'The same name as shared/domain/naming.py makes; a test compares both.';

create function hangar.network_name(p_installation uuid, p_row uuid) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return 'hangar-' || left(replace(p_installation::text, '-', ''), 12) || '-' || replace(p_row::text, '-', '');
end
$$;
comment on function hangar.network_name(uuid, uuid) is 'Proof of ownership: Fly binds the network to the app for ever.';

create function hangar.monthly_cost_estimate_usd(p_cpus integer, p_memory_mb integer) returns numeric
language plpgsql immutable set search_path = ''
as $$
begin
  return round(greatest(5.00, p_cpus * 2.50 + p_memory_mb::numeric / 1024 * 2.00), 2);
end
$$;
comment on function hangar.monthly_cost_estimate_usd(integer, integer) is 'max(5.00, vCPU x 2.50 + GB x 2.00), half-up to cents, as in shared/domain/cost.py.';

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
comment on function hangar.explain_refused_size(text, integer, integer) is 'Why Fly would refuse this size, in words; null when Fly takes it. As in shared/domain/cost.py.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
