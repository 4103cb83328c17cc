-- Releases: what moves to a new image, size or environment, in which order, and how far each app has come. Beside them what one user's
-- machine is given instead of what the plan says: by a release, or by an operator's pin.
-- Builds on: tables.

create table hangar.releases (
  id integer generated always as identity primary key,
  -- 'machine' changes what it names; 'plan' gives each app what its plan says today.
  kind text not null default 'machine' check (kind in ('machine', 'plan')),
  state text not null default 'draft' check (state in ('draft', 'rolling', 'paused', 'completed', 'aborted', 'rolling_back', 'rolled_back')),
  image text check (image <> ''),
  -- What the tag means: as the registry answered, or as Fly reported for the canary.
  image_digest text check (image_digest <> ''),
  -- Of kind 'plan': the machine of each tier as its plan described it at the start, and what each of their images means.
  plan_specs jsonb,
  plan_digests jsonb not null default '{}',
  cpu_kind text check (cpu_kind in ('shared', 'performance')),
  cpu_count integer,
  memory_mb integer,
  env jsonb not null default '{}' check (jsonb_typeof(env) = 'object'),
  -- The version that the backend's /ready must report, if the operator names one.
  version text check (version <> ''),
  -- Where the machines move: a list in order of preference.
  region text check (region <> ''),
  tiers text[],
  regions text[],
  users uuid[],
  share numeric not null default 1 check (share > 0 and share <= 1),
  canary_users uuid[],
  canary_size integer not null default 1 check (canary_size between 1 and 50),
  wave_shares numeric[] not null default '{0.05,0.25,1}',
  soak_s numeric not null default 60 check (soak_s between 0 and 86400),
  -- How long an app may take from the change to the first good look.
  deadline_s numeric not null default 600 check (deadline_s between 30 and 86400),
  max_moving integer not null default 50 check (max_moving between 1 and 500),
  moving_share numeric not null default 0.1 check (moving_share > 0 and moving_share <= 1),
  failure_share numeric not null default 0.02 check (failure_share between 0 and 1),
  -- 0 is the canary.
  wave integer not null default 0 check (wave >= 0),
  wave_began_at timestamptz,
  -- Why nothing moves now although the release is rolling, as a code, and since when.
  held_by text,
  held_since timestamptz,
  -- When a worker last moved it on. A schedule that stands still takes no time from anybody.
  advanced_at timestamptz,
  -- Since when moving it on has ended in an error that may pass by itself, such as a deadlock.
  error_since timestamptz,
  -- Why it is paused, and since when, if its failures have paused it.
  reason text,
  failed_at timestamptz,
  -- Whether plans and settings say what the release changes, so that new apps get it too.
  adopted boolean not null default false,
  -- What they said before, for a rollback.
  adopted_from jsonb,
  why text,
  created_by text not null,
  -- The caller's id of the request, so that a repeated call does not make a second release.
  request uuid unique,
  created_at timestamptz not null default hangar.now(),
  started_at timestamptz,
  ended_at timestamptz,
  -- What the release or its rollback has left in plans and settings, because somebody had edited it since: [{"what", "tier", ...}].
  kept jsonb,
  -- What plans and settings said when the release was started: what somebody edits until it is complete, stays.
  plans_at_start jsonb
);
comment on table hangar.releases is 'What moves chosen apps to a new image, size or environment in waves. docs/releases.md.';
create index releases_active on hangar.releases (id) where state in ('rolling', 'paused', 'rolling_back');

