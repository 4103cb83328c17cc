-- The schedule: a full sweep every 5 minutes, a drain every minute. Without pg_cron, another scheduler must call the health function.
-- Builds on: nudge (hangar.call_health).

-- Supabase has both extensions. Elsewhere they may be absent or not preloaded; then everything works except the timing.
do $$
begin
  if to_regprocedure('net.http_post(text,jsonb,jsonb,jsonb,integer)') is null
     and exists (select 1 from pg_catalog.pg_available_extensions where name = 'pg_net' and installed_version is null) then
    create extension if not exists pg_net with schema extensions;
    update hangar.host_state set enabled_extensions = enabled_extensions || 'pg_net'::text where only_row;
  end if;
exception when others then
  raise notice 'Hangar: pg_net could not be enabled (%). Changes wait for the scheduled sweep', sqlerrm;
end
$$;
do $$
begin
  if to_regprocedure('cron.schedule(text,text,text)') is null
     and exists (select 1 from pg_catalog.pg_available_extensions where name = 'pg_cron' and installed_version is null) then
    create extension if not exists pg_cron with schema pg_catalog;
    update hangar.host_state set enabled_extensions = enabled_extensions || 'pg_cron'::text where only_row;
  end if;
exception when others then
  raise notice 'Hangar: pg_cron could not be enabled (%)', sqlerrm;
end
$$;
do $$
begin
  if to_regprocedure('cron.schedule(text,text,text)') is null then
    raise notice 'Hangar: pg_cron is not installed. Let a scheduler call the health function (docs/database.md)';
    return;
  end if;
  -- A job with the same name is overwritten, so this may run again.
  perform cron.schedule('check-fly-apps-health', '*/5 * * * *', 'select hangar.call_health(false)');
  perform cron.schedule('hangar-drain', '* * * * *', 'select hangar.call_health(true)');
exception when others then
  raise notice 'Hangar: the jobs could not be scheduled (%). Let a scheduler call the health function', sqlerrm;
end
$$;
