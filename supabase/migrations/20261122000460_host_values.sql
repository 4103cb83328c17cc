-- How values of the host's columns are read, whatever their type: user ids, end dates, and the three answers to "is this user entitled".
-- Builds on: schema.
-- A value that cannot be read is null, never an error: it must not harm other users. The overload is chosen when a reading function is
-- planned, so the host may change the type of a column at any time.

-- A word of the host, without white space around it. btrim alone removes no tab and no line break.
create function hangar.trim_word(p_value text) returns text
language plpgsql immutable set search_path = ''
as $$ begin return regexp_replace(p_value, '^\s+|\s+$', '', 'g'); end $$;

create function hangar.to_uuid(p_value uuid) returns uuid
language plpgsql immutable set search_path = ''
as $$ begin return p_value; end $$;

create function hangar.to_uuid(p_value text) returns uuid
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_value ~* '^\s*\{?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?\s*$' then regexp_replace(p_value, '[{}\s]', '', 'g')::uuid end;
end
$$;

-- The forms in which other programs write a uuid as text, so that an index of the host on its text column can be used.
create function hangar.uuid_texts(p_users uuid[]) returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return (select coalesce(array_agg(f.form), '{}')
            from unnest(p_users) u
            cross join lateral (values (u::text), (upper(u::text)), (replace(u::text, '-', '')), (upper(replace(u::text, '-', '')))) f (form));
end
$$;

create function hangar.to_time(p_value timestamptz) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return p_value; end $$;

-- A time without a zone is UTC, whatever the zone of the session or the database: Prisma, Drizzle and Django write UTC into such columns.
create function hangar.to_time(p_value timestamp) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return p_value at time zone 'UTC'; end $$;

create function hangar.to_time(p_value date) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return p_value::timestamp at time zone 'UTC'; end $$;

-- Unix time: seconds (Stripe), or milliseconds if it is that large (JavaScript). Null for NaN and for times that Postgres cannot hold.
create function hangar.to_time(p_value double precision) returns timestamptz
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_value = 'Infinity' then 'infinity'::timestamptz
              when abs(p_value) < 1e11 then to_timestamp(p_value)
              when abs(p_value) < 1e14 then to_timestamp(p_value / 1000) end;
end
$$;

create function hangar.to_time(p_value text) returns timestamptz
language plpgsql stable set search_path = '' set timezone = 'UTC' set datestyle = 'ISO, YMD'
as $$
declare
  v_value text := lower(hangar.trim_word(p_value));
begin
  if v_value ~ '^\d{9,}(\.\d+)?$' then
    return hangar.to_time(v_value::double precision);
  elsif v_value ~ '^\d{4}-?\d{2}-?\d{2}' or v_value = 'infinity' then
    return v_value::timestamptz;
  end if;
  return null;
exception when data_exception then
  return null;
end
$$;
comment on function hangar.to_time(text) is 'ISO 8601 or Unix time; without a zone it is UTC. Null if it is neither: formats such as 01/02/2027 mean different days to different readers.';

select hangar.restrict_functions();
