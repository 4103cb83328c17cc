-- pg_net's tables and functions as its 0.20 shows them; local/supabase/extensions/pg_net.py is the worker. One thing differs: the
-- wake travels by NOTIFY, which like pg_net's own wake takes effect only when the transaction commits.
create schema net;

create domain net.http_method as text
check (value ilike 'get' or value ilike 'post' or value ilike 'delete');

-- Unlogged as in the original: crash recovery empties both.
create unlogged table net.http_request_queue (
  id bigserial,
  method net.http_method not null,
  url text not null,
  headers jsonb not null,
  body bytea,
  timeout_milliseconds int not null
);

create unlogged table net._http_response (
  id bigint,
  status_code integer,
  content_type text,
  headers jsonb,
  content text,
  timed_out bool,
  error_msg text,
  created timestamptz not null default now()
);
create index _http_response_created_idx on net._http_response (created);

create function net.wake() returns void language sql as $$
  select pg_catalog.pg_notify('pg_net_wake', '')
$$;

-- The stand-in does not restart; what callers see of a restart is that it looks at the queue again.
create function net.worker_restart() returns bool language sql as $$
  select net.wake();
  select true
$$;

create function net.check_worker_is_up() returns void language plpgsql security definer set search_path = '' as $$
begin
  if not exists (
    select from pg_catalog.pg_stat_activity
    where application_name = 'pg_net worker' and datname = current_database()
  ) then
    raise exception using
      message = 'the pg_net background worker is not up',
      detail = 'the pg_net background worker is down due to an internal error and cannot process requests',
      hint = 'make sure that you didn''t modify any of pg_net internal tables';
  end if;
end
$$;

create function net.wait_until_running() returns void language plpgsql security definer set search_path = '' as $$
begin
  while not exists (
    select from pg_catalog.pg_stat_activity
    where application_name = 'pg_net worker' and datname = current_database()
  ) loop
    perform pg_catalog.pg_sleep(0.05);
    perform pg_catalog.pg_stat_clear_snapshot();
  end loop;
end
$$;

create function net._urlencode_string(string varchar) returns text language sql immutable strict as $$
  select coalesce(pg_catalog.string_agg(
    case
      when pg_catalog.chr(byte) ~ '[A-Za-z0-9._~-]' then pg_catalog.chr(byte)
      else '%' || pg_catalog.upper(pg_catalog.lpad(pg_catalog.to_hex(byte), 2, '0'))
    end, '' order by at
  ), '')
  from pg_catalog.generate_series(0, pg_catalog.octet_length(pg_catalog.convert_to(string, 'UTF8')) - 1) as at,
    lateral (select pg_catalog.get_byte(pg_catalog.convert_to(string, 'UTF8'), at) as byte) as each
$$;

create function net._encode_url_with_params(url text, params jsonb) returns text language sql stable as $$
  select url || case when query = '' then '' when pg_catalog.strpos(url, '?') > 0 then '&' else '?' end || query
  from (
    select coalesce(pg_catalog.string_agg(
      net._urlencode_string(key) || '=' || net._urlencode_string(coalesce(value, '')), '&'
    ), '') as query
    from pg_catalog.jsonb_each_text(params)
  ) as encoded
$$;

create function net.http_get(
  url text,
  params jsonb default '{}'::jsonb,
  headers jsonb default '{}'::jsonb,
  timeout_milliseconds int default 5000
) returns bigint language plpgsql strict volatile as $$
declare
  request_id bigint;
begin
  insert into net.http_request_queue (method, url, headers, timeout_milliseconds)
  values ('GET', net._encode_url_with_params(url, params), headers, timeout_milliseconds)
  returning id into request_id;
  perform net.wake();
  return request_id;
end
$$;

create function net.http_post(
  url text,
  body jsonb default '{}'::jsonb,
  params jsonb default '{}'::jsonb,
  headers jsonb default '{"Content-Type": "application/json"}'::jsonb,
  timeout_milliseconds int default 5000
) returns bigint language plpgsql volatile as $$
declare
  request_id bigint;
  content_type text;
begin
  select header_value into content_type
  from jsonb_each_text(coalesce(headers, '{}'::jsonb)) as sent (header_name, header_value)
  where lower(header_name) = 'content-type'
  limit 1;
  if content_type is null then
    headers := headers || '{"Content-Type": "application/json"}'::jsonb;
  end if;
  if content_type <> 'application/json' then
    raise exception 'Content-Type header must be "application/json"';
  end if;
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values (
    'POST',
    net._encode_url_with_params(url, params),
    headers,
    convert_to(body::text, 'UTF8'),
    timeout_milliseconds
  )
  returning id into request_id;
  perform net.wake();
  return request_id;
end
$$;

create function net.http_delete(
  url text,
  params jsonb default '{}'::jsonb,
  headers jsonb default '{}'::jsonb,
  timeout_milliseconds int default 5000,
  body jsonb default null
) returns bigint language plpgsql volatile as $$
declare
  request_id bigint;
begin
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values (
    'DELETE',
    net._encode_url_with_params(url, params),
    headers,
    convert_to(body::text, 'UTF8'),
    timeout_milliseconds
  )
  returning id into request_id;
  perform net.wake();
  return request_id;
end
$$;

-- The extension opens its tables to everybody; Supabase then closes the two request functions and runs them as owner.
grant usage on schema net to public;
grant all on all tables in schema net to public;
grant all on all sequences in schema net to public;
alter function net.http_get security definer;
alter function net.http_post security definer;
alter function net.http_get set search_path = net;
alter function net.http_post set search_path = net;
revoke all on function net.http_get, net.http_post from public;
grant usage on schema net to postgres, anon, authenticated, service_role;
grant execute on function net.http_get, net.http_post to postgres, anon, authenticated, service_role;
