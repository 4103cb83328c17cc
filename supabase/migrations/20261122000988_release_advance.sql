-- Any worker advances every release by one step: it judges, puts apps back, opens the next wave or ends the release.
-- Builds on: release_waves, release_adoption.

-- Adds the apps that do not have what the release brings: new apps, apps that were left out for a reason that has ended, and apps that have
-- lost it with a change of plan.
-- Whether a late app needs this release. One that has what its plan says today needs no plan as it was at the start.
create function hangar.needs_release(p_release hangar.releases, p_row uuid) returns boolean
language sql stable set search_path = ''
as $$
  select p_release.kind <> 'plan' or exists (
    select 1 from public.user_fly_apps a join public.fly_plans p on p.tier = a.tier cross join hangar.settings g
      left join hangar.user_pins n on n.user_id = a.user_id and (n.ends_at is null or n.ends_at > hangar.now())
     where a.id = p_row and hangar.differs_from_plan(a, p, g, n))
$$;

create function hangar.add_late_targets(p_release hangar.releases) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_added integer;
  v_again integer;
begin
  update hangar.release_targets t
     set state = 'pending', wave = p_release.wave, place = f.place, was_unhealthy = f.was_unhealthy, reason_code = 'again', reason = null
    from hangar.find_targets(p_release) f
    join public.user_fly_apps a on a.id = f.row_id
   where t.release_id = p_release.id and t.row_id = f.row_id and f.left_out is null and hangar.needs_release(p_release, f.row_id)
     and (t.state = 'skipped' and t.reason_code = 'token_refused' and not hangar.was_token_refused(a)
          or t.state = 'skipped' and t.reason_code in ('left', 'changed', 'held_back', 'pinned', 'other_release', 'on_demand')
          or t.state = 'done' and a.generation <> t.generation and a.tier is distinct from t.previous ->> 'tier');
  get diagnostics v_again = row_count;
  insert into hangar.release_targets (release_id, row_id, user_id, wave, place, was_unhealthy)
  select p_release.id, f.row_id, f.user_id, p_release.wave, f.place, f.was_unhealthy
    from hangar.find_targets(p_release) f
   -- A share is drawn once.
   where f.left_out is null and p_release.share = 1 and hangar.needs_release(p_release, f.row_id) and not exists (select 1 from hangar.release_targets t where t.release_id = p_release.id and t.row_id = f.row_id)
   limit 500
  on conflict do nothing;
  get diagnostics v_added = row_count;
  return v_added + v_again;
end
$$;

