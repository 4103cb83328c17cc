-- The outbox of alerts: one message for each alert that opens or resolves and for each destination, stored in the transaction that
-- opens or resolves the alert, and claimed by the functions, which send it.
-- Builds on: alerts.

create table hangar.alert_destinations (
  destination text primary key check (destination <> '' and length(destination) <= 300),
  added_at timestamptz not null default hangar.now(),
  seen_at timestamptz not null default hangar.now(),
  failures integer not null default 0,
  failing_since timestamptz,
  last_error text,
  next_attempt_at timestamptz,
  lease_token uuid,
  lease_expires_at timestamptz
);
comment on table hangar.alert_destinations is 'Where alerts are sent: the names of the webhooks that the functions are configured with. The URLs are credentials and are not stored.';
comment on column hangar.alert_destinations.lease_token is 'One worker at a time sends to a destination, so that its messages keep their order.';

create table hangar.alert_deliveries (
  id uuid primary key default gen_random_uuid(),
  alert_id uuid not null references hangar.alerts (id),
  event text not null check (event in ('opened', 'resolved', 'reminded')),
  destination text not null,
  created_at timestamptz not null default hangar.now(),
  attempts integer not null default 0,
  next_attempt_at timestamptz,
  last_error text,
  delivered_at timestamptz,
  dead_at timestamptz,
  -- The order of writing, for messages of equal times.
  seq bigint generated always as identity,
  unique (alert_id, event, destination)
);
comment on table hangar.alert_deliveries is 'The outbox of alerts: one message about one alert to one destination. It waits until it is delivered, or until its alert has been over for three days (dead_at).';
create index alert_deliveries_waiting on hangar.alert_deliveries (destination, seq) where delivered_at is null and dead_at is null;
create index alert_deliveries_ended on hangar.alert_deliveries (created_at) where delivered_at is not null or dead_at is not null;

revoke all on hangar.alert_destinations, hangar.alert_deliveries from public, anon, authenticated, service_role;
grant select on hangar.alert_destinations, hangar.alert_deliveries to service_role;
alter table hangar.alert_destinations enable row level security;
alter table hangar.alert_deliveries enable row level security;
create policy service_role_all on hangar.alert_destinations for all to service_role using (true) with check (true);
create policy service_role_all on hangar.alert_deliveries for all to service_role using (true) with check (true);

-- A trigger, so that no statement can open or resolve an alert without its messages.
create function hangar.queue_deliveries() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into hangar.alert_deliveries (alert_id, event, destination)
    select new.id, 'opened', d.destination from hangar.alert_destinations d order by d.destination
    on conflict do nothing;
  else
    -- Only where the opening was, or will be, delivered.
    insert into hangar.alert_deliveries (alert_id, event, destination)
    select new.id, 'resolved', o.destination from hangar.alert_deliveries o
     where o.alert_id = new.id and o.event = 'opened' and o.dead_at is null order by o.destination
    on conflict do nothing;
  end if;
  return null;
end
$$;
create trigger queue_opened after insert on hangar.alerts for each row execute function hangar.queue_deliveries();
create trigger queue_resolved after update on hangar.alerts
  for each row when (old.resolved_at is null and new.resolved_at is not null) execute function hangar.queue_deliveries();

-- Registers the destinations that a function is configured with. A new one receives the alerts that are open now.
create function hangar.register_destinations(p_destinations text[]) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  insert into hangar.alert_destinations (destination)
  select distinct n from unnest(p_destinations) n
   where not exists (select 1 from hangar.alert_destinations d where d.destination = n)
  on conflict do nothing;
  update hangar.alert_destinations d set seen_at = hangar.now()
    from (select s.destination from hangar.alert_destinations s
           where s.destination = any (p_destinations) and s.seen_at < hangar.now() - interval '1 minute'
             for no key update skip locked) stale
   where d.destination = stale.destination;
  -- At each call, because an alert may have been opened by a transaction that did not see the new destination yet.
  insert into hangar.alert_deliveries (alert_id, event, destination)
  select a.id, 'opened', d.destination
    from hangar.alerts a join hangar.alert_destinations d on d.destination = any (p_destinations)
   where a.resolved_at is null
     and not exists (select 1 from hangar.alert_deliveries n
                      where n.alert_id = a.id and n.event = 'opened' and n.destination = d.destination)
   order by a.opened_at, a.id, d.destination
  on conflict do nothing;
