-- How far the apps of a release have come: what their rows say, and what a look at each machine has found.
-- Builds on: release_way_back, release_tokens.

-- Whether a move keeps the user down: the new machine does not start, for example for want of room, or it cannot be made while the former one
-- has stopped or is gone. The app goes back at once, because only then does Hangar repair it where it was.
create function hangar.is_down_in_move(p_row public.user_fly_apps) returns boolean
language sql immutable set search_path = ''
as $$
  select p_row.status = 'error' and coalesce(case when p_row.spare_machine_id is not null then p_row.machine_state <> 'started'
    else p_row.move_release_id is not null and p_row.error_code in ('region_full', 'quota')
         and p_row.machine_state in ('stopped', 'suspended', 'failed', 'absent', 'destroyed') end, false)
$$;

-- What becomes of the apps with which the release was done, on their way forward or back.
create function hangar.follow_ended_targets(p_release hangar.releases) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_found record;
  v_target hangar.release_targets;
  v_row public.user_fly_apps;
begin
  -- An app that did not become well in time on its way back, and has become well since.
  update hangar.release_targets t set state = s.state, reason = s.reason
    from hangar.release_targets f cross join lateral hangar.see_target(f) s
   where f.release_id = p_release.id and f.state = 'failed' and s.state = 'reverted' and t.release_id = f.release_id and t.row_id = f.row_id;
  -- An app that was good and fails later, while the release is under way, is a failure of the release too.
  if p_release.state in ('rolling', 'paused') then
    for v_found in
      select t as target, a as app_row from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
       where t.release_id = p_release.id and t.state = 'done' and not t.was_unhealthy and not t.must_go_back
         and a.generation = t.generation and a.deleted_at is null and a.desired_state = 'present' and not hangar.blames_token(a)
         and (a.status = 'error' and hangar.is_release_fault(a.error_code) or a.health_status = 'unhealthy')
       order by t.place limit 100
    loop
      v_target := v_found.target;
      v_row := v_found.app_row;
      perform hangar.fail_target(v_target, coalesce(v_row.error_code, 'unhealthy'), coalesce(v_row.error_message, 'unhealthy since it was updated'));
    end loop;
  end if;
end
$$;

-- Whether a program that does not become ready is at fault although this holds the release: who may delete what, and what Fly refuses, is no
-- reason of its checks. Otherwise its user would wait for the end of the hold.
create function hangar.judges_checks(p_hold text) returns boolean
language sql stable set search_path = ''
as $$
  select p_hold is null or p_hold in ('deletes_paused', 'brake', 'fly_refused')
     and not exists (select 1 from hangar.alerts l where l.resolved_at is null and l.kind in ('installation', 'fly_unreachable', 'incident'))
$$;

