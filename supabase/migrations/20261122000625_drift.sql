-- Drift: what Fly runs differs from what the row asks for. When it began, who hears of it, and which app may be repaired now.
-- Builds on: limits, alerts, audit_log. The functions judge drift (shared/domain/drift.py); this file decides what follows from it.

create index user_fly_apps_drift on public.user_fly_apps (drift_since, id) where deleted_at is null and drift <> '{}';

-- The bookkeeping that belongs to every change of `drift`, whoever writes it. A new generation asks for a new machine, so nothing counts
-- as drift until it is reached; a new image has a digest of its own.
create function hangar.keep_drift() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.deleted_at is not null or new.generation is distinct from old.generation then
    new.drift := '{}';
  end if;
  if new.docker_image is distinct from old.docker_image then
    new.image_digest := null;
  end if;
  if new.drift = '{}' then
    new.drift_since := null;
    new.drift_repair := null;
    new.drift_error := null;
    if new.generation is distinct from old.generation then
      new.drift_repair_at := null;
      new.drift_repairs := 0;
    end if;
  elsif old.drift = '{}' then
    new.drift_since := hangar.now();
    -- Drift that returns within an hour of its repair counts on: something changes this machine again and again.
    if new.drift_repair_at is null or new.drift_repair_at <= hangar.now() - interval '1 hour' then
      new.drift_repairs := 0;
    end if;
  end if;
  return new;
end
$$;
create trigger keep_drift before update on public.user_fly_apps
  for each row when (old.drift is distinct from new.drift or old.generation is distinct from new.generation
                  or old.docker_image is distinct from new.docker_image or old.deleted_at is distinct from new.deleted_at)
  execute function hangar.keep_drift();

create function hangar.record_drift() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (new.id, new.user_id, case when new.drift = '{}' then 'drift_ended' else 'drift_found' end, 'info',
          case when new.drift = '{}' then jsonb_build_object('was', old.drift, 'since', old.drift_since) else new.drift end);
  return null;
end
$$;
create trigger record_drift after update on public.user_fly_apps
  for each row when (old.drift is distinct from new.drift) execute function hangar.record_drift();

-- The kinds of difference that an update in place can repair. A machine cannot be moved to another region.
create function hangar.repairable_drift(p_drift jsonb) returns boolean
language sql immutable set search_path = ''
as $$ select p_drift - 'region' <> '{}' $$;

-- After how many repairs without effect an app is left to a person.
create function hangar.most_drift_repairs() returns integer
language sql immutable set search_path = ''
as $$ select 3 $$;

-- Why no drift may be repaired now, as a code; null if it may. Only a healthy fleet is repaired, and one bad repair stops the others.
create function hangar.drift_hold() returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_now timestamptz := hangar.now();
begin
  select * into strict v_settings from hangar.settings;
  return coalesce(
    case when v_settings.paused then 'paused' when v_settings.drift_share = 0 then 'off' end,
    (select l.kind from hangar.alerts l
      where l.resolved_at is null and l.kind in ('incident', 'fly_unreachable', 'brake', 'installation') order by l.kind limit 1),
    case when exists (
      select 1 from public.user_fly_apps a
       where a.deleted_at is null and a.desired_state = 'present' and a.drift_repair_at between v_now - interval '1 hour' and v_now
         and (a.status = 'error' or a.health_status = 'unhealthy')) then 'last_repair' end);
end
$$;

-- Asked before the call: the repair was admitted, and nothing has happened since that forbids it. Otherwise the admission ends.
create function hangar.may_repair_drift(p_row uuid) returns boolean
language plpgsql volatile set search_path = ''
as $$
begin
  -- An operator has decided already; a sweep's admission ends when the fleet is no longer healthy.
  if (select a.drift_repair = 'operator' or a.drift_repair = 'sweep' and hangar.drift_hold() is null
        from public.user_fly_apps a where a.id = p_row) then
    return true;
  end if;
  update public.user_fly_apps set drift_repair = null where id = p_row and drift_repair is not null;
  return false;
end
$$;

-- The row with an accepted intent that sends a machine config. An admitted repair of drift is used up before its call, so that a worker
-- that dies repeats nothing.
create function hangar.record_deploying(p_row public.user_fly_apps, p_intent jsonb, p_deploying jsonb) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
begin
  if p_intent -> 'metadata' ->> 'purpose' = 'drift' then
    p_row.drift_repair := null;
    p_row.drift_repair_at := hangar.now();
    p_row.drift_repairs := p_row.drift_repairs + 1;
    p_row.drift_error := null;
  end if;
  if p_deploying is not null and p_deploying <> 'null' then
    p_row.env_digest := p_deploying ->> 'env_digest';
    p_row.env_version_deployed := p_row.env_version;
    if p_deploying -> 'resolves_tag' = 'true' then
      p_row.image_digest := null;
    end if;
  end if;
  return p_row;
end
$$;

-- An operator asks for work on one app: whatever drift is found is repaired without waiting for the budget or after earlier repairs.
create function hangar.request_drift_repair(p_row uuid) returns void
language sql volatile set search_path = ''
as $$
  update public.user_fly_apps set drift_repair = 'operator', drift_repairs = 0
   where id = p_row and deleted_at is null and desired_state = 'present'
$$;

create function hangar.count_drift() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'apps', (select pg_catalog.count(*) from public.user_fly_apps a where a.deleted_at is null and a.drift <> '{}'),
    'kinds', (select coalesce(pg_catalog.jsonb_object_agg(k.kind, k.apps), '{}')
                from (select d.kind, pg_catalog.count(*) as apps
                        from public.user_fly_apps a cross join lateral pg_catalog.jsonb_object_keys(a.drift) as d (kind)
                       where a.deleted_at is null and a.drift <> '{}' group by d.kind) k),
    'held', hangar.drift_hold(),
    'oldest', (select pg_catalog.min(a.drift_since) from public.user_fly_apps a where a.deleted_at is null and a.drift <> '{}'))
