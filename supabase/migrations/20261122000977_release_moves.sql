-- How one app moves to a release and back to what it ran before, and what is remembered for that.
-- Builds on: given_machines, desired_state, failure_alerts.

create function hangar.record_target(p_target hangar.release_targets, p_what text, p_detail text default null) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata, error_details)
  values (p_target.row_id, p_target.user_id, 'release_target', case p_what when 'failed' then 'failed' when 'done' then 'succeeded' else 'info' end,
    jsonb_strip_nulls(jsonb_build_object('release', p_target.release_id, 'wave', p_target.wave, 'what', p_what, 'code', p_target.reason_code)),
    p_detail);
end
$$;

-- An app that leaves the release before it has gone through it.
create function hangar.skip_target(p_target hangar.release_targets, p_code text, p_reason text) returns void
language sql volatile set search_path = ''
as $$
  update hangar.release_targets t
     set state = case when t.goes_back then t.ends_as else 'skipped' end, goes_back = false, must_go_back = false,
         reason_code = case when t.goes_back then t.reason_code else p_code end, reason = case when t.goes_back then t.reason else p_reason end
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
$$;

-- What the target's app has without the release, whole and without its pin, so that it can be put back. An app that the release moves a
-- second time may have something of the release already.
create function hangar.remember_previous(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_given hangar.user_specs;
  v_spec hangar.machine_spec := hangar.without_pin(p_row, hangar.spec_of(p_row));
  -- The digest of a machine that somebody gave another image by hand belongs to that image.
  v_digest text := coalesce(nullif(split_part(p_row.docker_image, '@', 2), ''), case when coalesce(
      hangar.without_digest(p_row.observed_spec ->> 'image') = hangar.without_digest(p_row.docker_image), true)
      then coalesce(p_row.observed_spec ->> 'image_digest', p_row.image_digest) end);
begin
  select y.* into v_given from hangar.user_specs y where y.user_id = p_row.user_id;
  if p_target.previous is not null then
    v_spec := (hangar.former_machine(p_release, p_target, p_row)).spec;
    if v_given.release_id = p_release.id then
      v_given := hangar.former_given(p_target, p_row);
    end if;
  end if;
  v_given.spec := null;
  return jsonb_build_object('tier', p_row.tier, 'spec', to_jsonb(v_spec), 'given', case when v_given.user_id is not null then to_jsonb(v_given) end,
    'machine_region', p_row.machine_region,
    -- For people: what ran, also if only a pin had brought it.
    'image', p_row.docker_image || case when p_row.docker_image like '%@%' then '' else coalesce('@' || v_digest, '') end)
    || case when hangar.has_same_image(v_spec.docker_image, p_row.docker_image)
            -- What Fly shows for the image, which may be named by the digest of an index.
            then jsonb_build_object('digest', v_digest, 'seen_digest', coalesce(p_row.observed_spec ->> 'image_digest', p_row.image_digest))
            else '{}' end;
end
$$;

-- Lets a row desire this machine, and its user be given what belongs to it, as a new generation that is due now.
create function hangar.give_spec(p_row public.user_fly_apps, p_spec hangar.machine_spec, p_given hangar.user_specs, p_release integer)
returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_from jsonb := jsonb_strip_nulls(jsonb_build_object('desired_state', p_row.desired_state, 'tier', p_row.tier, 'error_code', p_row.error_code));
  v_row public.user_fly_apps;
begin
  p_given.user_id := p_row.user_id;
  p_given.tier := p_row.tier;
  p_given.release_id := p_release;
  perform hangar.store_given(p_given);
  v_row := hangar.make_present(p_row.id, p_row.tier, p_spec);
  perform hangar.record_desired_change(v_row, v_from, 'release', 'release:' || p_release);
  if p_row.error_code is not null then
    perform hangar.resolve_failure_alerts(p_row.id);
  end if;
  return v_row;
end
$$;

-- What a row's user has with this release: what was given before, and what the release gives on top.
create function hangar.add_to_given(p_release hangar.releases, p_row public.user_fly_apps, p_machine hangar.given_machine) returns hangar.user_specs
language plpgsql stable set search_path = ''
as $$
declare
  v_given hangar.user_specs;
begin
  select y.* into v_given from hangar.user_specs y where y.user_id = p_row.user_id;
  v_given.spec := hangar.without_pin(p_row, p_machine.spec);
  v_given.env := p_machine.env;
  if p_release.image is not null or p_release.region is not null then
    v_given.tiers := p_release.tiers;
  end if;
  v_given.image := coalesce(hangar.release_image(p_release), v_given.image);
  v_given.region := coalesce(p_release.region, v_given.region);
  if p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null then
    v_given.cpu_kind := (v_given.spec).cpu_kind;
    v_given.cpu_count := (v_given.spec).cpu_count;
    v_given.memory_mb := (v_given.spec).memory_mb;
  end if;
  return v_given;
end
$$;

-- Lets the row's machine move to another region, if what this release gives or takes back needs that.
create function hangar.permit_move(p_release hangar.releases, p_row public.user_fly_apps) returns void
language sql volatile set search_path = ''
as $$
  update public.user_fly_apps a set move_release_id = p_release.id
   where a.id = p_row.id and (p_release.region is not null or p_release.kind = 'plan')
     and (hangar.needs_move(a, a.region) or a.spare_machine_id is not null)
$$;

-- Moves one app to the release. False: not now, because another transaction or worker has the row, or it is busy with something else.
create function hangar.move_target(p_release hangar.releases, p_target hangar.release_targets) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_row public.user_fly_apps;
  v_pin hangar.user_pins;
  v_given hangar.given_machine;
  v_mine hangar.user_specs;
  v_image record;
  v_previous jsonb;
  v_lost record;
begin
  select a.* into v_row from public.user_fly_apps a where a.id = p_target.row_id for no key update skip locked;
  select n.* into v_pin from hangar.user_pins n where n.user_id = v_row.user_id and (n.ends_at is null or n.ends_at > v_now);
  if v_row.id is null then
    return false;
  elsif v_pin.held_back_until > v_now or hangar.is_pinned(v_pin, p_release) then
    update hangar.release_targets t
       set state = 'skipped', reason_code = case when v_pin.held_back_until > v_now then 'held_back' else 'pinned' end,
           reason = 'the user was pinned or held back after the release had begun'
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
    return true;
  elsif v_row.deleted_at is not null or v_row.desired_state = 'absent' or v_row.tier is null then
    update hangar.release_targets t set state = 'skipped', reason_code = 'left', reason = 'the user is no longer entitled to an app'
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
    return true;
  elsif p_release.region is not null and v_row.power = 'on_demand' then
    perform hangar.skip_target(p_target, 'on_demand', 'Fly itself starts an on-demand machine, so that two of them could run');
    return true;
  elsif v_row.spare_machine_id is not null or v_row.status <> 'active' or v_row.observed_generation is distinct from v_row.generation or v_row.error_code is not null
     or v_row.lease_expires_at > v_now or hangar.was_token_refused(v_row) then
    return false;
  end if;
  v_given := hangar.release_spec(p_release, v_row);
  v_lost := hangar.find_lost_target(p_release, v_row, v_given.spec);
  if v_lost.code is not null then
    perform hangar.skip_target(p_target, v_lost.code, v_lost.reason);
    return true;
  end if;
  select i.* into v_image from hangar.admit_image(p_release, v_given.image) i;
  if not v_image.admitted then
    return false;
  end if;
  v_previous := hangar.remember_previous(p_release, p_target, v_row);
  -- Nothing of a pin that has ended is left in the machine.
  delete from hangar.user_pins n where n.user_id = v_row.user_id and n.ends_at <= v_now;
  update hangar.user_pins n set ended = null where n.user_id = v_row.user_id and n.ended is not null;
  v_previous := hangar.with_running_image(v_previous, v_row, v_given.spec)
    || jsonb_build_object('gave', to_jsonb(hangar.without_pin(v_row, v_given.spec)));
  if p_release.kind = 'plan' then
    -- Until the app is done this is its machine, whatever the plan says meanwhile. Afterwards nothing of its own is left.
    v_mine.spec := hangar.without_pin(v_row, v_given.spec);
    v_mine.env := '{}';
    v_row := hangar.give_spec(v_row, v_given.spec, v_mine, p_release.id);
    -- The tag as the plan has it, and exactly the image that the first app proves.
    update public.user_fly_apps a set image_digest = p_release.plan_digests ->> v_given.image
     where a.id = v_row.id and p_release.plan_digests ? v_given.image;
  else
    v_row := hangar.give_spec(v_row, v_given.spec, hangar.add_to_given(p_release, v_row, v_given), p_release.id);
    if p_release.image is not null and v_row.docker_image = v_previous -> 'spec' ->> 'docker_image' and v_row.docker_image not like '%@%' then
      -- The same tag again: only a machine that is deployed again can show what the tag means now.
      update public.user_fly_apps a set image_digest = 'unresolved' where a.id = v_row.id;
    end if;
  end if;
  perform hangar.permit_move(p_release, v_row);
  update hangar.release_targets t
     set state = 'applying', image = v_given.image, wave = case when v_image.is_canary then 0 else t.wave end, reserved_until = null,
         previous = v_previous, generation = v_row.generation, applied_at = v_now, reason_code = null, reason = null,
         deadline_at = v_now + make_interval(secs => p_release.deadline_s::double precision), good_since = null, looked_at = null, restarted_at = null, restart_refused_at = null
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
  return true;
end
$$;

-- Users who left or changed the plan in the middle keep what this release gave them for their return. It goes back as well.
create function hangar.recall_users_who_left(p_release hangar.releases) returns void
language sql volatile set search_path = ''
as $$
  update hangar.release_targets t set must_go_back = true, ends_as = 'skipped'
   where t.release_id = p_release.id and t.state = 'skipped' and t.previous is not null and t.reason_code in ('left', 'changed', 'pinned', 'on_demand')
     and (exists (select 1 from hangar.user_specs y where y.user_id = t.user_id and y.release_id = p_release.id)
       -- What an earlier release had given: a drift release has taken it, and leaves nothing of its own.
       or p_release.kind = 'plan' and jsonb_typeof(t.previous -> 'given') = 'object')
$$;

-- An app whose tier changed meanwhile still belongs to the release if its new machine has what the release changes.
create function hangar.still_has_release(p_release hangar.releases, p_row public.user_fly_apps, p_target hangar.release_targets) returns boolean
language sql stable set search_path = ''
as $$
  select p_row.desired_state = 'present' and (
    p_target.goes_back
    or p_release.image is not null and hangar.without_digest(p_row.docker_image) = hangar.without_digest(p_release.image)
    or p_release.image is null and p_release.region is not null and p_row.region = p_release.region
    or p_release.image is null and p_row.tier is not distinct from p_target.previous ->> 'tier')
$$;

-- Puts one app back to what it ran before, with the digest that ran, wherever its tag points by now. False: not now.
create function hangar.put_back(p_release hangar.releases, p_target hangar.release_targets) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_row public.user_fly_apps;
  v_spec hangar.machine_spec;
  v_former hangar.user_specs;
  v_pin hangar.user_pins;
  v_replaced record;
begin
  select a.* into v_row from public.user_fly_apps a where a.id = p_target.row_id for no key update skip locked;
  if v_row.id is null then
    return false;
  end if;
  v_former := hangar.former_machine(p_release, p_target, v_row);
  select n.* into v_pin from hangar.user_pins n where n.user_id = v_row.user_id and (n.ends_at is null or n.ends_at > v_now);
  v_spec := hangar.with_pin(v_former.spec, v_pin);
  v_spec.env_version := hangar.env_version(
    coalesce((select p.env from public.fly_plans p where p.tier = v_row.tier), '{}') || v_former.env || coalesce(v_pin.env, '{}'));
  if v_row.deleted_at is not null or v_row.desired_state = 'absent'
    or v_row.generation is distinct from p_target.generation and v_spec is not distinct from hangar.spec_of(v_row) then
    -- What the user gets from now on, or on return, is what it was before, too.
    if exists (select 1 from hangar.user_specs y where y.user_id = v_row.user_id and (y.release_id = p_release.id or p_target.previous ? 'later'))
      or p_release.kind = 'plan' and not exists (select 1 from hangar.user_specs y where y.user_id = v_row.user_id) and v_row.deleted_at is null then
      perform hangar.store_given(hangar.former_given(p_target, v_row));
    end if;
    v_replaced := hangar.explain_replaced(p_target, v_row);
    update hangar.release_targets t
       set state = 'skipped', goes_back = false, must_go_back = false, reason_code = coalesce(t.reason_code, v_replaced.code),
           reason = coalesce(t.reason, v_replaced.reason)
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
    return true;
  end if;
  v_row := hangar.give_spec(v_row, v_spec, v_former, p_release.id);
  perform hangar.permit_move(p_release, v_row);
  update hangar.release_targets t
     set state = 'applying', goes_back = true, must_go_back = false, generation = v_row.generation, applied_at = v_now,
         deadline_at = v_now + make_interval(secs => p_release.deadline_s::double precision), good_since = null, looked_at = null, restarted_at = null, restart_refused_at = null
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
  return true;
end
$$;

-- An app that goes back, and for which its former region has no room, stays where it runs: only the rest of its former spec comes back. It then
-- differs from its plan, so that a release for drift can move it later.
create function hangar.stay_there(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_spec hangar.machine_spec := hangar.spec_of(p_row);
  v_given hangar.user_specs := hangar.former_given(p_target, p_row);
  v_row public.user_fly_apps;
  v_target hangar.release_targets;
  v_reason text := format('stays in %s: %s has no room. `hangar release create --drift` moves it when there is room', p_row.machine_region, p_row.region);
begin
  v_spec.region := p_row.machine_region;
  v_given.spec := hangar.without_pin(p_row, v_spec);
  v_row := hangar.give_spec(p_row, v_spec, v_given, p_release.id);
  update hangar.release_targets t
     set state = 'applying', generation = v_row.generation, applied_at = hangar.now(), good_since = null, looked_at = null,
         deadline_at = hangar.now() + make_interval(secs => p_release.deadline_s::double precision),
         reason_code = coalesce(t.reason_code, p_row.error_code), reason = left(concat_ws('. ', t.reason, v_reason), 500)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
  returning t.* into v_target;
  perform hangar.record_target(v_target, 'stays', v_reason);
end
$$;

-- The release has failed for this app. It goes back when its turn comes.
create function hangar.fail_target(p_target hangar.release_targets, p_code text, p_reason text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets;
begin
  update hangar.release_targets t
     set state = 'failed', must_go_back = true, ends_as = 'reverted', failed_at = hangar.now(), reason_code = p_code, reason = left(p_reason, 500)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
  returning t.* into v_target;
  perform hangar.record_target(v_target, 'failed', v_target.reason);
end
$$;

select hangar.restrict_functions();