-- Brings the moving targets of a release in line with their rows. While something holds the release (p_hold), no time-out counts, with two
-- exceptions: checks that fail, and ways back while Fly refuses the organisation, because a limit that nobody raises would keep it open.
create function hangar.follow_targets(p_release hangar.releases, p_hold text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_judge boolean := p_hold is null;
  v_judge_checks boolean := hangar.judges_checks(p_hold);
  v_judge_back boolean := p_hold is null or p_hold = 'fly_refused';
  v_found record;
  v_target hangar.release_targets;
  v_row public.user_fly_apps;
  v_capped boolean;
begin
  for v_found in
    select t as target, a as app_row from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
     where t.release_id = p_release.id and t.state in ('applying', 'verifying')
     order by t.place limit 500
  loop
    v_target := v_found.target;
    v_row := v_found.app_row;
    -- Whatever happens to an app that waits for its way back, it loses what the release gave it.
    continue when v_target.must_go_back;
    if v_row.deleted_at is not null or v_row.desired_state = 'absent' then
      perform hangar.skip_target(v_target, 'left', 'the user is no longer entitled to an app');
    elsif v_row.generation <> v_target.generation and not hangar.still_has_release(p_release, v_row, v_target) then
      perform hangar.skip_changed_target(p_release, v_target, v_row);
    elsif v_row.power = 'on_demand' and p_release.region is not null and not v_target.goes_back
      and not hangar.region_allows(p_release.region, v_row.machine_region) then
      perform hangar.skip_target(v_target, 'on_demand', 'the user has a plan by now whose machine Fly itself starts, so that two of them could run');
    elsif v_row.generation <> v_target.generation then
      update hangar.release_targets t
         set generation = v_row.generation, state = 'applying', good_since = null,
             reason_code = nullif(t.reason_code, 'token_refused'),
             deadline_at = v_now + make_interval(secs => p_release.deadline_s::double precision)
       where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
    elsif v_row.status = 'error' and hangar.is_release_fault(v_row.error_code) and not v_target.goes_back
      and not hangar.blames_token(v_row) then
      perform hangar.fail_target(v_target, v_row.error_code, v_row.error_message);
    elsif hangar.is_down_in_move(v_row) and not v_target.goes_back and (v_row.lease_expires_at is null or v_row.lease_expires_at <= v_now) then
      update hangar.release_targets t
         set state = 'failed', must_go_back = true, ends_as = 'skipped', reason_code = v_row.error_code, reason = left(v_row.error_message, 500)
       where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
    elsif v_target.state = 'applying' and v_row.observed_generation = v_row.generation and v_row.error_code is null then
      update hangar.release_targets t set state = 'verifying'
       where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
    elsif v_target.state = 'verifying' and not v_target.goes_back and hangar.blames_token(v_row) then
      perform hangar.wait_for_token(p_release, v_target, v_judge);
    elsif v_target.state = 'verifying' and not v_target.goes_back and v_target.reason_code = 'token_refused' then
      perform hangar.judge_again(p_release, v_target);
    elsif v_target.goes_back and v_target.deadline_at <= v_now and v_judge_back then
      if v_target.state = 'applying' and v_row.status = 'error' and v_row.error_code in ('region_full', 'quota', 'host')
         and v_row.spare_machine_id is null and v_row.machine_state = 'started' and hangar.needs_move(v_row, v_row.region)
         and (v_row.lease_expires_at is null or v_row.lease_expires_at <= v_now) then
        perform hangar.stay_there(p_release, v_target, v_row);
      elsif v_target.deadline_at + hangar.way_back_extra(p_release, v_target, v_row) <= v_now
        and (v_row.lease_expires_at is null or v_row.lease_expires_at <= v_now) then
        perform hangar.end_way_back(v_target, v_row);
      end if;
    elsif (v_judge or v_judge_checks and v_target.state = 'verifying' and v_target.look_code = 'check_critical') and not v_target.goes_back and v_target.deadline_at <= v_now and (v_target.good_since is null or v_target.reason_code = 'host_unreachable'
        and v_target.deadline_at + make_interval(secs => p_release.soak_s::double precision) <= v_now) then
      v_capped := v_target.state = 'applying' and v_row.error_code is null and v_row.monthly_cost_estimate_usd > v_row.admitted_cost_usd
        and hangar.is_cap_in_force('max_cost');
      if v_target.state = 'applying' and (v_row.error_code is not null or v_capped) then
        -- Nothing was proved about the release: the app goes back and is named.
        update hangar.release_targets t
           set state = 'failed', must_go_back = true, ends_as = 'skipped', reason_code = case when v_capped then 'max_cost' else v_row.error_code end,
               reason = case when v_capped then 'max_monthly_cost_usd allows no larger machine now' else left(v_row.error_message, 500) end
         where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
      elsif v_target.reason_code in ('host_unreachable', 'unreadable', 'not_restarted') then
        update hangar.release_targets t set state = 'failed', must_go_back = true, ends_as = 'skipped'
         where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
      elsif v_target.state = 'applying' and hangar.is_out_of_reach(v_row) then
        update hangar.release_targets t
           set state = 'failed', must_go_back = true, ends_as = 'skipped', reason_code = 'host_unreachable', reason = 'Fly cannot reach the machine''s host'
         where t.release_id = v_target.release_id and t.row_id = v_target.row_id;
      else
        perform hangar.fail_target(v_target, coalesce(v_target.reason_code, 'deadline'),
          format('not ready after %s s%s', trim_scale(p_release.deadline_s), coalesce(': ' || coalesce(v_target.reason, v_row.error_message), '')));
      end if;
    end if;
  end loop;
  perform hangar.follow_ended_targets(p_release);
end
$$;

-- The canary is started a second time before it counts, because an image can be fine until then; and one that sleeps is started, because it
-- proves nothing asleep. A canary that could not be restarted for as long as its deadline after the first try is taken as it is.
create function hangar.needs_restart(p_release hangar.releases, p_target hangar.release_targets) returns boolean
language sql stable set search_path = ''
as $$
  select p_target.wave = 0 and p_target.image is not null and p_target.state = 'verifying' and not p_target.goes_back
     and p_target.restarted_at is null
     and (p_target.restart_refused_at is null
          or p_target.restart_refused_at + pg_catalog.make_interval(secs => p_release.deadline_s::double precision) > hangar.now())
$$;

-- Whether an app that has passed its proof is still watched, because some images fail only after a while. While the release rolls, these are
-- the first 50 apps of earlier waves; while it is paused, the apps that it moved within the last hour.
create function hangar.is_watched(p_release hangar.releases, p_target hangar.release_targets) returns boolean
language sql stable set search_path = ''
as $$
  select p_target.state = 'done' and not p_target.must_go_back
     and (p_release.state = 'rolling' and p_target.wave < p_release.wave and p_target.place <= 50
          or p_release.state = 'paused' and p_target.applied_at > hangar.now() - interval '1 hour')
$$;

-- The machines that have to be looked at now: those under proof, and the oldest looks at those that passed it.
create function hangar.find_looks(p_release hangar.releases, p_limit integer) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
      'release', l.release_id, 'row_id', l.row_id, 'user_id', l.user_id, 'app', l.fly_app_name, 'machine_id', l.machine_id,
      'image', case when (l.target).image is not null or l.goes_back then l.docker_image end,
      'size', pg_catalog.jsonb_build_array(l.cpu_kind, l.cpu_count, l.memory_mb), 'env_digest', l.sent_env,
      'version', case when not l.goes_back then p_release.version end, 'since', l.applied_at, 'good_since', l.good_since,
      'known_digest', case when l.goes_back then l.previous ->> 'seen_digest' end,
      'on_demand', l.power = 'on_demand', 'proof', case when hangar.needs_restart(p_release, l.target) then
         case when l.good_since <= hangar.now() - pg_catalog.make_interval(secs => p_release.soak_s::double precision) then 'restart' else 'start' end end)), '[]')
    from (
      select t as target, t.release_id, t.row_id, t.user_id, t.goes_back, t.previous, t.applied_at, t.good_since, a.fly_app_name, a.machine_id, a.docker_image, a.power,
             a.cpu_kind, a.cpu_count, a.memory_mb,
             -- Not if the machine had this environment already, so that nothing was sent.
             case when a.env_version is not distinct from a.env_version_deployed then a.env_digest end as sent_env
        from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
       where t.release_id = p_release.id and a.machine_id is not null and a.deleted_at is null and a.desired_state = 'present'
         and a.generation = t.generation and (t.goes_back or not hangar.was_token_refused(a))
         and (t.state = 'verifying' or t.state = 'done' and t.wave = p_release.wave and p_release.state = 'rolling' and not t.must_go_back
              or hangar.is_watched(p_release, t))
         and (t.reserved_until is null or t.reserved_until <= hangar.now())
         and (t.looked_at is null or t.looked_at <= hangar.now() - pg_catalog.make_interval(
                secs => case when hangar.is_watched(p_release, t) then 60 else least(15, p_release.soak_s / 3)::double precision end))
       order by t.state desc, t.looked_at nulls first, t.place limit p_limit) l
