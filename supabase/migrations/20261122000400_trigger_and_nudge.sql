-- The host's write becomes desired state in its own transaction, and a best-effort call says "look at this user now".

-- Never fails and never hangs the host's write: whatever goes wrong here is logged and left to fly_sync_entitlements.
-- The lock time-out is what keeps a row that we hold from hanging it (no handler catches the cancel that would follow), and after the
-- first one the rest of the transaction gives way at once: 40 rows at 200 ms would break Supabase's 8 s statement limit.
-- No sequential scans, because a session's plans outlive the empty table they were made for: one statement over 1,000 users of a
-- young installation would otherwise read the whole table 1,000 times. No JIT, because the price that the planner then puts on the few
-- scans that have no index (settings, one row) makes it compile them, for a tenth of a second each.
create function hangar.on_user_tier_change() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' set enable_seqscan = 'off' set jit = 'off'
as $$
begin
  if current_setting('hangar.give_way', true) = 'on' then
    return null;
  end if;
  begin
    if tg_op = 'DELETE' then
      perform hangar.apply(old.user_id, 'trigger');
    else
      perform hangar.apply(new.user_id, 'trigger');
    end if;
  exception
    when lock_not_available or query_canceled then
      -- A cancel here is the host's own statement_timeout running out, and it must not be us who uses it up.
      perform set_config('hangar.give_way', 'on', true);
      raise log 'hangar: gave way (%); fly_sync_entitlements will find the change', sqlstate;
    when assert_failure or others then
      raise log 'hangar: % (%); fly_sync_entitlements will find the change', sqlerrm, sqlstate;
  end;
  return null;
end
$$;
create trigger on_user_tier_change
  after insert or update of tier, status, expires_at or delete on public.user_subscriptions
  for each row execute function hangar.on_user_tier_change();

-- HMAC-SHA256 on core sha256() (RFC 2104): pgcrypto is not everywhere.
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

-- The URL of one function. hangar_functions_url is a base, or a JSON object with one URL for each function.
create function hangar.function_url(p_setting text, p_function text) returns text
language sql immutable strict set search_path = ''
as $$
  select case when pg_catalog.left(pg_catalog.btrim(p_setting), 1) = '{'
              then p_setting::jsonb ->> p_function
              else pg_catalog.rtrim(pg_catalog.btrim(p_setting), '/') || '/' || p_function end
$$;

-- The headers of one signed call (Standard Webhooks): the signature is over the very text that pg_net sends, `body::text`.
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

-- Queues one signed call with pg_net; null when an address or the secret is missing. Raises when pg_net or Vault is: its callers guard.
-- Signed with the wall clock, not hangar.now(): the receiver holds it against its own.
-- One second, because pg_net's batch, the host's own webhooks included, waits for its slowest call.
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

-- Best effort: a lost nudge costs latency only. The first five users of a transaction are named, the rest share one drain, and
-- everything after that is free. `hangar.nudges` counts in the transaction; 'off' is how sync and the procedures mute it.
create function hangar.nudge() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  v_said text := coalesce(nullif(current_setting('hangar.nudges', true), ''), '0');
begin
  if v_said in ('off', '6') then
    return null;
  end if;
  begin
    if v_said = '5' then
      perform hangar.call_function('health', '{"drain_only": true}');
    else
      perform hangar.call_function(case new.desired_state when 'present' then 'provision' else 'deprovision' end,
        jsonb_build_object('user_id', new.user_id, 'reason', 'desired_' || new.desired_state));
    end if;
    perform set_config('hangar.nudges', (v_said::integer + 1)::text, true);
  exception
    when query_canceled or assert_failure or others then
      -- Missing, raising or locked: the next row would fare no better.
      perform set_config('hangar.nudges', 'off', true);
      raise log 'hangar: no nudge: % (%); the next sweep will do the work', sqlerrm, sqlstate;
  end;
  return null;
end
$$;
create trigger nudge_on_insert after insert on public.user_fly_apps for each row execute function hangar.nudge();
create trigger nudge_on_change after update on public.user_fly_apps
  for each row when (old.generation is distinct from new.generation) execute function hangar.nudge();

-- Mutes nudges in this transaction and returns what to put back.
create function hangar.mute_nudges() returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_before text := coalesce(current_setting('hangar.nudges', true), '');
begin
  perform set_config('hangar.nudges', 'off', true);
  return v_before;
end
$$;

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