$$;

-- What Hangar does about one kind of drift, for its alert.
-- `p_on_demand`: how many of the apps have a plan that lets them sleep.
create function hangar.explain_drift_repair(p_kind text, p_given_up bigint, p_apps bigint, p_on_demand bigint) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_hold text := hangar.drift_hold();
begin
  return case
    when p_kind = 'region' then concat_ws('. ',
      case when p_apps > p_on_demand then 'Only a release moves a machine: run `hangar release create --drift`, or add the region to the plan' end,
      case when p_on_demand > 0 then format('%s of them may sleep (plan with power on_demand), and no release moves those: add the region to the plan, or '
        'set its power to always_on and then run `hangar release create --drift`', p_on_demand) end)
    when v_hold = 'off' then 'Hangar repairs none, because drift_share is 0. Repair one with `hangar retry USER`'
    when v_hold = 'last_repair' then 'Hangar repairs no more, because an app that was repaired within the last hour is unhealthy or failed'
    when v_hold is not null then format('Hangar repairs none as long as this lasts: %s', v_hold)
    else 'Hangar updates the machines in place, a few with each sweep' end
    || case when p_given_up > 0 then format('. %s of them were repaired %s times and differ again or still; they wait for an operator: see '
         'why with `hangar explain USER`, and try again with `hangar retry USER`', p_given_up, hangar.most_drift_repairs()) else '' end;
end
$$;

-- One alert for each kind of difference, with the number of apps and three examples. It resolves when no app has it any more.
create function hangar.check_drift() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_drift record;
  v_kinds text[] := '{}'::text[];
begin
  for v_drift in
    select k.kind, count(*) as apps, count(*) filter (where k.given_up) as given_up, count(*) filter (where k.power = 'on_demand') as on_demand,
           string_agg(format('%s (user %s) %s', k.fly_app_name, k.user_id, k.text), '; ' order by k.nr) filter (where k.nr <= 3) as examples
      from (select d.key as kind, d.value as text, a.fly_app_name, a.user_id, a.power,
                   a.drift_repairs >= hangar.most_drift_repairs() and a.drift_repair is null as given_up,
                   row_number() over (partition by d.key order by a.drift_since, a.id) as nr
              from public.user_fly_apps a cross join lateral jsonb_each_text(a.drift) d
             where a.deleted_at is null and a.drift <> '{}') k
     group by k.kind
  loop
    v_kinds := array_append(v_kinds, v_drift.kind);
    perform hangar.raise_alert('drift', v_drift.kind,
      format('%s app(s) run another %s than they should: %s%s. They are priced as they run. %s', v_drift.apps, v_drift.kind,
        v_drift.examples, case when v_drift.apps > 3 then '; …' else '' end,
        hangar.explain_drift_repair(v_drift.kind, v_drift.given_up, v_drift.apps, v_drift.on_demand)),
      jsonb_build_object('apps', v_drift.apps, 'given_up', v_drift.given_up));
  end loop;
  update hangar.alerts l set resolved_at = hangar.now() where l.kind = 'drift' and l.resolved_at is null and l.key <> all (v_kinds);
end
$$;

create function public.fly_start_drift_repairs() returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_settings hangar.settings;
  v_hold text := hangar.drift_hold();
  v_room bigint := 0;
  v_started integer := 0;
begin
  select * into strict v_settings from hangar.settings;
  if v_hold is null then
    -- One at a time, otherwise two sweeps would both see the same room.
    perform pg_advisory_xact_lock(hashtextextended('hangar.drift', 0));
    select greatest(1, floor(v_settings.drift_share * count(*)))
           - count(*) filter (where a.drift_repair = 'sweep' or a.drift_repair_at > v_now - interval '5 minutes')
      into v_room from public.user_fly_apps a where a.deleted_at is null and a.desired_state <> 'legacy';
  end if;
  if v_room > 0 then
    with picked as (
      select a.id from public.user_fly_apps a
       where a.deleted_at is null and a.drift <> '{}' and hangar.repairable_drift(a.drift) and a.drift_repair is null
         and a.status = 'active' and a.desired_state = 'present' and a.observed_generation = a.generation
         and a.machine_state in ('started', 'stopped', 'suspended')
         and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
         -- A second repair waits as long as a second round of attempts, a third one for the longest wait.
         and (a.drift_repairs = 0 or a.drift_repairs < hangar.most_drift_repairs()
              and a.drift_repair_at <= v_now - make_interval(secs => case a.drift_repairs when 1 then v_settings.retry_base_s
                                                                      else v_settings.retry_cap_s end::double precision))
       order by a.drift_since, a.id limit v_room
         for no key update skip locked
    )
    update public.user_fly_apps a
       set drift_repair = 'sweep', drift_repair_at = v_now, next_attempt_at = least(a.next_attempt_at, v_now)
      from picked p where a.id = p.id;
    get diagnostics v_started = row_count;
  end if;
  return jsonb_build_object('started', v_started, 'held', v_hold,
    'drifted', (select count(*) from public.user_fly_apps a where a.deleted_at is null and a.drift <> '{}'));
end
$$;
comment on function public.fly_start_drift_repairs() is 'Makes apps due whose drift may be repaired now: a share of the fleet at once, and only while it is healthy. docs/database.md.';

select hangar.restrict_functions();
