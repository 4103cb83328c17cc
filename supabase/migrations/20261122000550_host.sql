-- The host's write becomes desired state in the host's own transaction.
-- Builds on: entitlement.

-- Never fails and never blocks the host's write for long: every error is logged and left to fly_sync_entitlements.
-- The lock time-out limits the wait for a row that a worker holds (no handler catches the cancel that would follow). After the first
-- such wait the rest of the transaction skips our work: 40 rows at 200 ms each would exceed Supabase's statement limit of 8 s.
-- No sequential scans, because a session keeps the plans that it made while the table was empty: one statement over 1,000 users of a
-- young installation would otherwise read the whole table 1,000 times. No JIT, because the high cost that the planner then assigns to
-- the scans without an index (settings, one row) makes it compile them, which takes a tenth of a second each.
create function hangar.on_user_tier_change() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' set enable_seqscan = 'off' set jit = 'off'
as $$
begin
  if current_setting('hangar.skip_rest', true) = 'on' then
    return null;
  end if;
  begin
    if tg_op = 'DELETE' then
      perform hangar.sync_desired_state(old.user_id, 'trigger');
    else
      perform hangar.sync_desired_state(new.user_id, 'trigger');
    end if;
  exception
    when lock_not_available or query_canceled then
      -- A cancel here is the host's own statement_timeout. What is left of it belongs to the host.
      perform set_config('hangar.skip_rest', 'on', true);
      raise log 'hangar: skipped the rest of this transaction (%). fly_sync_entitlements will find the change', sqlstate;
    when assert_failure or others then
      raise log 'hangar: % (%). fly_sync_entitlements will find the change', sqlerrm, sqlstate;
  end;
  return null;
end
$$;
create trigger on_user_tier_change
  after insert or update of tier, status, expires_at or delete on public.user_subscriptions
  for each row execute function hangar.on_user_tier_change();

select hangar.restrict_functions();
