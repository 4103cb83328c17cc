-- The smallest host for Hangar: user_profiles and user_subscriptions. traders and signals are what the example backend uses.
-- Run it as the role postgres (Supabase's SQL editor or `supabase db push`), before Hangar's migrations.

create table public.user_profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  email text not null
);

-- Hangar reads these four columns. Your billing writes them; tier must be a tier of fly_plans.
create table public.user_subscriptions (
  user_id uuid primary key references auth.users (id) on delete cascade,
  tier text not null default 'free',
  status text not null default 'active' check (status in ('active', 'cancelled', 'past_due')),
  expires_at timestamptz
);

create table public.traders (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  name text not null,
  enabled boolean not null default true,
  is_built_in boolean not null default false,
  filter jsonb not null default '{}',
  check (is_built_in or user_id is not null)
);
create index traders_user on public.traders (user_id);

create table public.signals (
  id uuid primary key,
  trader_id uuid not null references public.traders (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  fly_app_id uuid,
  payload jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index signals_trader on public.signals (trader_id);
create index signals_user on public.signals (user_id);

-- Every new user has a profile and a free subscription.
create function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.user_profiles (id, email) values (new.id, coalesce(new.email, ''));
  insert into public.user_subscriptions (user_id) values (new.id);
  return new;
end
$$;
revoke all on function public.handle_new_user from public, anon, authenticated;
create trigger on_auth_user_created after insert on auth.users
  for each row execute function public.handle_new_user();

-- A user, and so the user's machine, reads their own rows and writes their own signals. Nothing else.
alter table public.user_profiles enable row level security;
alter table public.user_subscriptions enable row level security;
alter table public.traders enable row level security;
alter table public.signals enable row level security;
create policy own_row on public.user_profiles for select to authenticated using (id = (select auth.uid()));
create policy own_row on public.user_subscriptions for select to authenticated using (user_id = (select auth.uid()));
create policy own_and_built_in on public.traders for select to authenticated
  using (is_built_in or user_id = (select auth.uid()));
create policy own_signals on public.signals for select to authenticated using (user_id = (select auth.uid()));
create policy own_new_signals on public.signals for insert to authenticated with check (user_id = (select auth.uid()));

revoke all on public.user_profiles, public.user_subscriptions, public.traders, public.signals from anon, authenticated;
grant select on public.user_profiles, public.user_subscriptions, public.traders to authenticated;
grant select, insert on public.signals to authenticated;
grant all on public.user_profiles, public.user_subscriptions, public.traders, public.signals to service_role;