create function hangar.end_release(p_release hangar.releases, p_state text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  update hangar.releases r set state = p_state, ended_at = hangar.now(), held_by = null, held_since = null
   where r.id = p_release.id returning r.* into v_release;
  if p_state = 'completed' and p_release.kind = 'plan' then
    -- Who has what the plan says needs nothing of their own. The others keep what the plan said when the release was started.
    delete from hangar.user_specs y using public.fly_plans p, hangar.settings g
     where y.release_id = p_release.id and p.tier = y.tier and y.env = '{}'
       and to_jsonb(hangar.spec_for(p, g, null, null)) - 'env_version' = to_jsonb(y.spec) - 'env_version';
  end if;
  perform hangar.resolve_alert('release_failed', v_release.id::text);
  perform hangar.record_release(v_release, p_state, 'hangar');
end
$$;

-- Waves exist so that many apps move only after a few have proved the release. If no app of the first wave could prove it (no room, a host out
-- of reach, a user who left), the next apps take its place; if there is none left and none was updated, an operator decides. But if no app needs
-- what its plan says any more, or all chosen users have left, there is nothing to decide: that release is complete.
create function hangar.find_proof(p_release hangar.releases) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases := p_release;
begin
  if exists (select 1 from hangar.release_targets t
              where t.release_id = p_release.id and t.state = 'done' and t.reason_code is distinct from 'unproven') then
    return v_release;
  end if;
  update hangar.release_targets t set wave = p_release.wave
    from (select n.row_id from hangar.release_targets n where n.release_id = p_release.id and n.state = 'pending'
           order by n.place limit p_release.canary_size) next
   where t.release_id = p_release.id and t.row_id = next.row_id;
  if found then
    update hangar.releases r set wave_began_at = hangar.now() where r.id = p_release.id returning r.* into v_release;
    perform hangar.record_release(v_release, 'canary_replaced', 'hangar');
  elsif not exists (select 1 from hangar.release_targets t where t.release_id = p_release.id and t.state = 'done')
    and (hangar.changes_plans(p_release) or exists (
      select 1 from hangar.release_targets t
       where t.release_id = p_release.id and t.place > 0
         and not (t.state = 'skipped' and t.reason_code = any (
           case p_release.kind when 'plan' then '{left,changed,pinned,held_back,moved,replaced,on_demand}' else '{left}' end::text[])))) then
    v_release := hangar.pause_release(v_release, v_release.wave, format('no app could be updated: %s', coalesce((
      select string_agg(format('%s: %s', hangar.format_apps(x.apps, x.example), coalesce(x.reason, replace(x.code, '_', ' '))), '; ' order by x.apps desc, x.code)
        from (select coalesce(t.reason_code, t.state) as code, count(*) as apps, min(t.reason) as reason, min(a.fly_app_name) as example
                from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
               where t.release_id = p_release.id and t.place > 0 group by 1) x), 'none is left')), 'Nothing has changed');
  end if;
  return v_release;
end
$$;

-- Opens the next wave when this one is over; after the last one, plans and settings follow, latecomers too, and the release is complete.
create function hangar.close_wave(p_release hangar.releases) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases := p_release;
  v_last integer;
begin
  if exists (select 1 from hangar.release_targets t
              where t.release_id = p_release.id and t.wave <= p_release.wave and (t.state in ('pending', 'applying', 'verifying') or t.must_go_back)) then
    return v_release;
  end if;
  v_release := hangar.find_proof(v_release);
  if v_release.state <> 'rolling' or exists (select 1 from hangar.release_targets t
      where t.release_id = p_release.id and t.wave = v_release.wave and t.state = 'pending') then
    return v_release;
  end if;
  select max(t.wave) into v_last from hangar.release_targets t where t.release_id = p_release.id and t.state = 'pending';
  if v_last > v_release.wave then
    update hangar.releases r set wave = r.wave + 1, wave_began_at = hangar.now() where r.id = p_release.id returning r.* into v_release;
    perform hangar.record_release(v_release, 'wave_opened', 'hangar');
  elsif not v_release.adopted then
    perform hangar.adopt_release(v_release);
    select r.* into v_release from hangar.releases r where r.id = p_release.id;
    if hangar.add_late_targets(v_release) > 0 then
      update hangar.releases r set wave_began_at = hangar.now() where r.id = p_release.id returning r.* into v_release;
    else
      perform hangar.end_release(v_release, 'completed');
    end if;
  elsif hangar.add_late_targets(v_release) = 0 then
    perform hangar.end_release(v_release, 'completed');
  end if;
  return v_release;
end
$$;

-- Gives everything that waits in this release so much more time, and never more than it had at first: what began to wait meanwhile has lost less.
create function hangar.extend_release(p_release hangar.releases, p_by interval) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  update hangar.release_targets t
     set deadline_at = greatest(t.deadline_at, least(t.deadline_at + p_by, hangar.now() + make_interval(secs => p_release.deadline_s::double precision)
           + case when t.reason_code = 'token_refused' then interval '1 hour' else interval '0' end)),
         restart_refused_at = t.restart_refused_at + least(p_by, hangar.now() - t.restart_refused_at)
   where t.release_id = p_release.id and t.state in ('applying', 'verifying');
  update hangar.releases r set wave_began_at = least(r.wave_began_at + p_by, hangar.now()) where r.id = p_release.id returning r.* into v_release;
  return v_release;
end
$$;

-- Notes what holds the release, or that nothing does. What moves gets back the time that it has lost: to a hold, or because no worker came.
create function hangar.set_release_hold(p_release hangar.releases, p_hold text) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases := p_release;
  v_now timestamptz := hangar.now();
begin
  if p_release.held_since is not null and p_hold is null then
    v_release := hangar.extend_release(v_release, v_now - p_release.held_since);
  elsif p_release.held_since is null and p_release.advanced_at < v_now - interval '2 minutes' then
    v_release := hangar.extend_release(v_release, v_now - p_release.advanced_at - interval '2 minutes');
  end if;
  update hangar.releases r
     set held_by = p_hold, held_since = case when p_hold is not null then coalesce(r.held_since, v_now) end, advanced_at = v_now
   where r.id = p_release.id returning r.* into v_release;
  return v_release;
end
$$;

-- The plans whose variables have changed since this release of kind plan was started, and of which apps wait for their turn. The rest of a plan
-- is kept as it was at the start; its variables are read whenever Hangar updates a machine.
create function hangar.find_edited_env(p_release hangar.releases) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.string_agg(p.tier, ', ' order by p.tier)
    from public.fly_plans p
   where p_release.plan_specs -> p.tier ->> 'env_version' is distinct from hangar.env_version(p.env) and p_release.plan_specs ? p.tier
     and exists (select 1 from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
                  where t.release_id = p_release.id and t.state = 'pending' and a.tier = p.tier)
$$;

create function hangar.advance_release(p_release hangar.releases) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases := p_release;
  v_hold text := hangar.find_release_hold(p_release);
  v_failed integer;
  v_edited text;
  v_moved integer := 0;
begin
  v_release := hangar.set_release_hold(v_release, v_hold);
  perform hangar.follow_targets(v_release, v_hold);
  if v_release.state = 'rolling' or v_release.state = 'paused' and v_release.failed_at is null then
    -- An app that still moves after an operator's pause may fail as well.
    v_failed := hangar.find_failed_wave(v_release);
    if v_failed is not null then
      v_release := hangar.pause_failed_release(v_release, v_failed);
    end if;
  end if;
  v_edited := hangar.find_edited_env(v_release);
  if v_release.state = 'rolling' and v_edited is not null then
    v_release := hangar.pause_release(v_release, v_release.wave, format('the variables of the plan %s were edited after it was started', v_edited),
      'The apps that it has moved stay as they are, and no further app moves. Give the plan its former variables again before you resume it, '
      'or abort it and create another release', false);
  end if;
  -- Putting back is what helps in an incident and under the brake. It destroys nothing, so a pause of the deletions does not hold it either. While
  -- Fly refuses the organisation, no app is left that gets the release as soon as Fly accepts calls again.
  if v_hold is null or v_hold in ('incident', 'brake', 'deletes_paused', 'fly_refused') then
    v_moved := hangar.put_back_targets(v_release, hangar.count_release_room(v_release));
  end if;
  if v_hold is null and v_release.state = 'rolling' then
    v_release := hangar.close_wave(v_release);
    if v_release.state = 'rolling' then
      v_moved := v_moved + hangar.move_targets(v_release, hangar.count_release_room(v_release));
    end if;
  elsif v_release.state = 'rolling_back' and not exists (
    select 1 from hangar.release_targets t where t.release_id = v_release.id and (t.state in ('applying', 'verifying') or t.must_go_back)) then
    perform hangar.end_release(v_release, case when v_release.reason = 'abort' then 'aborted' else 'rolled_back' end);
  end if;
  return v_moved;
end
$$;

select hangar.restrict_functions();
