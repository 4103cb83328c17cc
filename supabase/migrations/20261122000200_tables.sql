-- The tables. Invariants live here: one live row for each user, names unique for ever, events that nobody can change.

create table public.fly_plans (
  tier text primary key,
  dedicated boolean not null default false,
  cpu_kind text not null default 'shared',
  cpu_count integer not null default 2,
  memory_mb integer not null default 512,
  region text check (region ~ '^[a-z]{3}$'),
  docker_image text check (docker_image <> ''),
  power text not null default 'always_on' check (power in ('always_on', 'on_demand')),
  public_service boolean not null default false,
  grace_s integer not null default 0 check (grace_s >= 0),
  price_usd numeric(10, 2) check (price_usd >= 0),
  created_at timestamptz not null default hangar.now(),
  updated_at timestamptz not null default hangar.now()
);
comment on table public.fly_plans is 'What a tier buys. Region and image default to those of hangar.settings; grace_s is the time between losing the tier and losing the app.';
comment on column public.fly_plans.price_usd is 'What the customer pays a month, for the margin in reports.';

create table public.user_fly_apps (
  id uuid primary key default gen_random_uuid(),
  -- No foreign key to auth.users: the row outlives the user until Fly confirms the deletion.
  user_id uuid not null,
  fly_app_name text not null unique,
  fly_org_slug text not null,
  status text not null default 'provisioning' check (status in ('provisioning', 'active', 'error', 'deprovisioning', 'deleted')),
  region text not null,
  docker_image text not null,
  deployed_at timestamptz,
  last_health_check timestamptz,
  health_status text check (health_status in ('healthy', 'unhealthy', 'unknown')),
  error_message text,
  retry_count integer not null default 0 check (retry_count >= 0),
  monthly_cost_estimate_usd numeric(10, 2),
  cpu_count integer not null default 2,
  memory_mb integer not null default 512,
  created_at timestamptz not null default hangar.now(),
  updated_at timestamptz not null default hangar.now(),
  deleted_at timestamptz,
  tier text,
  desired_state text not null default 'present' check (desired_state in ('present', 'absent')),
  generation bigint not null default 1,
  observed_generation bigint check (observed_generation <= generation),
  network text not null,
  machine_id text,
  machine_state text,
  machine_region text,
  cpu_kind text not null default 'shared' check (cpu_kind in ('shared', 'performance')),
  power text not null default 'always_on' check (power in ('always_on', 'on_demand')),
  public_service boolean not null default false,
  secrets_version bigint,
  next_attempt_at timestamptz default hangar.now(),
  error_code text,
  lease_token uuid,
  lease_holder text,
  lease_expires_at timestamptz,
  open_intent jsonb,
  create_unknown_at timestamptz,
  delete_after timestamptz,
  delete_turn_at timestamptz,
  name_seq integer not null default 0 check (name_seq >= 0),
  bad_samples integer not null default 0,
  bad_sample_at timestamptz,
  price_usd_per_s numeric,
  observed_at timestamptz,
  check ((status = 'deleted') = (deleted_at is not null)),
  check ((lease_token is null) = (lease_expires_at is null))
) with (fillfactor = 80);  -- room for the sweep's updates, which touch no indexed column
comment on table public.user_fly_apps is 'One app of one user: what is desired, what was observed, who may act. See docs/database.md.';
create unique index user_fly_apps_one_live on public.user_fly_apps (user_id) where deleted_at is null;
create index user_fly_apps_user on public.user_fly_apps (user_id, created_at desc);
create index user_fly_apps_turns on public.user_fly_apps (delete_turn_at)
  where deleted_at is null and desired_state = 'absent' and delete_turn_at is not null;
create index user_fly_apps_due on public.user_fly_apps (desired_state, next_attempt_at, id) where deleted_at is null and next_attempt_at is not null;

