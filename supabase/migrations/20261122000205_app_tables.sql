-- The apps and the audit log, with the invariants that the schema itself enforces: one live row per user, app names that are never used
-- twice, rows of the original system that nothing works on before they are adopted.
-- Builds on: tables, original_system. Who may read and write them is in `access`. Tables of the original system are upgraded in place:
-- they are set aside, and afterwards they get what the tables that are created here have. docs/upgrade.md.

select hangar.set_originals_aside();

create table public.user_fly_apps (
  id uuid primary key default gen_random_uuid(),
  -- No foreign key to auth.users: the row outlives the user until Fly confirms the deletion of the app.
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
  -- 'legacy': an app of the original system that an operator has not decided about yet. Hangar does nothing with it.
  desired_state text not null default 'present' check (desired_state in ('present', 'absent', 'legacy')),
  -- 0: a row of the original system. Hangar's own rows begin with 1, and so does a row that was adopted.
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
  -- The token in Fly's secrets; until when the one is valid that the machine runs with, as observed.
  token_issued_at timestamptz,
  token_expires_at timestamptz,
  token_running_until timestamptz,
  token_wanted_at timestamptz,  -- a token that was issued up to then is to be replaced
  token_renewal_at timestamptz,
  -- The public addresses as last observed; null: the app never had one of ours. An empty list: one may exist.
  addresses jsonb check (jsonb_typeof(addresses) = 'array'),
  next_attempt_at timestamptz default hangar.now(),
  error_code text,
  lease_token uuid,
  lease_holder text,
  lease_expires_at timestamptz,
  open_intent jsonb,
  create_unknown_at timestamptz,
  -- The removal hold: until then a row that is no longer wanted keeps its machine running. The grace begins after it.
  hold_until timestamptz,
  -- Whether the app was as desired when the hold began, so that a renewal needs no call to Fly.
  converged_before_hold boolean not null default false,
  -- The grace of the plan that the row was given, for a plan that is renamed or removed while the app runs.
  grace_s integer check (grace_s >= 0),
  delete_after timestamptz,
  delete_turn_at timestamptz,
  name_seq integer not null default 0 check (name_seq >= 0),
  bad_samples integer not null default 0,
  bad_sample_at timestamptz,
  price_usd_per_s numeric,
  observed_at timestamptz,
  admitted_cost_usd numeric(10, 2),
  health_step text check (health_step in ('restart', 'replace')),
  -- What Fly says that runs: image, image_digest, cpu_kind, cpu_count, memory_mb, region.
  observed_spec jsonb check (jsonb_typeof(observed_spec) = 'object'),
  -- The digest that Fly resolved the image's tag to, and a fingerprint of the environment, when Hangar last deployed the machine.
  image_digest text,
  env_digest text,
  -- By kind of difference: what runs and what should run, as text.
  drift jsonb not null default '{}' check (jsonb_typeof(drift) = 'object'),
  drift_since timestamptz,
  drift_repair text check (drift_repair in ('sweep', 'operator')),
  drift_repair_at timestamptz,
  drift_repairs integer not null default 0 check (drift_repairs >= 0),
  drift_error text,
  -- A fingerprint of the further environment that plan, release or pin give this user; null: none. The values are for workers only.
  env_version text,
  -- The env_version that was deployed last.
  env_version_deployed text,
  -- Fly's own id of an app that was adopted. It proves ownership in place of the network, which Fly never changes for an app that exists.
  adopted_app_id text check (adopted_app_id <> ''),
  -- The release that may move the machine to another region; null: none.
  move_release_id integer,
  -- The stopped machine of such a move: the next one, or the former one until the release is done with the app.
  spare_machine_id text,
  -- The id of the key that signed the token in Fly's secrets; null: not known.
  token_key_id text check (token_key_id <> ''),
  -- An operator's decision, not judged yet, that this user takes another name: asked_at, actor, reason, others.
  new_name_request jsonb check (jsonb_typeof(new_name_request) = 'object'),
  check ((status = 'deleted') = (deleted_at is not null)),
  check (desired_state <> 'legacy' or generation = 0 and deleted_at is null
    and lease_token is null and next_attempt_at is null and open_intent is null and machine_id is null and secrets_version is null),
  check ((lease_token is null) = (lease_expires_at is null)),
  check (spare_machine_id <> machine_id)
) with (fillfactor = 80);  -- room for the sweep's updates, which change no indexed column
comment on table public.user_fly_apps is 'One app of one user: what is desired, what was observed, who holds the lease. See docs/database.md.';
create unique index user_fly_apps_one_live on public.user_fly_apps (user_id) where deleted_at is null;
create index user_fly_apps_user on public.user_fly_apps (user_id, created_at desc);
create index user_fly_apps_turns on public.user_fly_apps (delete_turn_at)
  where deleted_at is null and desired_state = 'absent' and delete_turn_at is not null;
