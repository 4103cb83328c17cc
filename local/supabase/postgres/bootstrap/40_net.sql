-- pg_net's tables and net.http_post as in its version 0.20, which is all that Hangar calls of it. The worker is
-- local/supabase/extensions/pg_net.py. One thing differs: the wake travels by NOTIFY, which like pg_net's own wake takes
-- effect only when the transaction commits.
create schema net;

create domain net.http_method as text
check (value ilike 'get' or value ilike 'post' or value ilike 'delete');

-- Unlogged as in pg_net: crash recovery empties both.
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
  if params <> '{}'::jsonb then
    raise exception 'the local pg_net does not support params: put them into the url' using errcode = 'feature_not_supported';
  end if;
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
    url,
    headers,
    convert_to(body::text, 'UTF8'),
    timeout_milliseconds
  )
  returning id into request_id;
  perform net.wake();
  return request_id;
end
$$;

-- The extension opens its tables to everybody. Supabase then closes the request functions and runs them as owner.
grant usage on schema net to public;
grant all on all tables in schema net to public;
grant all on all sequences in schema net to public;
alter function net.http_post security definer;
alter function net.http_post set search_path = net;
revoke all on function net.http_post from public;
grant usage on schema net to postgres, anon, authenticated, service_role;
grant execute on function net.http_post to postgres, anon, authenticated, service_role;
