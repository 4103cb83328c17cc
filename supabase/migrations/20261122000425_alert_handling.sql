-- What an operator has said about an open alert: acknowledged, or snoozed until a time. Neither ends the alert. One whose snooze is over
-- is sent again if it is still open.
-- Builds on: alerts, outbox.

create table hangar.alert_handling (
  alert_id uuid primary key references hangar.alerts (id),
  state text not null check (state in ('acknowledged', 'snoozed')),
  actor text not null,
  reason text,
  handled_at timestamptz not null default hangar.now(),
  until timestamptz,
  check ((state = 'snoozed') = (until is not null))
);
comment on table hangar.alert_handling is 'Who has acknowledged or snoozed an alert, why and until when. The audit log has the earlier ones.';
create index alert_handling_until on hangar.alert_handling (until) where until is not null;

revoke all on hangar.alert_handling from public, anon, authenticated, service_role;
grant select on hangar.alert_handling to service_role;
alter table hangar.alert_handling enable row level security;
create policy service_role_all on hangar.alert_handling for all to service_role using (true) with check (true);

-- Ends the snoozes whose time is over. Alerts that are still open are sent again to every destination that has accepted them.
create function hangar.end_snoozes() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  with ended as (
    delete from hangar.alert_handling h
     where h.alert_id in (select e.alert_id from hangar.alert_handling e where e.until <= v_now order by e.until limit 500 for update skip locked)
    returning h.alert_id
  )
  insert into hangar.alert_deliveries (alert_id, event, destination, created_at)
  select a.id, 'reminded', n.destination, v_now
    from ended e
    join hangar.alerts a on a.id = e.alert_id and a.resolved_at is null
    join hangar.alert_deliveries n on n.alert_id = a.id and n.event = 'opened' and n.delivered_at is not null
    join hangar.alert_destinations d on d.destination = n.destination
   order by a.opened_at, a.id, n.destination
  on conflict (alert_id, event, destination) do update
    set created_at = excluded.created_at, delivered_at = null, dead_at = null, attempts = 0, next_attempt_at = null, last_error = null;
end
$$;

-- How urgent a kind of alert is, 1 the most: what concerns the whole installation comes before single apps. So many alerts about single apps
-- never push the others off a page that shows only some.
create function hangar.alert_rank(p_kind text) returns integer
language sql immutable set search_path = ''
as $$
  select coalesce(pg_catalog.array_position(array[
    'brake', 'installation', 'fly_unreachable', 'host_loss', 'host_binding', 'fly_refused', 'log_unwritable', 'sweep_unfinished',
    'incident', 'clock_skew', 'wrong_organisation', 'unlisted', 'nudges', 'max_apps', 'max_cost', 'unknown_tier', 'unknown_status',
    'unreadable_end', 'unknown_user', 'orphans', 'legacy_unpaid', 'provisioning_slow', 'alert_delivery', 'drift', 'release_failed',
    'renewal_failed', 'signing_key', 'token_lapses', 'user_secrets_missing', 'provision_failed', 'deprovision_failed', 'crash_loop',
    'unhealthy', 'unknown_health', 'orphan_look'
  ], p_kind), 1000)
$$;

select hangar.restrict_functions();