create index user_fly_apps_errors on public.user_fly_apps (error_code) where deleted_at is null and error_code is not null;
create index user_fly_apps_spares on public.user_fly_apps (id) where spare_machine_id is not null and deleted_at is null;
create index user_fly_apps_due on public.user_fly_apps (desired_state, next_attempt_at, id) where deleted_at is null and next_attempt_at is not null;
select hangar.upgrade_original('user_fly_apps');

create table public.user_fly_app_events (
  id uuid primary key default gen_random_uuid(),
  fly_app_id uuid,
  user_id uuid,
  event_type text not null check (event_type in (
    'provision_requested', 'provision_started', 'provision_completed', 'provision_failed',
    'health_check_passed', 'health_check_failed',
    'deprovision_requested', 'deprovision_started', 'deprovision_completed', 'deprovision_failed',
    'error_occurred', 'recovery_attempted',
    'desired_changed', 'action', 'drift_found', 'drift_ended', 'orphan_found', 'orphan_removed', 'override_set', 'settings_changed',
    'brake_tripped', 'alert_raised', 'release_changed', 'release_target', 'pin_set', 'alert_handled', 'plan_changed', 'command_run',
    'user_secret_changed', 'token_revoked', 'user_erased', 'adoption', 'orphan_approved')),
  status text not null check (status in ('intent', 'succeeded', 'failed', 'unknown', 'info')),
  metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  error_details text,
  created_at timestamptz not null default hangar.now(),
  seq bigint generated always as identity  -- the order of writing, for events with equal times
);
comment on table public.user_fly_app_events is 'The audit log: append-only, and no foreign key ever deletes from it. Every change on Fly is an `action`: an intent before the call, an outcome after it.';
create index user_fly_app_events_app on public.user_fly_app_events (fly_app_id, created_at desc);
create index user_fly_app_events_user on public.user_fly_app_events (user_id, created_at desc);
create index user_fly_app_events_created on public.user_fly_app_events (created_at desc);
-- The brake counts these events before each destroy, and so does the limit of app deletions per minute.
create index user_fly_app_events_destroys on public.user_fly_app_events (created_at)
  where event_type = 'action' and status = 'intent' and (metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app');
-- What the log remembers is found without reading the log: the outcome of an intent, the removals of orphans.
create index user_fly_app_events_outcomes on public.user_fly_app_events ((metadata ->> 'intent_id'))
  where event_type = 'action' and status <> 'intent';
create index user_fly_app_events_orphans on public.user_fly_app_events (created_at)
  where event_type = 'action' and (metadata ->> 'purpose') = 'orphan';
-- The archive reads and deletes by number.
create unique index user_fly_app_events_seq on public.user_fly_app_events (seq);
select hangar.upgrade_original('user_fly_app_events');

alter table public.user_fly_app_events add foreign key (fly_app_id) references public.user_fly_apps (id);
select hangar.disable_original_triggers();

-- No policy yet, as in `tables`.
alter table public.user_fly_apps enable row level security;
alter table public.user_fly_app_events enable row level security;

drop function hangar.set_originals_aside(), hangar.explain_not_original(text), hangar.explain_refused_parts(regclass),
  hangar.explain_refused_rows(text), hangar.new_columns(text), hangar.record_original(text), hangar.disable_original_triggers(), hangar.find_original_triggers(),
  hangar.upgrade_original(text), hangar.tighten(text, regclass, regclass, boolean), hangar.fill_original_apps(regclass),
  hangar.add_new_columns(text, regclass, regclass), hangar.drop_original_parts(regclass, text[]), hangar.is_ours(regclass, smallint[], text[]),
  hangar.column_names(regclass);
