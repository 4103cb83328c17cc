-- What Hangar keeps about the host: where its subscriptions are, the meaning of its statuses, the users whose subscription changed, and a
-- mass loss that is held.
-- Builds on: tables.

-- What the host says about one subscription, whichever table or function it comes from. `problem`: why ends_at could not be read.
create type hangar.host_subscription as (user_id uuid, tier text, status text, ends_at timestamptz, problem text);

create table hangar.binding (
  only_row boolean primary key default true check (only_row),
  kind text not null check (kind in ('table', 'function')),
  -- The name at the time of binding, and the oid, which survives a rename by the host: hangar.find_source. No reference, so that the host may drop it.
  source text not null,
  source_oid oid not null,
  columns jsonb not null default '{}',
  users jsonb not null default '{}',
  -- Tables whose changes mean "look at every user", for a bound function. By name, because the host may drop and create them.
  watched text[] not null default '{}',
  bound_at timestamptz not null default hangar.now(),
  bound_by text not null default session_user
);
comment on table hangar.binding is 'Where the host keeps its subscriptions and users; no row: Hangar changes nobody. Written by hangar.bind_subscriptions and hangar.bind_function. docs/host-binding.md.';

create table hangar.status_rules (
  status text primary key check (status = lower(btrim(status)) and status <> ''),
  rule text not null check (rule in ('entitled', 'until_end', 'no')),
  note text
);
comment on table hangar.status_rules is 'What each status of a subscription means. A status that is not here changes nothing and raises an alert. docs/host-binding.md.';

-- No index and no key: the host's transaction only appends. A null user means: look at every user.
create table hangar.marks (
  user_id uuid,
  marked_at timestamptz not null default hangar.now(),
  seen boolean not null default false
);
comment on column hangar.marks.seen is 'Written by a sync that has looked at everybody, for a later call to follow: a check of mass losses need not count it again.';
comment on table hangar.marks is 'Users whose subscription changed and whose desired state has not followed yet. The host''s transaction appends; fly_claim, fly_apply_marks and fly_sync_entitlements remove.';

create table hangar.host_state (
  only_row boolean primary key default true check (only_row),
  held_since timestamptz,
  losing integer not null default 0,
  present integer not null default 0,
  reason text check (reason in ('empty', 'share')),
  obeyed_by text,
  enabled_extensions text[] not null default '{}',
  json_keys text[] not null default '{}'
);
comment on table hangar.host_state is 'Whether a mass loss of entitlement is held for an operator (held_since), and who has confirmed the last one (obeyed_by) while it is being obeyed. What is known about the host''s tables.';
comment on column hangar.host_state.json_keys is 'The values of a binding (such as ends_at) whose key in a JSON column many subscriptions had when all were last read. Without it in any, the host cannot be read.';
comment on column hangar.host_state.enabled_extensions is 'The extensions that Hangar enabled, which `hangar uninstall` removes if nothing else uses them.';
insert into hangar.host_state default values;

create table hangar.host_losses (
  user_id uuid primary key,
  why text not null,
  confirmed boolean not null default false
);
comment on table hangar.host_losses is 'The users of a mass loss: held for an operator, or confirmed by one and not obeyed yet. Empty in normal operation.';

-- No policy yet, as in `tables`.
alter table hangar.binding enable row level security;
alter table hangar.status_rules enable row level security;
alter table hangar.marks enable row level security;
alter table hangar.host_state enable row level security;
alter table hangar.host_losses enable row level security;
