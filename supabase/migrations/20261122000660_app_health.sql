-- What is wrong with each app: since when, in how many samples, what Hangar has tried, and what it does next. A sweep reports one sample of
-- each app that it looks at. The alerts are in `health_alerts`.
-- Builds on: tables, access.

create table hangar.app_health (
  fly_app_id uuid primary key references public.user_fly_apps (id) on delete cascade,
  -- shared/domain/symptom.py lists the codes; detail is what Fly says.
  symptom text not null,
  detail text,
  since timestamptz not null,
  samples integer not null default 0,
  sample_at timestamptz,
  streak integer not null default 0,
  unsteady boolean not null default false,
  well_since timestamptz,
  step_samples integer not null default 0,
  restarted_at timestamptz,
  replaced_at timestamptz,
  replaced_machine_id text
);
comment on table hangar.app_health is 'Apps with which something is wrong, or was within the last hour. See docs/database.md.';
comment on column hangar.app_health.samples is 'Bad samples of this episode. Looks without a symptom for unhealthy_after samples'' time end the episode.';
comment on column hangar.app_health.unsteady is 'The app was well in between, so its alert ends only when the episode does. unhealthy_after bad samples in a row (streak) end that.';
comment on column hangar.app_health.step_samples is 'Bad samples since the machine was last changed. A step needs unhealthy_after of them.';
comment on column hangar.app_health.replaced_machine_id is 'The machine that was to be replaced. While the row still names it, the replacement has not happened.';
alter table hangar.app_health enable row level security;
revoke all on hangar.app_health from public, anon, authenticated, service_role;
grant select on hangar.app_health to service_role;
create policy service_role_all on hangar.app_health for all to service_role using (true) with check (true);
create index user_fly_apps_health_step on public.user_fly_apps (id) where health_step is not null;

-- The one owner of the rule: how far changing the machine may go for a symptom. 'wait': the app cannot be judged, or the reconciler
-- repairs it anyway.
create function hangar.symptom_remedy(p_symptom text) returns text
language sql immutable set search_path = ''
as $$
  select case p_symptom when 'check_critical' then 'replace' when 'check_missing' then 'restart' else 'wait' end
$$;

-- Symptoms that concern the organisation, not one app: one alert each for the whole fleet.
create function hangar.is_fleet_symptom(p_symptom text) returns boolean
language sql immutable set search_path = ''
as $$ select coalesce(p_symptom in ('wrong_organisation', 'unlisted'), false) $$;

-- Whether Fly could not reach the host of this app's machine when the last sample was taken.
create function hangar.is_out_of_reach(p_row public.user_fly_apps) returns boolean
language sql stable set search_path = ''
as $$ select exists (select 1 from hangar.app_health h where h.fly_app_id = p_row.id and h.symptom = 'host_unreachable' and h.well_since is null) $$;

-- What Hangar does next: 'watch' (more samples are needed), 'restart', 'replace', 'wait' (nothing, and it looks again) or 'person'.
create function hangar.next_health_step(p_health hangar.app_health, p_machine_id text, p_policy text, p_needed integer) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_remedy text := hangar.symptom_remedy(p_health.symptom);
  v_replaced boolean := p_health.replaced_at is not null and p_health.replaced_machine_id is distinct from p_machine_id;
begin
  if p_health.samples < p_needed then
    return 'watch';
  elsif v_remedy = 'wait' then
    return 'wait';
  elsif p_policy not in ('restart', 'replace') then
    return 'person';
  elsif p_health.step_samples < p_needed then
    return 'watch';
  elsif p_health.restarted_at is null then
    return 'restart';
  elsif p_policy = 'replace' and v_remedy = 'replace' and not v_replaced then
    return 'replace';
  end if;
  return 'person';
end
$$;

-- Whether a sample taken now counts beside the one before. One in the future (the clock was set back) holds nothing up.
create function hangar.is_next_sample(p_before timestamptz, p_gap interval) returns boolean
language sql stable set search_path = ''
as $$ select not coalesce(p_before > hangar.now() - p_gap and p_before <= hangar.now(), false) $$;