end
$$;

-- Forgets the destinations, other than p_named, that no function has named for so long, with what waits for them.
create function hangar.forget_destinations(p_silent interval, p_named text[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_gone text;
begin
  for v_gone in
    select d.destination from hangar.alert_destinations d where d.seen_at <= hangar.now() - p_silent and d.destination <> all (p_named)
     order by d.destination for update skip locked
  loop
    delete from hangar.alert_destinations where destination = v_gone;
    delete from hangar.alert_deliveries where destination = v_gone and delivered_at is null;
    perform hangar.resolve_alert('alert_delivery', v_gone);
  end loop;
end
$$;

-- What may be sent to this destination now, in order. A message that was refused waits for a time of its own, and every later one about
-- the same kind and key waits with it, so that "resolved" never arrives before "opened".
create function hangar.due_deliveries(p_destination text) returns setof hangar.alert_deliveries
language sql stable set search_path = ''
as $$
  select n.*
    from hangar.alert_deliveries n join hangar.alerts a on a.id = n.alert_id
   where n.destination = p_destination and n.delivered_at is null and n.dead_at is null
     and (n.next_attempt_at is null or n.next_attempt_at <= hangar.now())
     and not exists (
       select 1 from hangar.alert_deliveries e join hangar.alerts b on b.id = e.alert_id
        where e.destination = p_destination and e.delivered_at is null and e.dead_at is null
          and e.seq < n.seq and e.next_attempt_at > hangar.now() and b.kind = a.kind and b.key = a.key)
   order by n.seq
$$;

-- 5 s after the first failure in a row, then twice as long after each further one, at most a quarter of an hour.
create function hangar.delivery_backoff(p_failures integer, p_retry_after_s double precision default null) returns interval
language sql immutable set search_path = ''
as $$
  select pg_catalog.make_interval(secs => greatest(least(900, 5 * 2 ^ (greatest(least(p_failures, 10), 1) - 1)),
                                                   least(coalesce(p_retry_after_s, 0), 86400)))
$$;

create function public.fly_take_alerts(p_limit integer default 100, p_destinations jsonb default '["default"]') returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_token uuid := gen_random_uuid();
  v_destinations text[];
  v_alerts jsonb;
begin
  perform hangar.check_limit('p_limit', p_limit, 100);
  if p_destinations is null or jsonb_typeof(p_destinations) <> 'array' then
    raise exception 'p_destinations must be a JSON array of names' using errcode = 'invalid_parameter_value';
  end if;
  v_destinations := array(select distinct n from jsonb_array_elements_text(p_destinations) n where n <> '' order by n);
  perform hangar.check_limit('the number of destinations', cardinality(v_destinations), 20);
  perform hangar.register_destinations(v_destinations);
  perform hangar.forget_destinations(interval '6 hours', v_destinations);
  with ready as (
    select d.destination
      from hangar.alert_destinations d
     where d.destination = any (v_destinations)
       and (d.lease_expires_at is null or d.lease_expires_at <= v_now)
       and (d.next_attempt_at is null or d.next_attempt_at <= v_now)
       and exists (select 1 from hangar.due_deliveries(d.destination))
     order by d.destination
       for no key update skip locked
  ), leased as (
    update hangar.alert_destinations d set lease_token = v_token, lease_expires_at = v_now + interval '30 seconds'
      from ready r where d.destination = r.destination
    returning d.destination
  ), claimed as (
    update hangar.alert_deliveries n set attempts = n.attempts + 1
      from leased l cross join lateral (
        select q.id from hangar.due_deliveries(l.destination) q limit p_limit) c
     where n.id = c.id
    returning n.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
           'id', a.id, 'kind', a.kind, 'key', a.key, 'message', a.message, 'metadata', a.metadata, 'opened_at', a.opened_at,
           'resolved_at', a.resolved_at, 'event', c.event, 'destination', c.destination, 'delivery_id', c.id, 'attempts', c.attempts,
           'queued_at', c.created_at,
           'token', v_token) order by c.destination, c.seq), '[]')
    into v_alerts
    from claimed c join hangar.alerts a on a.id = c.alert_id;
  return jsonb_build_object('alerts', v_alerts);
end
$$;
comment on function public.fly_take_alerts(integer, jsonb) is 'Claims, for half a minute, the messages about alerts that are due for these destinations. fly_record_deliveries says how it went. docs/database.md.';

select hangar.restrict_functions();
