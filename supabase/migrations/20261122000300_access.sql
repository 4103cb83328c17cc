-- Who may read and write which table, and the triggers that guard the tables even against their owner.
-- Builds on: tables. The rights on functions are in `schema` (hangar.restrict_functions).
-- service_role reads everything and writes only through the procedures, which run as their owner, so that no client can bypass
-- lease, generation, brake and audit log. It may edit fly_plans: plain data, guarded by a trigger.

-- Supabase projects created before May 2026 grant everything on new tables by default, later ones nothing. Start from nothing.
revoke all on hangar.settings, hangar.operators, hangar.sweeps, hangar.alerts, hangar.binding, hangar.status_rules, hangar.marks,
  hangar.host_state, hangar.host_losses, hangar.schema_migrations, hangar.releases, hangar.release_targets, hangar.user_specs, hangar.user_pins,
  hangar.original_apps, hangar.original_objects,
  public.fly_plans, public.user_fly_apps, public.user_fly_app_events, public.fly_overrides, public.fly_orphans, public.fly_cost_intervals
  from public, anon, authenticated, service_role;
revoke all on sequence public.user_fly_app_events_seq_seq, public.fly_cost_intervals_seq_seq from public, anon, authenticated, service_role;
grant select on hangar.settings, hangar.operators, hangar.sweeps, hangar.alerts, hangar.binding, hangar.status_rules, hangar.marks,
  hangar.host_state, hangar.host_losses, hangar.schema_migrations, hangar.releases, hangar.release_targets, hangar.user_specs, hangar.user_pins,
  hangar.original_apps, hangar.original_objects,
  public.user_fly_apps, public.user_fly_app_events, public.fly_overrides, public.fly_orphans, public.fly_cost_intervals to service_role;
grant select, insert, update, delete on public.fly_plans to service_role;
grant select on public.user_fly_apps, public.user_fly_app_events to authenticated;

select hangar.drop_original_policies();
drop function hangar.drop_original_policies();
create policy service_role_all on hangar.settings for all to service_role using (true) with check (true);
create policy service_role_all on hangar.operators for all to service_role using (true) with check (true);
create policy service_role_all on hangar.sweeps for all to service_role using (true) with check (true);
create policy service_role_all on hangar.alerts for all to service_role using (true) with check (true);
create policy service_role_all on hangar.binding for all to service_role using (true) with check (true);
create policy service_role_all on hangar.status_rules for all to service_role using (true) with check (true);
create policy service_role_all on hangar.marks for all to service_role using (true) with check (true);
create policy service_role_all on hangar.host_state for all to service_role using (true) with check (true);
create policy service_role_all on hangar.host_losses for all to service_role using (true) with check (true);
create policy service_role_all on hangar.schema_migrations for all to service_role using (true) with check (true);
create policy service_role_all on hangar.releases for all to service_role using (true) with check (true);
create policy service_role_all on hangar.release_targets for all to service_role using (true) with check (true);
create policy service_role_all on hangar.user_specs for all to service_role using (true) with check (true);
create policy service_role_all on hangar.user_pins for all to service_role using (true) with check (true);
create policy service_role_all on hangar.original_apps for all to service_role using (true) with check (true);
create policy service_role_all on hangar.original_objects for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_plans for all to service_role using (true) with check (true);
create policy service_role_all on public.user_fly_apps for all to service_role using (true) with check (true);
create policy service_role_all on public.user_fly_app_events for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_overrides for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_orphans for all to service_role using (true) with check (true);
create policy service_role_all on public.fly_cost_intervals for all to service_role using (true) with check (true);
create policy own_row on public.user_fly_apps for select to authenticated using (user_id = (select auth.uid()));
-- Users may follow the life of their own app. Who decided what about them, and why, is for operators.
create policy own_row on public.user_fly_app_events for select to authenticated
  using (user_id = (select auth.uid()) and event_type in (
    'provision_requested', 'provision_started', 'provision_completed', 'health_check_passed', 'health_check_failed',
    'deprovision_requested', 'deprovision_started', 'deprovision_completed'));

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

