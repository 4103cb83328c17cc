-- Calls from the database to the functions: signed webhooks, among them the nudge, a best-effort wake-up call. Correctness never depends
-- on a call; a lost one costs latency.
-- Builds on: tables, alerts. Needs pg_net and Vault at run time; without them an alert says so and scheduled sweeps do the work.

-- HMAC-SHA256 (RFC 2104) with the built-in sha256(), because pgcrypto is not installed everywhere.
create function hangar.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable strict parallel safe set search_path = ''
as $$
declare
  v_key bytea := case when length(key) > 64 then sha256(key) else key end;
  v_inner bytea;
  v_outer bytea;
begin
  v_key := v_key || decode(repeat('00', 64 - length(v_key)), 'hex');
  v_inner := v_key;
  v_outer := v_key;
  for i in 0..63 loop
    v_inner := set_byte(v_inner, i, get_byte(v_key, i) # 54);  -- 0x36
    v_outer := set_byte(v_outer, i, get_byte(v_key, i) # 92);  -- 0x5c
  end loop;
  return sha256(v_outer || sha256(v_inner || message));
end
$$;

-- The URL of one function. The secret hangar_functions_url is a base URL, or a JSON object with one URL per function.
create function hangar.function_url(p_setting text, p_function text) returns text
language sql immutable strict set search_path = ''
as $$
  select case when pg_catalog.left(pg_catalog.btrim(p_setting), 1) = '{'
              then p_setting::jsonb ->> p_function
              else pg_catalog.rtrim(pg_catalog.btrim(p_setting), '/') || '/' || p_function end
$$;

-- The headers of one signed call (Standard Webhooks). The signature covers exactly the text that pg_net sends: `body::text`.
create function hangar.sign_webhook(p_secret text, p_id text, p_at timestamptz, p_body jsonb) returns jsonb
language sql immutable strict set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'Content-Type', 'application/json',
    'webhook-id', p_id,
    'webhook-timestamp', t.unix,
    'webhook-signature', 'v1,' || pg_catalog.encode(hangar.hmac_sha256(
      pg_catalog.decode(pg_catalog.substr(p_secret, 7), 'base64'),
      pg_catalog.convert_to(p_id || '.' || t.unix || '.' || p_body::text, 'UTF8')), 'base64'))
    from (select pg_catalog.floor(extract(epoch from p_at))::bigint::text as unix) t
$$;

-- Queues one signed call with pg_net; null if a URL or the secret is missing. Raises if pg_net or Vault fails, so callers must guard.
-- Signed with the wall clock, not hangar.now(): the receiver compares it with its own clock.
-- The time-out is one second, because pg_net's whole batch, the host's own webhooks included, waits for its slowest call.
create function hangar.call_function(p_function text, p_body jsonb) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  v_url text;
  v_secret text;
begin
  select hangar.function_url(max(s.decrypted_secret) filter (where s.name = 'hangar_functions_url'), p_function),
         max(s.decrypted_secret) filter (where s.name = 'hangar_webhook_secret')
    into v_url, v_secret
    from vault.decrypted_secrets s
   where s.name in ('hangar_functions_url', 'hangar_webhook_secret');
  if v_url ~ '^https?://' and v_secret ~ '^whsec_.' then
    return net.http_post(
      url := v_url, body := p_body,
      headers := hangar.sign_webhook(v_secret, 'msg_' || replace(gen_random_uuid()::text, '-', ''), clock_timestamp(), p_body),
      timeout_milliseconds := 1000);
  end if;
  return null;
end
$$;

-- The nudge: p_users have changed (null: unknown which). Up to five users are named, more are one drain. The first five
-- calls of a transaction are sent, then one drain covers the rest. A call that cannot be queued costs latency only.
create function hangar.wake_up(p_users uuid[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_sent text := coalesce(nullif(current_setting('hangar.wake_ups', true), ''), '0');
begin
  if v_sent = '6' then
    return;
  end if;
  perform hangar.call_function('health', case when v_sent = '5' or p_users is null or cardinality(p_users) > 5 then '{"drain_only": true}'::jsonb
    else jsonb_build_object('drain_only', true, 'user_ids', to_jsonb(p_users)) end);
  perform set_config('hangar.wake_ups', (v_sent::integer + 1)::text, true);
exception
  when others then
    perform set_config('hangar.wake_ups', '6', true);  -- it would fail for the next statement too
    raise log 'hangar: wake-up call not sent: % (%). The next drain does the work', sqlerrm, sqlstate;
end
$$;

-- Why wake-up calls cannot be sent, or null. They fail silently inside the host's transactions, so this keeps the alert about it.
create function hangar.check_nudges() returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_problem text;
  v_names text[];
begin
  begin
    if to_regprocedure('net.http_post(text,jsonb,jsonb,jsonb,integer)') is null then
      v_problem := 'pg_net is not installed (net.http_post is missing)';
    else
      select array_agg(s.name) into v_names from vault.decrypted_secrets s
       where s.name = 'hangar_functions_url' and hangar.function_url(s.decrypted_secret, 'health') ~ '^https?://'
          or s.name = 'hangar_webhook_secret' and s.decrypted_secret ~ '^whsec_.';
      select string_agg(n, ' and ') into v_problem
        from unnest(array['hangar_functions_url', 'hangar_webhook_secret']) n where n <> all (coalesce(v_names, '{}'));
      v_problem := 'Vault has no valid ' || v_problem;
    end if;
  exception when others then
    v_problem := 'Vault cannot be read: ' || sqlerrm;
  end;
  if v_problem is null then
    perform hangar.resolve_alert('nudges', 'configuration');
  else
    perform hangar.raise_alert('nudges', 'configuration',
      format('The database cannot send wake-up calls (nudges), so changes wait for the next scheduled sweep: %s. '
        'See docs/database.md, Vault.', v_problem));
  end if;
  return v_problem;
end
$$;

-- What the scheduled jobs run. Reads URL and secret at each call, so that rotating them needs no change here, and so that they do not
-- appear in cron.job. If something is missing it raises an alert instead of failing the run.
create function hangar.call_health(drain_only boolean default false) returns bigint
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  if hangar.check_nudges() is not null then
    return null;
  end if;
  return hangar.call_function('health', case when drain_only then '{"drain_only": true}'::jsonb else '{}'::jsonb end);
end
$$;
comment on function hangar.call_health(boolean) is 'Queues one signed call of the health function. If it cannot, returns null and raises an alert.';

select hangar.restrict_functions();
