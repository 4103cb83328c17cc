-- What was observed to run, and at which price: the table from which cost is counted.
-- Builds on: tables. Who may read it, and the trigger that writes it, are in `access`.

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
  -- The number in the archive.
  seq bigint generated always as identity,
  check (ended_at >= started_at)
);
comment on table public.fly_cost_intervals is 'When a machine was observed in state `started`, in which Fly bills it, and at which list price. One open interval per app.';
create unique index fly_cost_intervals_one_open on public.fly_cost_intervals (fly_app_id) where ended_at is null;
create index fly_cost_intervals_app on public.fly_cost_intervals (fly_app_id, started_at);
create index fly_cost_intervals_user on public.fly_cost_intervals (user_id);
create unique index fly_cost_intervals_seq on public.fly_cost_intervals (seq);
create index fly_cost_intervals_ended on public.fly_cost_intervals (ended_at) where ended_at is not null;

-- No policy yet, so nobody but the owner reaches it until `access` has run.
alter table public.fly_cost_intervals enable row level security;
