-- The tables of the SaaS that Hangar serves. They belong to the host: Hangar's migrations need them and never create
-- them. These follow the public project orderflowscanner (its migrations 004, 005, 016 and 017).
set role postgres;

create table public.user_profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  email text not null,
  display_name text,
  is_admin boolean not null default false,
  pro_waitlist_joined_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table public.user_subscriptions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null unique references auth.users (id) on delete cascade,
  tier text not null default 'free' check (tier in ('free', 'pro', 'elite')),
  status text not null default 'active' check (status in ('active', 'cancelled', 'past_due')),
  custom_signals_count integer not null default 0,
  started_at timestamptz default now(),
  expires_at timestamptz,
  stripe_customer_id text,
  stripe_subscription_id text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index user_subscriptions_tier_idx on public.user_subscriptions (tier);

create table public.traders (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  name text not null,
  enabled boolean not null default true,
  is_built_in boolean not null default false,
  filter jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint traders_owner_check check (is_built_in or user_id is not null)
);
create index traders_user_id_idx on public.traders (user_id);

create table public.signals (
  id uuid primary key default gen_random_uuid(),
  trader_id uuid references public.traders (id) on delete cascade,
  user_id uuid references auth.users (id) on delete cascade,
  fly_app_id uuid, -- the app that wrote it; NULL is the shared backend
  payload jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index signals_trader_id_idx on public.signals (trader_id);
create index signals_user_id_created_at_idx on public.signals (user_id, created_at desc);

create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end
$$;
create trigger touch_user_profiles before update on public.user_profiles
for each row execute function public.touch_updated_at();
create trigger touch_user_subscriptions before update on public.user_subscriptions
for each row execute function public.touch_updated_at();
create trigger touch_traders before update on public.traders
for each row execute function public.touch_updated_at();

-- Every new user has a profile and a free, active subscription.
create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.user_profiles (id, email, display_name)
  values (new.id, coalesce(new.email, ''), new.raw_user_meta_data ->> 'display_name');
  insert into public.user_subscriptions (user_id, tier, status) values (new.id, 'free', 'active');
  return new;
end
$$;
revoke all on function public.handle_new_user, public.touch_updated_at from public, anon, authenticated;
create trigger on_auth_user_created after insert on auth.users
for each row execute function public.handle_new_user();

alter table public.user_profiles enable row level security;
alter table public.user_subscriptions enable row level security;
alter table public.traders enable row level security;
alter table public.signals enable row level security;

create policy user_profiles_select_own on public.user_profiles for select to authenticated
using (id = (select auth.uid()));

-- The host's admin page changes tiers by a plain UPDATE.
create policy user_subscriptions_select on public.user_subscriptions for select to authenticated
using (
  user_id = (select auth.uid())
  or exists (select from public.user_profiles p where p.id = (select auth.uid()) and p.is_admin)
);
create policy user_subscriptions_update_as_admin on public.user_subscriptions for update to authenticated
using (exists (select from public.user_profiles p where p.id = (select auth.uid()) and p.is_admin));

create policy traders_select on public.traders for select to authenticated
using (is_built_in or user_id = (select auth.uid()));

create policy signals_select_own on public.signals for select to authenticated
using (user_id = (select auth.uid()));
create policy signals_insert_own on public.signals for insert to authenticated
with check (user_id = (select auth.uid()));

grant select on public.user_profiles to authenticated;
grant select, update on public.user_subscriptions to authenticated;
grant select on public.traders to authenticated;
grant select, insert on public.signals to authenticated;
grant all on public.user_profiles, public.user_subscriptions, public.traders, public.signals to service_role;

reset role;
