-- How values of the host's columns are read, whatever their type: user ids, end dates, and the three answers to "is this user entitled".
-- Builds on: schema.
-- A value that cannot be read is null, never an error: it must not harm other users. The overload is chosen when a reading function is
-- planned, so the host may change the type of a column at any time.

-- Whether an error while the host is read says that the host cannot be read, so that nothing is known about its users. Every error does but a
-- cancel, such as a statement timeout. A server that shuts down or loses a connection ends the session, which nothing here can catch. So a
-- code such as 57P01, 53300 or 58P01 is one that a function of the host has raised.
create function hangar.is_host_fault(p_sqlstate text) returns boolean
language plpgsql immutable set search_path = ''
as $$ begin return p_sqlstate <> '57014'; end $$;

-- A word of the host, without white space around it. btrim alone removes no tab and no line break.
create function hangar.trim_word(p_value text) returns text
language plpgsql immutable set search_path = ''
as $$ begin return regexp_replace(p_value, '^\s+|\s+$', '', 'g'); end $$;

create function hangar.to_uuid(p_value uuid) returns uuid
language plpgsql immutable set search_path = ''
as $$ begin return p_value; end $$;

-- Every form that Postgres reads: in upper or lower case, in braces, with a hyphen after any four digits or without. Spaces around it are ignored.
create function hangar.to_uuid(p_value text) returns uuid
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_value ~* '^[ \t\n\r\f\v]*\{?([0-9a-f]{4}-?){7}[0-9a-f]{4}\}?[ \t\n\r\f\v]*$' then translate(p_value, E'-{} \t\n\r\f\x0b', '')::uuid end;
end
$$;

-- An expression for the digits of a uuid in a text of the host. Rows with equal digits are the only ones that hangar.to_uuid can read as the
-- same uuid, and finding them takes less than a microsecond for each row (`translate` takes five).
create function hangar.uuid_digits(p_expression text) returns text
language plpgsql immutable set search_path = ''
as $$ begin return format('replace(btrim(lower((%s)::text collate "C"), E''{} \t\n\r\f\x0b''), ''-'', '''')', p_expression); end $$;

-- The forms in which other programs write a uuid as text, so that an index of the host on its text column can be used. A user who is not found
-- by them may still be there in another form: hangar.to_uuid.
create function hangar.uuid_texts(p_users uuid[]) returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return (select coalesce(array_agg(f.form), '{}')
            from unnest(p_users) u
            cross join lateral (values (u::text), (upper(u::text)), (replace(u::text, '-', '')), (upper(replace(u::text, '-', ''))),
                                       ('{' || u::text || '}'), ('{' || upper(u::text) || '}')) f (form));
end
$$;

-- A program without a time writes the beginning of year 1 (Go, .NET), of 1900 (spreadsheets) or of 1970 (Unix time 0, JavaScript's
-- `new Date(null)`), in its own zone, or a second later (MySQL). Seconds that were read as milliseconds are in January 1970. The answer to
-- every time before 1990 is null, because it may mean "no end" as well as "ended". -infinity is meant.
create function hangar.to_time(p_value timestamptz) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return case when not isfinite(p_value) or p_value >= '1990-01-01 00:00:00+00' then p_value end; end $$;

-- A time without a zone is UTC, whatever the zone of the session or the database: Prisma, Drizzle and Django write UTC into such columns.
create function hangar.to_time(p_value timestamp) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return hangar.to_time(p_value at time zone 'UTC'); end $$;

create function hangar.to_time(p_value date) returns timestamptz
language plpgsql immutable set search_path = ''
as $$ begin return hangar.to_time(p_value::timestamp at time zone 'UTC'); end $$;

-- Whether a program would write this many seconds since 1970 as an end: before 2200, or the first or last second of a day.
create function hangar.is_likely_time(p_seconds double precision) returns boolean
language plpgsql immutable set search_path = ''
as $$ begin return p_seconds < 7258118400 or floor(p_seconds)::bigint % 86400 in (0, 86399); end $$;

-- Unix time in seconds (Stripe) or milliseconds (JavaScript), from 2000 (2001) to 2199. Hosts write "for ever" as the first or last second of
-- a day up to 9999, so those are read, too. Null for NaN, 0, -1, seconds since 2001 (Apple), microseconds, and days and minutes such as
-- 20270131 and 202701311530, which are numbers of seconds as well.
create function hangar.to_time(p_value double precision) returns timestamptz
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_value in ('Infinity', '-Infinity') then p_value::text::timestamptz
              when p_value between 946684800 and 253402300799 and hangar.is_likely_time(p_value) then to_timestamp(p_value)
              when p_value between 1e12 and 253402300799999 and hangar.is_likely_time(p_value / 1000) then to_timestamp(p_value / 1000) end;
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
  elsif v_value ~ '^\d{4}-?\d{2}-?\d{2}' or v_value in ('infinity', '-infinity') then
    return hangar.to_time(v_value::timestamptz);
  end if;
  return null;
exception when data_exception then
  return null;
end
$$;
comment on function hangar.to_time(text) is 'ISO 8601 or Unix time; without a zone it is UTC. Null if it is neither: formats such as 01/02/2027 mean different days to different readers.';

-- Whether a column such as deleted_at or is_deleted says that a user is deleted: by a time that has come, or by a flag. A time in the future
-- is a planned deletion, and `infinity` is none. Every other value counts as not deleted, because Hangar removes a deleted user's app at once.
create function hangar.is_deleted(p_value boolean) returns boolean
language plpgsql immutable set search_path = ''
as $$ begin return coalesce(p_value, false); end $$;

create function hangar.is_deleted(p_value timestamptz) returns boolean
language plpgsql stable set search_path = ''
as $$ begin return coalesce(hangar.to_time(p_value) <= hangar.now() and isfinite(p_value), false); end $$;

create function hangar.is_deleted(p_value timestamp) returns boolean
language plpgsql stable set search_path = ''
as $$ begin return hangar.is_deleted(hangar.to_time(p_value)); end $$;

create function hangar.is_deleted(p_value date) returns boolean
language plpgsql stable set search_path = ''
as $$ begin return hangar.is_deleted(hangar.to_time(p_value)); end $$;

create function hangar.is_deleted(p_value double precision) returns boolean
language plpgsql stable set search_path = ''
as $$ begin return coalesce(p_value = 1, false) or hangar.is_deleted(hangar.to_time(p_value)); end $$;

create function hangar.is_deleted(p_value text) returns boolean
language plpgsql stable set search_path = ''
as $$ begin return coalesce(lower(hangar.trim_word(p_value)) in ('true', 't', 'yes', 'y', '1'), false) or hangar.is_deleted(hangar.to_time(p_value)); end $$;

select hangar.restrict_functions();
