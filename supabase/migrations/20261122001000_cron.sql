-- The schedule: a full sweep every 5 minutes, a drain every minute. Where there is no pg_cron, Cloud Scheduler calls health instead.

-- Reads addresses and secret at each call, so that rotating them needs no change here; a job whose text held them would show them to
-- whoever can read cron.job. What is missing is an alert, not a failed run.
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
comment on function hangar.call_health(boolean) is 'Queues one signed call of the health function; null and an alert when it cannot.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;

-- Supabase has both extensions; elsewhere they may be absent or not preloaded, and everything but the timing works without.
do $$
begin
  if to_regprocedure('net.http_post(text,jsonb,jsonb,jsonb,integer)') is null
     and exists (select 1 from pg_catalog.pg_available_extensions where name = 'pg_net') then
    create extension if not exists pg_net with schema extensions;
  end if;
exception when others then
  raise notice 'Hangar: pg_net could not be enabled (%); changes wait for the scheduled sweep', sqlerrm;
end
$$;
do $$
begin
  if to_regprocedure('cron.schedule(text,text,text)') is null
     and exists (select 1 from pg_catalog.pg_available_extensions where name = 'pg_cron') then
    create extension if not exists pg_cron with schema pg_catalog;
  end if;
exception when others then
  raise notice 'Hangar: pg_cron could not be enabled (%)', sqlerrm;
end
$$;
do $$
begin
  if to_regprocedure('cron.schedule(text,text,text)') is null then
    raise notice 'Hangar: there is no pg_cron here; let a scheduler call the health function (docs/database.md)';
    return;
  end if;
  -- The same name overwrites: running this again changes nothing.
  perform cron.schedule('check-fly-apps-health', '*/5 * * * *', 'select hangar.call_health(false)');
  perform cron.schedule('hangar-drain', '* * * * *', 'select hangar.call_health(true)');
exception when others then
  raise notice 'Hangar: the jobs could not be scheduled (%); let a scheduler call the health function', sqlerrm;
end
$$;