create table hangar.release_targets (
  release_id integer not null references hangar.releases (id) on delete cascade,
  row_id uuid not null references public.user_fly_apps (id),
  user_id uuid not null,
  wave integer not null,
  -- The order within the release: started and healthy apps first, all tiers and regions early.
  place integer not null,
  state text not null default 'pending' check (state in ('pending', 'applying', 'verifying', 'done', 'failed', 'skipped', 'reverted')),
  -- Whether the app is on its way back to what it ran before, or waits for its turn to go back.
  goes_back boolean not null default false,
  must_go_back boolean not null default false,
  -- How a way back ends.
  ends_as text not null default 'reverted' check (ends_as in ('reverted', 'skipped')),
  was_unhealthy boolean not null default false,
  generation bigint,
  -- {"tier", "spec", "given", "digest", ...}: what the app had before, whole and without its pin; "gave": what the release gave instead.
  previous jsonb,
  -- The image that the release gives this app; null if the app keeps its own.
  image text,
  applied_at timestamptz,
  deadline_at timestamptz,
  looked_at timestamptz,
  -- When the reading of the newest look began, and until when a worker is at the next one.
  read_at timestamptz,
  reserved_until timestamptz,
  good_since timestamptz,
  -- When this app was started once more after it had been good: some images start once and never again.
  restarted_at timestamptz,
  -- When a worker first tried that and could not.
  restart_refused_at timestamptz,
  digest_seen text,
  instance_seen text,
  failed_at timestamptz,
  -- What the last look at the machine has found; null if the machine was well.
  look_code text,
  look_reason text,
  reason_code text,
  reason text,
  primary key (release_id, row_id)
);
comment on table hangar.release_targets is 'One app in one release: its wave, how far it has come, and what it ran before.';
create index release_targets_row on hangar.release_targets (row_id);
create index release_targets_moving on hangar.release_targets (release_id, wave, place)
  where state in ('pending', 'applying', 'verifying', 'failed') or must_go_back;
-- Whether a paused release still moves apps: asked in every step, for as long as it is paused.
create index release_targets_on_the_way on hangar.release_targets (release_id) where state in ('applying', 'verifying') or must_go_back;

create table hangar.user_specs (
  user_id uuid primary key,
  -- The tier for which size and environment were given.
  tier text not null,
  -- The whole machine, only while a release brings it or takes it back.
  spec hangar.machine_spec,
  env jsonb not null default '{}' check (jsonb_typeof(env) = 'object'),
  -- The image that the user keeps with another tier; with `tiers` only if that tier is one of them.
  image text check (image <> ''),
  tiers text[],
  -- The regions that the user keeps with another tier, in the same way.
  region text check (region <> ''),
  release_id integer references hangar.releases (id),
  updated_at timestamptz not null default hangar.now(),
  -- The size, as a whole.
  cpu_kind text check (cpu_kind in ('shared', 'performance')),
  cpu_count integer,
  memory_mb integer,
  check ((cpu_kind is null) = (cpu_count is null) and (cpu_kind is null) = (memory_mb is null))
);
comment on table hangar.user_specs is 'What a release has given one user on purpose instead of what the plan says. It ends with the app; size and environment end with the tier.';
create index user_specs_release on hangar.user_specs (release_id);

create table hangar.user_pins (
  user_id uuid primary key,
  image text check (image <> ''),
  cpu_kind text check (cpu_kind in ('shared', 'performance')),
  cpu_count integer,
  memory_mb integer,
  env jsonb not null default '{}' check (jsonb_typeof(env) = 'object'),
  -- No release touches the user before this time.
  held_back_until timestamptz,
  reason text,
  actor text not null,
  ends_at timestamptz,
  created_at timestamptz not null default hangar.now(),
  -- Image and size of an earlier pin that has ended, as long as the machine may still have them: the next release takes them away.
  ended jsonb,
  check ((cpu_kind is null) = (cpu_count is null) and (cpu_kind is null) = (memory_mb is null))
);
comment on table hangar.user_pins is 'What an operator has fixed for one user: image, size, further environment, or that releases leave the user alone until a date.';

-- No policy yet, so nobody but the owner reaches a table until `access` has run.
alter table hangar.releases enable row level security;
alter table hangar.release_targets enable row level security;
alter table hangar.user_specs enable row level security;
alter table hangar.user_pins enable row level security;