-- One sample of each app: [{"id", "symptom": text|null, "detail", "well": bool}…]. Without a symptom and not well says nothing.
create function hangar.record_symptoms(p_samples jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_gap interval;
  v_needed integer;
  v_well uuid[];
  v_looked_at uuid[];
begin
  select make_interval(secs => g.bad_sample_gap_s::double precision), g.unhealthy_after into strict v_gap, v_needed from hangar.settings g;
  select coalesce(array_agg(s.id) filter (where s.well), '{}'), coalesce(array_agg(s.id) filter (where s.well or s.symptom is not null), '{}')
    into v_well, v_looked_at
    from jsonb_to_recordset(p_samples) as s (id uuid, well boolean, symptom text);
  -- Well for as long as unhealthy_after samples take: what comes next is another episode.
  update hangar.app_health h set samples = 0, step_samples = 0, unsteady = false
   where h.fly_app_id = any (v_looked_at) and h.well_since <= v_now - v_needed * v_gap;
  -- An hour without a symptom: what was tried is forgotten, and Hangar starts again should it come back.
  delete from hangar.app_health h
   where h.fly_app_id = any (v_well)
     and h.well_since <= v_now - case when h.restarted_at is null and h.replaced_at is null then v_needed * v_gap else interval '1 hour' end;
  update hangar.app_health h set well_since = v_now where h.fly_app_id = any (v_well) and h.well_since is null;
  insert into hangar.app_health as h (fly_app_id, symptom, detail, since, samples, streak, sample_at, step_samples)
  select s.id, s.symptom, s.detail, v_now, 1, 1, v_now, (hangar.symptom_remedy(s.symptom) <> 'wait')::integer
    from jsonb_to_recordset(p_samples) as s (id uuid, symptom text, detail text)
   where s.symptom is not null
   order by s.id
  on conflict (fly_app_id) do update
    set symptom = excluded.symptom, detail = excluded.detail, well_since = null,
        since = case when h.samples = 0 then v_now else h.since end,
        streak = case when h.well_since is null then h.streak + hangar.is_next_sample(h.sample_at, v_gap)::integer else 1 end,
        unsteady = h.samples > 0 and (h.unsteady or h.well_since is not null)
                   and (h.well_since is not null or h.streak + hangar.is_next_sample(h.sample_at, v_gap)::integer < v_needed),
        samples = h.samples + hangar.is_next_sample(h.sample_at, v_gap)::integer,
        step_samples = h.step_samples + (hangar.is_next_sample(h.sample_at, v_gap) and hangar.symptom_remedy(excluded.symptom) <> 'wait')::integer,
        sample_at = case when hangar.is_next_sample(h.sample_at, v_gap) then v_now else h.sample_at end;
end
$$;

-- A worker that was to change the app could not, because Fly cannot reach the machine's host: one sample more. It shows at once why the change
-- waits, also in a fleet in which a sweep does not look at every machine.
create function hangar.record_out_of_reach(p_row public.user_fly_apps, p_patch jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  if p_patch -> 'host_ok' = 'false' and p_row.desired_state = 'present' and p_row.deleted_at is null then
    perform hangar.record_symptoms(jsonb_build_array(jsonb_build_object(
      'id', p_row.id, 'symptom', 'host_unreachable', 'detail', 'Fly cannot reach the host of the machine', 'well', false)));
  end if;
end
$$;

-- Whether the symptom says that the machine does not run. The reconciler repairs that, whatever the checks say.
create function hangar.is_down(p_symptom text) returns boolean
language sql immutable set search_path = ''
as $$ select coalesce(p_symptom in ('not_running', 'not_ready', 'missing'), false) $$;

-- The reconciler has brought the machine up: an app that was down is well until a sweep says otherwise.
create function hangar.record_machine_up(p_row_id uuid) returns void
language sql volatile set search_path = ''
as $$
  update hangar.app_health set well_since = hangar.now()
   where fly_app_id = p_row_id and well_since is null and hangar.is_down(symptom)
$$;

-- Whether this action is the step that the row is to take.
create function hangar.is_health_step(p_step text, p_action text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_step = 'restart' and p_action = 'restart_machine' or p_step = 'replace' and p_action = 'destroy_machine', false)
$$;

-- A machine is about to be changed, for whatever reason: it gets its time again before the next step. What was tried is written with the
-- intent, before the call, so that a crash between the two never makes it twice.
create function hangar.record_machine_change(p_row_id uuid, p_machine_id text, p_intent jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_action text := p_intent -> 'metadata' ->> 'action';
  v_is_step boolean := p_intent -> 'metadata' ->> 'purpose' = 'unhealthy';
begin
  if p_intent -> 'metadata' ->> 'purpose' in ('stray', 'move')
     or v_action not in ('create_machine', 'update_machine', 'start_machine', 'restart_machine', 'destroy_machine') then
    return;
  end if;
  update hangar.app_health h
     set step_samples = 0,
         restarted_at = case when v_is_step and v_action = 'restart_machine' then hangar.now() else h.restarted_at end,
         replaced_at = case when v_is_step and v_action = 'destroy_machine' then hangar.now() else h.replaced_at end,
         replaced_machine_id = case when v_is_step and v_action = 'destroy_machine' then p_machine_id else h.replaced_machine_id end
   where h.fly_app_id = p_row_id;
  update public.user_fly_apps set health_step = null where id = p_row_id and health_step is not null;
end
$$;

-- An operator wants Hangar to try again from the start.
create function hangar.forget_health_steps(p_row_id uuid) returns void
language sql volatile set search_path = ''
as $$
  update hangar.app_health set restarted_at = null, replaced_at = null, replaced_machine_id = null, step_samples = samples
   where fly_app_id = p_row_id
$$;

select hangar.restrict_functions();
