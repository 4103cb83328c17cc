-- The operator's caps on apps and cost. They are asked before an app is created, and before a machine becomes dearer than it was when
-- they last admitted it. What they refuse waits: an app that runs keeps its size.
-- Builds on: tables.

-- The estimate that the caps have admitted is what an app may cost now, whatever its row desires: a plan change that is refused does not
-- count. Once the row has converged, that is what runs, also after a change to a cheaper plan.
create function hangar.admit_cost() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.admitted_cost_usd := new.monthly_cost_estimate_usd;
  return new;
end
$$;
create trigger admit_cost before update on public.user_fly_apps
  for each row when (new.desired_state = 'present' and new.observed_generation = new.generation
                     and new.admitted_cost_usd is distinct from new.monthly_cost_estimate_usd)
  execute function hangar.admit_cost();

-- What counts against the caps: every app that exists or is being created, with what was admitted for it, and the app of p_also with what
-- its row desires. Beside it what waits for the caps: new apps, apps that are to become dearer, and the most that one of them would add.
create function hangar.count_apps(
  p_also uuid default null,
  out apps bigint, out cost_usd numeric, out new_waiting bigint, out dearer_waiting bigint, out highest_waiting_usd numeric
)
language plpgsql volatile set search_path = ''
as $$
begin
  select count(*) filter (where c.counts),
         sum(case when a.id is not distinct from p_also then a.monthly_cost_estimate_usd
                  else coalesce(a.admitted_cost_usd, a.monthly_cost_estimate_usd) end) filter (where c.counts),
         count(*) filter (where w.waits and not c.counts),
         count(*) filter (where w.waits and c.counts and w.adds_usd > 0),
         max(w.adds_usd) filter (where w.waits)
    into apps, cost_usd, new_waiting, dearer_waiting, highest_waiting_usd
    from public.user_fly_apps a
    cross join lateral (select a.deployed_at is not null or a.open_intent is not null or a.machine_id is not null
                            or a.secrets_version is not null or a.create_unknown_at is not null
                            or coalesce(a.id = p_also, false) as counts) c
    cross join lateral (select a.desired_state = 'present' and a.next_attempt_at is not null as waits,
                               a.monthly_cost_estimate_usd - case when c.counts then coalesce(a.admitted_cost_usd, a.monthly_cost_estimate_usd) else 0 end
                                 as adds_usd) w
   where a.deleted_at is null;
end
$$;

-- Which of the operator's caps refuses this action of the row, or null; what is not refused is admitted. Only an action that creates an
-- app, or that gives it a dearer machine than was admitted, can be refused.
create function hangar.check_caps(p_row public.user_fly_apps, p_settings hangar.settings, p_action text) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_count record;
  v_adds_app boolean := p_action = 'create_app' or p_row.admitted_cost_usd is null;
begin
  if not v_adds_app and (p_action not in ('create_machine', 'update_machine') or p_row.monthly_cost_estimate_usd <= p_row.admitted_cost_usd) then
    return null;
  end if;
  if p_settings.max_apps is not null or p_settings.max_monthly_cost_usd is not null then
    -- One at a time, otherwise two workers would both see room for one more.
    perform pg_advisory_xact_lock(hashtextextended('hangar.caps', 0));
    select c.* into v_count from hangar.count_apps(p_row.id) c;
    if v_adds_app and v_count.apps > p_settings.max_apps then
      return 'max_apps';
    elsif v_count.cost_usd > p_settings.max_monthly_cost_usd then
      return 'max_cost';
    end if;
  end if;
  update public.user_fly_apps set admitted_cost_usd = monthly_cost_estimate_usd where id = p_row.id;
  return null;
end
$$;

-- Whether this cap holds back at least one app now. Reads without the lock of check_caps: for alerts, not for decisions.
create function hangar.is_cap_in_force(p_cap text) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_count record;
begin
  select * into strict v_settings from hangar.settings;
  select c.* into v_count from hangar.count_apps() c;
  return coalesce(case p_cap
    when 'max_apps' then v_count.new_waiting > 0 and v_count.apps + 1 > v_settings.max_apps
    when 'max_cost' then v_count.new_waiting + v_count.dearer_waiting > 0
                         and coalesce(v_count.cost_usd, 0) + v_count.highest_waiting_usd > v_settings.max_monthly_cost_usd end, false);
end
$$;

select hangar.restrict_functions();
