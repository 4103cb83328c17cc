-- The settings, the sweeps, the alerts, the plans and the orphans. The apps and the audit log are in `app_tables`.
-- Builds on: schema. Who may read and write them is in `access`.

create table hangar.settings (
  only_row boolean primary key default true check (only_row),
  installation_id uuid not null default gen_random_uuid(),
  live boolean not null default false,
  paused boolean not null default false,
  deletes_paused boolean not null default false,
  fly_org_slug text not null default 'personal' check (fly_org_slug <> ''),
  -- Fly accepts 63 characters; nine of them are the dash and the hash.
  app_prefix text not null default 'vyx-user' check (app_prefix ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  default_region text not null default 'sin' check (default_region ~ '^[a-z]{2,4}(,[a-z]{2,4})*$'),
  default_image text not null default 'registry.fly.io/vyx-app:latest' check (default_image <> ''),
  -- hangar.setting_rules() names the same bounds for operators. The upper bounds also exclude Infinity and NaN, which pass every lower
  -- bound and break every interval.
  retry_base_s numeric not null default 300 check (retry_base_s >= 1),
  retry_cap_s numeric not null default 1800 check (retry_cap_s >= retry_base_s and retry_cap_s <= 604800),
  -- Longer than a call to Fly with its repetitions (40 s), and the 60 s that Fly may still take to close it.
  lease_s numeric not null default 120 check (lease_s between 90 and 7200),
  -- A sweep trusts its lease for 60 s (shared/fleet/sweep.py).
  sweep_lease_s numeric not null default 120 check (sweep_lease_s between 60 and 7200),
  max_apps integer check (max_apps between 0 and 1000000),
  max_monthly_cost_usd numeric(12, 2) check (max_monthly_cost_usd between 0 and 9999999999),
  brake_floor integer not null default 20 check (brake_floor between 0 and 1000000),
  brake_share numeric not null default 0.05 check (brake_share between 0 and 1),
  -- If more apps than this belong to rows that this database never had, the database has lost rows.
  brake_lost integer not null default 3 check (brake_lost between 0 and 1000000),
  brake_released_at timestamptz,
  -- Fly accepts 100; the rest is room for calls that are repeated.
  deletes_per_minute integer not null default 90 check (deletes_per_minute between 1 and 100),
  orphan_after_s numeric not null default 900 check (orphan_after_s between 0 and 604800),
  -- If more apps than this are broken at once, they are one incident and are not repaired one by one.
  incident_floor integer not null default 10 check (incident_floor between 1 and 1000000),
  incident_share numeric not null default 0.2 check (incident_share between 0 and 1),
  -- A user who loses entitlement keeps a running machine for this long. Then the plan's grace begins.
  removal_hold_s numeric not null default 300 check (removal_hold_s between 0 and 604800),
  -- If more apps than this, and more than this share of all, lose their entitlement at once, an operator must confirm it.
  host_loss_floor integer not null default 10 check (host_loss_floor between 0 and 1000000),
  host_loss_share numeric not null default 0.5 check (host_loss_share between 0 and 1),
  unhealthy_after integer not null default 3 check (unhealthy_after between 1 and 100),
  bad_sample_gap_s numeric not null default 240 check (bad_sample_gap_s between 0 and 3600),
  -- The share of the fleet whose drift is repaired at once: at least one app, and none at 0.
  drift_share numeric not null default 0.05 check (drift_share between 0 and 1),
  -- The share of the fleet whose tokens are renewed within an hour: at least one app, and none at 0.
  token_renewal_share numeric not null default 0.02 check (token_renewal_share between 0 and 1),
  renew_tokens_from timestamptz,  -- tokens that were issued before are renewed too: there is a new signing key
  -- How long rows stay after they ended; null: for ever. Older ones are deleted once they are in the archive. The lower bounds are far
  -- above what is still read for decisions and pages (hangar.log_readers).
  events_retention_days integer check (events_retention_days between 30 and 36500),
  samples_retention_days integer check (samples_retention_days between 100 and 36500),
  closed_rows_retention_days integer check (closed_rows_retention_days between 30 and 36500),
  updated_at timestamptz not null default hangar.now()
);
comment on table hangar.settings is 'One row. `live`: serve every entitled user; `paused`: the kill switch, Hangar changes nothing on Fly.';
comment on column hangar.settings.installation_id is 'Must equal the functions'' HANGAR_INSTALLATION_ID; a mismatch means a cloned database and makes Hangar read-only.';
insert into hangar.settings default values;

create table hangar.operators (
  user_id uuid primary key,
  added_by text not null,
  added_at timestamptz not null default hangar.now()
);
comment on table hangar.operators is 'The users who may operate Hangar. The host''s is_admin does not count.';

create table hangar.sweeps (
  name text primary key,
  token uuid,
  holder text,
  lease_expires_at timestamptz,
  cursor jsonb,
  started_at timestamptz,
  heartbeat_at timestamptz,
  finished_at timestamptz,
  completed_at timestamptz,
  report jsonb,
  -- How many sweeps have started since the last complete one, and when the first of them did.
  unfinished integer not null default 0,
  unfinished_since timestamptz
);
comment on table hangar.sweeps is 'One sweep at a time per name: its lease, its cursor, its last report.';

create table hangar.alerts (
  id uuid primary key default gen_random_uuid(),
  kind text not null,
  key text not null,
  message text not null,
  metadata jsonb not null default '{}',
  opened_at timestamptz not null default hangar.now(),
  seen_at timestamptz not null default hangar.now(),
  times bigint not null default 1,
  -- When the first destination accepted the message about it.
  told_at timestamptz,
  resolved_at timestamptz,
  -- The number in the archive.
  seq bigint generated always as identity
);
create unique index alerts_seq on hangar.alerts (seq);
create index alerts_resolved on hangar.alerts (resolved_at) where resolved_at is not null;
create unique index alerts_one_open on hangar.alerts (kind, key) where resolved_at is null;

create table public.fly_plans (
  tier text primary key,
  dedicated boolean not null default false,
  cpu_kind text not null default 'shared',
  cpu_count integer not null default 2,
  memory_mb integer not null default 512,
  region text check (region ~ '^[a-z]{2,4}(,[a-z]{2,4})*$'),
  docker_image text check (docker_image <> ''),
  power text not null default 'always_on' check (power in ('always_on', 'on_demand')),
  public_service boolean not null default false,
  grace_s integer not null default 0 check (grace_s >= 0),
  price_usd numeric(10, 2) check (price_usd >= 0),
  rank integer,
  created_at timestamptz not null default hangar.now(),
  updated_at timestamptz not null default hangar.now(),
  on_unhealthy text not null default 'replace' check (on_unhealthy in ('alert', 'restart', 'replace')),
  -- Further environment of the machines of this tier. Names of Hangar's own contract win.
  env jsonb not null default '{}' check (jsonb_typeof(env) = 'object')
);
comment on table public.fly_plans is 'What a tier includes. Region and image default to those of hangar.settings; grace_s is the time between losing the tier and losing the app.';
comment on column public.fly_plans.rank is 'Which plan a user with several entitling subscriptions gets: the highest rank, then the highest price, then the most memory.';
comment on column public.fly_plans.on_unhealthy is 'How far Hangar goes for an app whose checks fail: only alert, restart it once, or also replace its machine once.';
comment on column public.fly_plans.price_usd is 'What the customer pays per month, for the margin in reports.';

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
comment on table public.fly_overrides is 'An operator''s decision about one user. It takes precedence over the subscription until it ends, and outlives the row.';
create index fly_overrides_plan on public.fly_overrides (plan);

create table public.fly_orphans (
  app text primary key,
  network text not null,
  first_seen_at timestamptz not null default hangar.now(),
  last_seen_at timestamptz not null default hangar.now(),
  sightings integer not null default 1,
  approved_by text,
  user_id uuid,
  lost boolean not null default false,
  listed boolean not null default true,
  absent_at timestamptz
);
comment on table public.fly_orphans is 'Fly apps with our proof of ownership and no live row, as of the last sweep. Age and sightings are the first of two checks before one is removed.';
comment on column public.fly_orphans.listed is 'Whether the last listing showed it. A list that lacks an app proves nothing, so a lost or approved orphan stays until Fly says directly that it is gone.';
comment on column public.fly_orphans.absent_at is 'When Fly first answered a direct question with 404, since it was last listed.';
comment on column public.fly_orphans.user_id is 'The owner according to the closed row, or to the machine''s metadata when it could last be read.';
comment on column public.fly_orphans.lost is 'Its machine names a row that this database never had. A row always exists before its app, so the database has lost rows.';

-- The machine that a row desires. The columns of public.user_fly_apps keep it for outsiders; functions pass it as one value.
create type hangar.machine_spec as (
  region text, docker_image text, cpu_kind text, cpu_count integer, memory_mb integer, power text, public_service boolean, env_version text
);

-- No policy yet, so nobody but the owner reaches a table until `access` has run, whatever the host grants by default.
alter table hangar.settings enable row level security;
alter table hangar.operators enable row level security;
alter table hangar.sweeps enable row level security;
alter table hangar.alerts enable row level security;
alter table public.fly_plans enable row level security;
alter table public.fly_overrides enable row level security;
alter table public.fly_orphans enable row level security;