-- A row leaves the log only when fly_archive_delete deletes the batch that it is in. It changes only when fly_erase_user erases a person
-- from it: what happened and when stays.
create function hangar.refuse_event_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'DELETE' then
    if exists (select 1 from hangar.archive_batches b
                where b.source = 'events' and b.state = 'verified' and b.deleting_in = pg_current_xact_id() and b.seqs @> old.seq) then
      return old;
    end if;
  elsif tg_op = 'UPDATE' then
    if exists (select 1 from hangar.erased_users u where u.erasing_in = pg_current_xact_id())
       and (new.id, new.seq, new.fly_app_id, new.event_type, new.status, new.created_at)
           is not distinct from (old.id, old.seq, old.fly_app_id, old.event_type, old.status, old.created_at) then
      return new;
    end if;
  end if;
  raise exception 'user_fly_app_events is append-only: % is refused', lower(tg_op) using errcode = 'insufficient_privilege';
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
  v_refused text := coalesce(hangar.explain_refused_size(new.cpu_kind, new.cpu_count, new.memory_mb), hangar.explain_refused_env(new.env));
begin
  -- The tier of a subscription is read without white space around it (hangar.trim_word).
  if new.tier ~ '^\s|\s$' or new.tier = '' then
    raise exception 'plan %: a tier must not be empty and must not begin or end with white space, because no subscription would match it', to_json(new.tier)
      using errcode = 'invalid_parameter_value';
  end if;
  if v_refused is not null then
    raise exception 'plan %: %', new.tier, v_refused using errcode = 'invalid_parameter_value';
  end if;
  new.region := hangar.normalise_region(new.region);
  v_refused := hangar.explain_refused_region(new.region);
  if v_refused is not null then
    raise exception 'plan %: %', new.tier, v_refused using errcode = 'invalid_parameter_value';
  end if;
  return new;
end
$$;
create trigger guard_plan before insert or update on public.fly_plans for each row execute function hangar.guard_plan();

create function hangar.guard_default_region() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_refused text;
begin
  new.default_region := hangar.normalise_region(new.default_region);
  v_refused := hangar.explain_refused_region(new.default_region);
  if v_refused is not null then
    raise exception 'default_region: %', v_refused using errcode = 'invalid_parameter_value';
  end if;
  return new;
end
$$;
create trigger guard_default_region before insert or update of default_region on hangar.settings
  for each row execute function hangar.guard_default_region();

-- The actor of an operator's change: named by the procedures for the length of one statement, read by the triggers below and in
-- `operator`. Without one the session's user is the actor.
create function hangar.require_actor(p_actor text) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor must name who makes this change' using errcode = 'invalid_parameter_value';
  end if;
end
$$;

create function hangar.set_actor(p_actor text, p_reason text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform set_config('hangar.actor', coalesce(p_actor, ''), true), set_config('hangar.reason', coalesce(p_reason, ''), true);
end
$$;

create function hangar.clear_actor() returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform set_config('hangar.actor', '', true), set_config('hangar.reason', '', true);
end
$$;

create function hangar.actor_json() returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'actor', coalesce(nullif(current_setting('hangar.actor', true), ''), session_user::text),
    'reason', nullif(current_setting('hangar.reason', true), '')));
end
$$;

-- Cost follows from what was observed: an interval is open exactly while the machine is observed in `started`.
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
      -- The price was saved later than the state. It applied from the start.
      update public.fly_cost_intervals set price_usd_per_s = new.price_usd_per_s, region = coalesce(new.machine_region, region)
       where id = v_open.id;
      return null;
    end if;
    if v_runs and v_open.price_usd_per_s is not distinct from new.price_usd_per_s
       and v_open.machine_id is not distinct from new.machine_id then
      return null;
    end if;
    -- The next interval starts where this one ends. If the clock was set back, it must still not end before it started.
    v_now := greatest(v_now, v_open.started_at);
    update public.fly_cost_intervals set ended_at = v_now where id = v_open.id;
  end if;
  if v_runs then
    select greatest(v_now, max(ended_at)) into v_now from public.fly_cost_intervals where fly_app_id = new.id;
    insert into public.fly_cost_intervals (fly_app_id, user_id, machine_id, region, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at)
    values (new.id, new.user_id, new.machine_id, coalesce(new.machine_region, new.region),
            -- What runs is billed, whatever the row asks for.
            coalesce(new.observed_spec ->> 'cpu_kind', new.cpu_kind),
            coalesce((new.observed_spec ->> 'cpu_count')::integer, new.cpu_count),
            coalesce((new.observed_spec ->> 'memory_mb')::integer, new.memory_mb),
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

select hangar.restrict_functions();