$$;

create function hangar.record_restart(p_release hangar.releases, p_target hangar.release_targets) returns void
language sql volatile set search_path = ''
as $$
  update hangar.release_targets t
     set looked_at = hangar.now(), read_at = hangar.now(), restarted_at = hangar.now(), restart_refused_at = null, good_since = null, reason_code = 'restarted',
         reason = 'started once more, to see that the image starts again',
         deadline_at = hangar.now() + pg_catalog.make_interval(secs => p_release.deadline_s::double precision)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
$$;

-- One look at one machine. `good` must hold for the soak; `bad` before the first good look only waits; `dead` fails at once.
create function hangar.record_look(p_release hangar.releases, p_target hangar.release_targets, p_look jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_verdict text := p_look ->> 'verdict';
  v_code text := p_look ->> 'code';
  v_detail text := left(p_look ->> 'detail', 500);
  v_digest text := nullif(p_look ->> 'digest', '');
  v_wanted text := coalesce(nullif(split_part(p_target.image, '@', 2), ''),
                            case when p_release.kind = 'plan' then p_release.plan_digests ->> p_target.image else p_release.image_digest end);
  v_target hangar.release_targets := p_target;
begin
  if v_verdict = 'restarted' then
    perform hangar.record_restart(p_release, p_target);
    return;
  elsif hangar.is_watched(p_release, p_target) and v_verdict <> 'dead' then
    -- Whether a check that fails for a moment means anything is decided by the care for health, as for every app at rest.
    update hangar.release_targets t set looked_at = v_now where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
    return;
  end if;
  if v_verdict in ('good', 'asleep') and not p_target.goes_back and p_target.image is not null and v_digest is not null
     and v_wanted is not null and v_digest <> v_wanted then
    v_verdict := 'dead';
    v_code := 'wrong_digest';
    v_detail := format('runs the image with digest %s, and the release has %s', v_digest, v_wanted);
  elsif v_verdict in ('good', 'asleep') and not p_target.goes_back and p_release.image is not null and v_wanted is null
     and v_digest = p_target.previous ->> 'digest' then
    v_verdict := 'dead';
    v_code := 'not_updated';
    v_detail := format('still runs the digest from before, %s: either Fly could not pull the image, or the tag was never changed', v_digest);
  end if;
  if v_verdict = 'asleep' and v_code = 'exited' and p_target.wave = 0 and p_target.state = 'verifying' and not p_target.goes_back
     and p_target.image is not null and p_target.restarted_at is not null and p_target.good_since is null then
    v_verdict := 'dead';  -- it was started to prove the image, and ended before it was good once
  end if;
  update hangar.release_targets t
     set looked_at = v_now, digest_seen = coalesce(v_digest, t.digest_seen), instance_seen = coalesce(nullif(p_look ->> 'instance', ''), t.instance_seen),
         look_code = case when v_verdict <> 'good' then v_code end, look_reason = case when v_verdict <> 'good' then v_detail end,
         restart_refused_at = case when v_code = 'not_restarted' then coalesce(t.restart_refused_at, v_now) else t.restart_refused_at end,
         -- Another instance, which somebody deployed meanwhile, has proved nothing yet, nor was it started a second time.
         restarted_at = case when nullif(p_look ->> 'instance', '') <> t.instance_seen then null else t.restarted_at end,
         good_since = case when v_verdict = 'good' and nullif(p_look ->> 'instance', '') <> t.instance_seen then v_now
                           when v_verdict = 'good' then coalesce(t.good_since, v_now) when v_verdict = 'unknown' then t.good_since end,
         reason_code = case when t.goes_back or t.failed_at is not null then t.reason_code when v_verdict = 'good' then null else v_code end,
         reason = case when t.goes_back or t.failed_at is not null then t.reason when v_verdict = 'good' then null else v_detail end
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
  returning t.* into v_target;
  if p_target.goes_back then
    if v_verdict in ('good', 'asleep') then
      update hangar.release_targets t set state = t.ends_as, goes_back = false
       where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
      perform hangar.record_target(v_target, 'reverted');
    end if;
  elsif v_verdict = 'dead' or v_verdict = 'bad' and p_target.good_since is not null then
    perform hangar.fail_target(p_target, v_code, v_detail);
  elsif p_target.state = 'verifying' and not hangar.needs_restart(p_release, v_target) and (v_verdict = 'asleep'
        or v_verdict = 'good' and v_target.good_since <= v_now - make_interval(secs => p_release.soak_s::double precision)) then
    update hangar.release_targets t
       set state = 'done', reason_code = case when v_verdict = 'asleep' then 'unproven' end,
           reason = case when v_verdict = 'asleep' then 'updated while it sleeps, so nothing is proved until it starts' end
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id
    returning t.* into v_target;
    perform hangar.record_target(v_target, 'done');
    if p_target.image is not null and v_wanted is null and v_digest is not null then
      -- What the canary runs is what the tag means: the others get exactly that.
      update hangar.releases r
         set image_digest = case when r.kind = 'plan' then r.image_digest else coalesce(r.image_digest, v_digest) end,
             plan_digests = case when r.kind = 'plan' then jsonb_build_object(p_target.image, v_digest) || r.plan_digests else r.plan_digests end
       where r.id = p_release.id;
    end if;
  end if;
end
$$;

select hangar.restrict_functions();
