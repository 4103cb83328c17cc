-- The tables, policies, view, function and triggers of the original system, written from the description of its data contract. They come
-- after the host's own tables (local/supabase/postgres/bootstrap/90_host_tables.sql). `plan_note` is a column that the host has added.
create table public.user_fly_apps (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  fly_app_name text not null unique,
  fly_org_slug text not null,
  status text not null check (status in ('provisioning', 'active', 'error', 'deprovisioning', 'deleted')),
  region text not null,
  docker_image text not null,
  deployed_at timestamptz,
  last_health_check timestamptz,
  health_status text check (health_status in ('healthy', 'unhealthy', 'unknown')),
  error_message text,
  retry_count integer default 0,
  monthly_cost_estimate_usd decimal(10, 2),
  cpu_count integer not null default 2,
  memory_mb integer not null default 512,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  plan_note text default 'by hand' check (plan_note <> ''),
  constraint one_app_per_user unique (user_id)
);
create index idx_user_fly_apps_user_id on public.user_fly_apps (user_id);
create index idx_user_fly_apps_status on public.user_fly_apps (status);
create index idx_user_fly_apps_fly_app_name on public.user_fly_apps (fly_app_name);
create index idx_user_fly_apps_plan_note on public.user_fly_apps (plan_note);

create table public.user_fly_app_events (
  id uuid primary key default gen_random_uuid(),
  fly_app_id uuid not null references public.user_fly_apps (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  event_type text not null check (event_type in (
    'provision_requested', 'provision_started', 'provision_completed', 'provision_failed', 'health_check_passed',
    'health_check_failed', 'deprovision_requested', 'deprovision_started', 'deprovision_completed', 'deprovision_failed',
    'error_occurred', 'recovery_attempted')),
  status text not null,
  metadata jsonb default '{}',
  error_details text,
  created_at timestamptz not null default now()
);
create index idx_user_fly_app_events_fly_app_id on public.user_fly_app_events (fly_app_id);
create index idx_user_fly_app_events_user_id on public.user_fly_app_events (user_id);
create index idx_user_fly_app_events_created_at on public.user_fly_app_events (created_at desc);

alter table public.user_fly_apps enable row level security;
alter table public.user_fly_app_events enable row level security;
create policy "Users can view own fly app" on public.user_fly_apps for select to authenticated using (auth.uid() = user_id);
create policy "Admins can view all fly apps" on public.user_fly_apps for select to authenticated
  using (exists (select 1 from public.user_profiles where id = auth.uid() and is_admin));
create policy "Service role manages fly apps" on public.user_fly_apps for all to service_role using (true) with check (true);
create policy "Users can view own fly app events" on public.user_fly_app_events for select to authenticated using (auth.uid() = user_id);
create policy "Admins can view all fly app events" on public.user_fly_app_events for select to authenticated
  using (exists (select 1 from public.user_profiles where id = auth.uid() and is_admin));
create policy "Service role adds fly app events" on public.user_fly_app_events for insert to service_role with check (true);
grant all on public.user_fly_apps, public.user_fly_app_events to anon, authenticated, service_role;

create view public.user_fly_apps_with_profiles with (security_invoker = on) as
select a.id, a.user_id, a.fly_app_name, a.fly_org_slug, a.status, a.region, a.docker_image, a.deployed_at, a.last_health_check,
       a.health_status, a.error_message, a.retry_count, a.monthly_cost_estimate_usd, a.cpu_count, a.memory_mb, a.created_at, a.updated_at,
       a.deleted_at, p.email, p.display_name
  from public.user_fly_apps a join public.user_profiles p on p.id = a.user_id
 where a.deleted_at is null;
grant select on public.user_fly_apps_with_profiles to authenticated, service_role;

create function public.get_user_fly_app_status(p_user uuid) returns table (app_name text, status text, health text, last_check timestamptz)
language sql security definer as $$
  select fly_app_name, status, health_status, last_health_check from public.user_fly_apps where user_id = p_user and deleted_at is null
$$;

alter table public.signals add constraint signals_fly_app_id_fkey foreign key (fly_app_id) references public.user_fly_apps (id) on delete set null;

-- The trigger that called the functions of the original system, and its two neighbours, which have nothing to do with Fly.
create function public.handle_user_tier_change() returns trigger language plpgsql security definer as $$
begin
  perform net.http_post(
    url := (select decrypted_secret from vault.decrypted_secrets where name = 'project_url')
      || case when new.tier in ('pro', 'elite') then '/functions/v1/provision-user-fly-app' else '/functions/v1/deprovision-user-fly-app' end,
    body := jsonb_build_object('user_id', new.user_id, 'tier', new.tier));
  return new;
end
$$;
create trigger on_user_tier_change after update of tier on public.user_subscriptions
for each row when (old.tier is distinct from new.tier) execute function public.handle_user_tier_change();

create table public.neighbour_calls (what text not null, user_id uuid not null);
create function public.note_neighbour() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.neighbour_calls values (tg_name, new.user_id);
  return new;
end
$$;
create trigger on_subscription_change after insert or update of tier on public.user_subscriptions
for each row execute function public.note_neighbour();
create trigger on_subscription_status_change after update of status on public.user_subscriptions
for each row when (old.status = 'active' and new.status <> 'active') execute function public.note_neighbour();
