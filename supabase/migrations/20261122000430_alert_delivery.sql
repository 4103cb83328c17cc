-- How the messages about alerts fared: delivered, failed or given up; what waits, and the alert that a destination does not answer.
-- Builds on: outbox.

-- Keeps the alert that messages do not reach this destination. Raised after a quarter of an hour, resolved by the first success.
create function hangar.check_destination(p_destination text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_destination hangar.alert_destinations;
  v_waiting bigint;
  v_since timestamptz;
  v_error text;
  v_limit timestamptz := hangar.now() - interval '15 minutes';
begin
  select d.* into v_destination from hangar.alert_destinations d where d.destination = p_destination;
  select count(*), min(n.created_at) filter (where n.last_error is not null), (array_agg(n.last_error order by n.seq) filter (where n.last_error is not null))[1]
    into v_waiting, v_since, v_error
    from hangar.alert_deliveries n
   where n.destination = p_destination and n.delivered_at is null and n.dead_at is null;
  v_since := least(v_since, v_destination.failing_since);
  if v_since is null or v_waiting = 0 then
    perform hangar.resolve_alert('alert_delivery', p_destination);
  elsif v_since <= v_limit then
    perform hangar.raise_alert('alert_delivery', p_destination,
      format('Alerts do not reach %s since %s: %s. The last error: %s. Hangar keeps the messages and tries again at least every '
        'quarter of an hour. Check HANGAR_ALERT_WEBHOOK_URL of the functions and the receiver; until then, read the alerts with '
        '`hangar status` or on the dashboard', p_destination, to_char(v_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
        case when v_waiting = 1 then '1 message waits' else v_waiting || ' messages wait' end, coalesce(v_destination.last_error, v_error)),
      jsonb_build_object('destination', p_destination, 'waiting', v_waiting, 'since', v_since));
  end if;
end
$$;

-- Ends the leases of these results. The last message that was tried says whether its destination accepts messages.
create function hangar.end_delivery(p_results jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_last record;
begin
  for v_last in
    select distinct on (d.destination) d.destination, r.outcome, r.error, r.retry_after_s
      from jsonb_to_recordset(p_results) as r (delivery_id uuid, token uuid, outcome text, error text, retry_after_s double precision)
      join hangar.alert_deliveries n on n.id = r.delivery_id
      join hangar.alert_destinations d on d.destination = n.destination and d.lease_token = r.token
     order by d.destination, r.outcome = 'skipped', n.seq desc
  loop
    update hangar.alert_destinations d
       set lease_token = null, lease_expires_at = null,
           failures = case v_last.outcome when 'delivered' then 0 when 'failed' then d.failures + 1 else d.failures end,
           failing_since = case v_last.outcome when 'failed' then coalesce(d.failing_since, hangar.now())
                                               when 'skipped' then d.failing_since end,
           last_error = case v_last.outcome when 'failed' then left(coalesce(v_last.error, 'no reason was given'), 500)
                                            when 'skipped' then d.last_error end,
           next_attempt_at = case v_last.outcome
             when 'failed' then hangar.now() + hangar.delivery_backoff(d.failures + 1, v_last.retry_after_s) end
     where d.destination = v_last.destination;
    if v_last.outcome = 'failed' then
      -- The destination is out: its messages wait for it, in their order, and not each for a time of its own.
      update hangar.alert_deliveries n set next_attempt_at = null
       where n.destination = v_last.destination and n.delivered_at is null and n.dead_at is null and n.next_attempt_at is not null;
    end if;
    perform hangar.check_destination(v_last.destination);
  end loop;
end
$$;

create function public.fly_record_deliveries(p_results jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_result record;
  v_recorded integer := 0;
begin
  if p_results is null or jsonb_typeof(p_results) <> 'array' then
    raise exception 'p_results must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_limit('results in one call', greatest(jsonb_array_length(p_results), 1), 2000);
  if exists (select 1 from jsonb_to_recordset(p_results) as r (outcome text)
              where r.outcome is null or r.outcome not in ('delivered', 'failed', 'skipped')) then
    raise exception 'the outcome of a delivery must be delivered, failed or skipped' using errcode = 'invalid_parameter_value';
  end if;
  -- In the order in which fly_take_alerts locks them.
  perform 1 from hangar.alert_destinations d
    where d.destination in (select n.destination from jsonb_to_recordset(p_results) as r (delivery_id uuid)
                              join hangar.alert_deliveries n on n.id = r.delivery_id)
    order by d.destination for no key update;
  -- A delivery counts whoever reports it. A failure, or a message that was not tried, counts only under the lease.
  for v_result in
    select n.id, n.alert_id, n.event, r.outcome, r.error, r.retry_after_s, coalesce(d.lease_token = r.token, false) as is_leased
      from jsonb_to_recordset(p_results) as r (delivery_id uuid, token uuid, outcome text, error text, retry_after_s double precision)
      join hangar.alert_deliveries n on n.id = r.delivery_id
      left join hangar.alert_destinations d on d.destination = n.destination
     where n.delivered_at is null
     order by n.destination, n.seq
  loop
    if v_result.outcome = 'delivered' then
      update hangar.alert_deliveries set delivered_at = v_now, last_error = null, next_attempt_at = null where id = v_result.id;
      update hangar.alerts a set told_at = v_now
        from (select f.id from hangar.alerts f where f.id = v_result.alert_id and f.told_at is null and v_result.event = 'opened'
                 for no key update skip locked) told
       where a.id = told.id;
    elsif v_result.is_leased then
      update hangar.alert_deliveries n
         set attempts = n.attempts - (v_result.outcome = 'skipped')::integer,
             last_error = case v_result.outcome when 'failed' then left(coalesce(v_result.error, 'no reason was given'), 500) else n.last_error end,
             next_attempt_at = case v_result.outcome when 'failed' then v_now + hangar.delivery_backoff(n.attempts, v_result.retry_after_s) end
       where n.id = v_result.id;
    else
      continue;
    end if;
    v_recorded := v_recorded + 1;
  end loop;
  perform hangar.end_delivery(p_results);
  return jsonb_build_object('recorded', v_recorded);
end
$$;
comment on function public.fly_record_deliveries(jsonb) is 'How the claimed messages fared: delivered, failed or skipped. docs/database.md.';

-- Once a sweep: a message is dead when its alert has been over for three days, destinations that no function names are forgotten, and
-- old messages are deleted.
create function hangar.tidy_deliveries() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  update hangar.alert_deliveries n set dead_at = v_now
    from hangar.alerts a
   where a.id = n.alert_id and a.resolved_at <= v_now - interval '3 days' and n.delivered_at is null and n.dead_at is null;
  perform hangar.forget_destinations(interval '7 days', '{}');  -- no function sends alerts any more
  delete from hangar.alert_deliveries
   where id in (select n.id from hangar.alert_deliveries n
                 where (n.delivered_at is not null or n.dead_at is not null) and n.created_at <= v_now - interval '30 days'
                   and exists (select 1 from hangar.alerts a where a.id = n.alert_id and a.resolved_at <= v_now - interval '3 days')
                 order by n.created_at limit 500);
end
$$;

-- For reports: what waits, for which destination, since when and why.
create function hangar.deliveries_json() returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'waiting', coalesce(sum(w.waiting), 0), 'since', min(w.since),
      'given_up', (select count(*) from hangar.alert_deliveries n where n.dead_at > hangar.now() - interval '7 days'),
      'destinations', coalesce(jsonb_agg(jsonb_build_object(
        'destination', d.destination, 'waiting', w.waiting, 'since', w.since, 'failing_since', d.failing_since,
        'last_error', coalesce(d.last_error, w.last_error), 'next_attempt_at', coalesce(d.next_attempt_at, w.next_attempt_at))
        order by d.destination), '[]'))
      from hangar.alert_destinations d
      cross join lateral (
        select count(*) as waiting, min(n.created_at) as since, min(n.next_attempt_at) as next_attempt_at,
               (array_agg(n.last_error order by n.seq) filter (where n.last_error is not null))[1] as last_error
          from hangar.alert_deliveries n
         where n.destination = d.destination and n.delivered_at is null and n.dead_at is null) w);
end
$$;

select hangar.restrict_functions();