create table public.user_fly_app_events (
  id uuid primary key default gen_random_uuid(),
  fly_app_id uuid references public.user_fly_apps (id),
  user_id uuid,
  event_type text not null check (event_type in (
    'provision_requested', 'provision_started', 'provision_completed', 'provision_failed',
    'health_check_passed', 'health_check_failed',
    'deprovision_requested', 'deprovision_started', 'deprovision_completed', 'deprovision_failed',
    'error_occurred', 'recovery_attempted',
    'desired_changed', 'action', 'orphan_found', 'orphan_removed', 'override_set', 'settings_changed',
    'brake_tripped', 'alert_raised')),
  status text not null check (status in ('intent', 'succeeded', 'failed', 'unknown', 'info')),
  metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  error_details text,
  created_at timestamptz not null default hangar.now(),
  -- The order of writing, where times are equal.
  seq bigint generated always as identity
);
comment on table public.user_fly_app_events is 'The audit log: append-only, never cascaded away. Every Fly write is an `action` with an intent before and an outcome after.';
create index user_fly_app_events_app on public.user_fly_app_events (fly_app_id, created_at desc);
create index user_fly_app_events_user on public.user_fly_app_events (user_id, created_at desc);
create index user_fly_app_events_created on public.user_fly_app_events (created_at desc);
-- The brake counts these before each destroy, and Fly's limit of app deletions a minute is kept by them.
create index user_fly_app_events_destroys on public.user_fly_app_events (created_at)
  where event_type = 'action' and status = 'intent' and (metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app');

create table public.fly_overrides (
  user_id uuid primary key,
  override text not null check (override in ('grant', 'deny')),
  plan text references public.fly_plans (tier),
  actor text not null,
  reason text,
  ends_at timestamptz,
  created_at timestamptz not null default hangar.now(),
  check ((override = 'grant') = (plan is not null))
);
comment on table public.fly_overrides is 'An operator''s word about one user; beats the subscription until it ends. Outlives the row.';
create index fly_overrides_plan on public.fly_overrides (plan);

create table public.fly_orphans (
  app text primary key,
  network text not null,
  first_seen_at timestamptz not null default hangar.now(),
  last_seen_at timestamptz not null default hangar.now(),
  sightings integer not null default 1,
  approved_by text,
  user_id uuid,
  lost boolean not null default false
);
comment on table public.fly_orphans is 'Fly apps with our proof and no live row, as of the last sweep. Age and sightings are the first witness for removing one.';
comment on column public.fly_orphans.user_id is 'Whose it was, by its closed row or by what its machine''s metadata once said.';
comment on column public.fly_orphans.lost is 'Its machine names a row that this database never had, although a row always comes before its app.';

create table public.fly_cost_intervals (
  id uuid primary key default gen_random_uuid(),
  fly_app_id uuid not null references public.user_fly_apps (id),
  user_id uuid not null,
  machine_id text,
  region text,
  cpu_kind text not null,
  cpu_count integer not null,
  memory_mb integer not null,
  price_usd_per_s numeric,
  started_at timestamptz not null,
  ended_at timestamptz,
  check (ended_at >= started_at)
);
comment on table public.fly_cost_intervals is 'When a machine was seen in `started`, which is when Fly bills it, and at which list price. One open interval for each app.';
create unique index fly_cost_intervals_one_open on public.fly_cost_intervals (fly_app_id) where ended_at is null;
create index fly_cost_intervals_app on public.fly_cost_intervals (fly_app_id, started_at);
create index fly_cost_intervals_user on public.fly_cost_intervals (user_id);

-- Who may see what. service_role reads; it writes only through the procedures, which run as their owner, so that no client can
-- step round lease, generation, brake and audit. Plans are plain data with a guard, so those it may write.
alter table public.fly_plans enable row level security;
alter table public.user_fly_apps enable row level security;
alter table public.user_fly_app_events enable row level security;
alter table public.fly_overrides enable row level security;
alter table public.fly_orphans enable row level security;
alter table public.fly_cost_intervals enable row level security;
create policy service_role_all on public.fly_plans for all to service_role using (true) with check (true);
create policy service_role_all on public.user_fly_apps for all to service_role using (true) with check (true);
create policy service_role_all on public.user_fly_app_events for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_overrides for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_orphans for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_cost_intervals for all to service_role using (true) with check (true);
create policy own_row on public.user_fly_apps for select to authenticated using (user_id = (select auth.uid()));
-- A user may follow the life of their own app; who decided what about them, and why, is the operator's.
create policy own_row on public.user_fly_app_events for select to authenticated
  using (user_id = (select auth.uid()) and event_type in (
    'provision_requested', 'provision_started', 'provision_completed', 'health_check_passed', 'health_check_failed',
    'deprovision_requested', 'deprovision_started', 'deprovision_completed'));
-- Older projects grant everything on new tables by default; newer ones nothing. Both end here.
revoke all on public.fly_plans, public.user_fly_apps, public.user_fly_app_events, public.fly_overrides, public.fly_orphans,
  public.fly_cost_intervals from public, anon, authenticated, service_role;
revoke all on sequence public.user_fly_app_events_seq_seq from public, anon, authenticated, service_role;
grant select on public.user_fly_apps, public.user_fly_app_events, public.fly_overrides, public.fly_orphans,
  public.fly_cost_intervals to service_role;
grant select, insert, update, delete on public.fly_plans to service_role;
grant select on public.user_fly_apps, public.user_fly_app_events to authenticated;

create function hangar.touch() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.updated_at := hangar.now();
  return new;
end
$$;
create trigger touch before update on public.user_fly_apps for each row execute function hangar.touch();
create trigger touch before update on public.fly_plans for each row execute function hangar.touch();
create trigger touch before update on hangar.settings for each row execute function hangar.touch();

create function hangar.refuse_event_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  raise exception 'user_fly_app_events is append-only: % refused', lower(tg_op) using errcode = 'insufficient_privilege';
end
$$;
create trigger append_only before update or delete on public.user_fly_app_events
  for each row execute function hangar.refuse_event_change();
create trigger append_only_truncate before truncate on public.user_fly_app_events
  for each statement execute function hangar.refuse_event_change();

create function hangar.guard_plan() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_refused text := hangar.explain_refused_size(new.cpu_kind, new.cpu_count, new.memory_mb);
begin
  if v_refused is not null then
    raise exception 'plan %: %', new.tier, v_refused using errcode = 'invalid_parameter_value';
  end if;
  return new;
end
$$;
create trigger guard_plan before insert or update on public.fly_plans for each row execute function hangar.guard_plan();

-- The trail of a settings change, also of one made by plain SQL. hangar.actor is set by the procedures.
create function hangar.record_settings_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb;
begin
  select jsonb_object_agg(n.key, jsonb_build_object('from', o.value, 'to', n.value))
    into v_changes
    from jsonb_each(to_jsonb(new) - 'updated_at') n
    join jsonb_each(to_jsonb(old)) o using (key)
   where n.value is distinct from o.value;
  if v_changes is not null then
    insert into public.user_fly_app_events (event_type, status, metadata)
    values ('settings_changed', 'info', jsonb_strip_nulls(jsonb_build_object(
      'actor', coalesce(nullif(current_setting('hangar.actor', true), ''), session_user::text),
      'reason', nullif(current_setting('hangar.reason', true), ''))) || jsonb_build_object('changes', v_changes));
  end if;
  return null;
end
$$;
create trigger record_settings_change after update on hangar.settings
  for each row execute function hangar.record_settings_change();

-- Money is a function of what was observed: an interval is open exactly while the machine is seen in `started`.
create function hangar.record_cost() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_open public.fly_cost_intervals;
  v_runs boolean := new.machine_state is not distinct from 'started' and new.deleted_at is null;
begin
  select * into v_open from public.fly_cost_intervals where fly_app_id = new.id and ended_at is null;
  if v_open.id is not null then
    if v_runs and v_open.price_usd_per_s is null and v_open.machine_id is not distinct from new.machine_id then
      -- The price came a save later than the state: it was the price from the start.
      update public.fly_cost_intervals set price_usd_per_s = new.price_usd_per_s, region = coalesce(new.machine_region, region)
       where id = v_open.id;
      return null;
    end if;
    if v_runs and v_open.price_usd_per_s is not distinct from new.price_usd_per_s
       and v_open.machine_id is not distinct from new.machine_id then
      return null;
    end if;
    -- The successor starts where this one ends; a clock set back may not turn it round.
    v_now := greatest(v_now, v_open.started_at);
    update public.fly_cost_intervals set ended_at = v_now where id = v_open.id;
  end if;
  if v_runs then
    select greatest(v_now, max(ended_at)) into v_now from public.fly_cost_intervals where fly_app_id = new.id;
    insert into public.fly_cost_intervals (fly_app_id, user_id, machine_id, region, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at)
    values (new.id, new.user_id, new.machine_id, coalesce(new.machine_region, new.region), new.cpu_kind, new.cpu_count, new.memory_mb,
            new.price_usd_per_s, v_now);
  end if;
  return null;
end
$$;
create trigger record_cost_on_insert after insert on public.user_fly_apps
  for each row when (new.machine_state = 'started') execute function hangar.record_cost();
create trigger record_cost after update on public.user_fly_apps
  for each row when (old.machine_state is distinct from new.machine_state
                  or old.machine_id is distinct from new.machine_id
                  or old.price_usd_per_s is distinct from new.price_usd_per_s
                  or old.deleted_at is distinct from new.deleted_at)
  execute function hangar.record_cost();

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
