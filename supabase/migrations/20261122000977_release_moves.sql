-- How one app moves to a release and back to what it ran before, and what is remembered for that.
-- Builds on: release_targets, desired_state, failure_alerts.

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

-- What the target's row ran before, whole, so that it can be put back.
create function hangar.remember_previous(p_row public.user_fly_apps) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'tier', p_row.tier, 'spec', pg_catalog.to_jsonb(hangar.spec_of(p_row)),
    'machine_region', p_row.machine_region,
    -- What Fly shows for the image, which may be named by the digest of an index.
    'seen_digest', coalesce(p_row.observed_spec ->> 'image_digest', p_row.image_digest),
    'env', coalesce((select y.env from hangar.user_specs y where y.user_id = p_row.user_id), '{}'),
    -- The digest of a machine that somebody gave another image by hand belongs to that image.
    'digest', coalesce(nullif(pg_catalog.split_part(p_row.docker_image, '@', 2), ''), case when coalesce(
      hangar.without_digest(p_row.observed_spec ->> 'image') = hangar.without_digest(p_row.docker_image), true)
      then coalesce(p_row.observed_spec ->> 'image_digest', p_row.image_digest) end))
$$;

-- Lets a row desire this machine and remember it for its user, as a new generation that is due now.
create function hangar.give_spec(
  p_row public.user_fly_apps, p_spec hangar.machine_spec, p_env jsonb, p_image text, p_region text, p_tiers text[], p_release integer
) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_from jsonb := jsonb_strip_nulls(jsonb_build_object('desired_state', p_row.desired_state, 'tier', p_row.tier, 'error_code', p_row.error_code));
  v_row public.user_fly_apps;
begin
  insert into hangar.user_specs (user_id, tier, spec, env, image, region, tiers, release_id)
  values (p_row.user_id, p_row.tier, hangar.without_pin(p_row, p_spec), p_env, p_image, p_region, p_tiers, p_release)
  on conflict (user_id) do update set tier = excluded.tier, spec = excluded.spec, env = excluded.env, image = excluded.image,
    region = excluded.region, tiers = excluded.tiers, release_id = excluded.release_id, updated_at = hangar.now();
  v_row := hangar.make_present(p_row.id, p_row.tier, p_spec);
  perform hangar.record_desired_change(v_row, v_from, 'release', 'release:' || p_release);
  if p_row.error_code is not null then
    perform hangar.resolve_failure_alerts(p_row.id);
  end if;
  return v_row;
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

-- Whether an app may get this image now. A release of kind plan may give several images, and each has a canary of its own: the first apps that
-- get it. The others wait until one of them is done. is_canary: the app is one of those first ones.
create function hangar.admit_image(p_release hangar.releases, p_image text, out admitted boolean, out is_canary boolean)
language plpgsql stable set search_path = ''
as $$
begin
  is_canary := p_release.kind = 'plan' and p_image is not null and not exists (
    select 1 from hangar.release_targets t
     where t.release_id = p_release.id and t.image = p_image and t.state = 'done' and t.reason_code is distinct from 'unproven' and not t.must_go_back);
  admitted := not is_canary or greatest(p_release.canary_size, cardinality(p_release.canary_users)) > (
    select count(*) from hangar.release_targets t
     where t.release_id = p_release.id and t.image = p_image and (t.state in ('applying', 'verifying') or t.must_go_back));
end
$$;

-- Moves one app to the release. False: not now, because another transaction or worker has the row, or it is busy with something else.
create function hangar.move_target(p_release hangar.releases, p_target hangar.release_targets) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_row public.user_fly_apps;
  v_pin hangar.user_pins;
  v_given record;
  v_image record;
  v_previous jsonb;
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
  select s.* into v_given from hangar.release_spec(p_release, v_row) s;
  select i.* into v_image from hangar.admit_image(p_release, v_given.image) i;
  if not v_image.admitted then
    return false;
  end if;
  v_previous := hangar.remember_previous(v_row);
  -- With another tier the user keeps nothing of what a plan has given.
  v_row := hangar.give_spec(v_row, v_given.spec, v_given.env, hangar.release_image(p_release), p_release.region,
                            case when p_release.kind = 'machine' then p_release.tiers end, p_release.id);
  if p_release.kind = 'plan' then
    -- The tag as the plan has it, and exactly the image that the first app proves.
    update public.user_fly_apps a set image_digest = p_release.plan_digests ->> v_given.image
     where a.id = v_row.id and p_release.plan_digests ? v_given.image;
  elsif p_release.image is not null and v_row.docker_image = v_previous -> 'spec' ->> 'docker_image' and v_row.docker_image not like '%@%' then
    -- The same tag again: only a machine that is deployed again can show what the tag means now.
    update public.user_fly_apps a set image_digest = 'unresolved' where a.id = v_row.id;
  end if;
  perform hangar.permit_move(p_release, v_row);
  update hangar.release_targets t
     set state = 'applying', image = v_given.image, wave = case when v_image.is_canary then 0 else t.wave end, reserved_until = null,
         previous = v_previous, generation = v_row.generation, applied_at = v_now, reason_code = null, reason = null,
         deadline_at = v_now + make_interval(secs => p_release.deadline_s::double precision), good_since = null, looked_at = null, restarted_at = null
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
  return true;
end
$$;

-- The target, or the same one with the row of the app that its user has by now: who left and came back may have another app, with what this
-- release gave the user.
create function hangar.find_returned_user(p_release hangar.releases, p_target hangar.release_targets) returns hangar.release_targets
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets := p_target;
begin
  update hangar.release_targets t set row_id = a.id
    from public.user_fly_apps was, public.user_fly_apps a, hangar.user_specs y
   where t.release_id = p_release.id and t.row_id = p_target.row_id
     and was.id = t.row_id and was.deleted_at is not null
     and a.user_id = was.user_id and a.deleted_at is null and a.desired_state = 'present'
     and y.user_id = was.user_id and y.release_id = p_release.id
     and not exists (select 1 from hangar.release_targets o where o.release_id = t.release_id and o.row_id = a.id)
  returning t.* into v_target;
  return case when v_target.row_id is null then p_target else v_target end;
end
$$;

-- Users who left or changed the plan in the middle keep what this release gave them for their return. It goes back as well.
create function hangar.recall_users_who_left(p_release hangar.releases) returns void
language sql volatile set search_path = ''
as $$
  update hangar.release_targets t set must_go_back = true, ends_as = 'skipped'
   where t.release_id = p_release.id and t.state = 'skipped' and t.previous is not null and t.reason_code in ('left', 'changed', 'pinned', 'on_demand')
     and exists (select 1 from hangar.user_specs y where y.user_id = t.user_id and y.release_id = p_release.id)
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
  v_spec hangar.machine_spec := jsonb_populate_record(null::hangar.machine_spec, p_target.previous -> 'spec');
  v_row_id uuid := p_target.row_id;
begin
  p_target := hangar.find_returned_user(p_release, p_target);
  select a.* into v_row from public.user_fly_apps a where a.id = p_target.row_id for no key update skip locked;
  if v_row.id is null then
    return false;
  end if;
  if v_spec.docker_image not like '%@%' and p_target.previous ->> 'digest' is not null then
    v_spec.docker_image := v_spec.docker_image || '@' || (p_target.previous ->> 'digest');
  end if;
  if v_row.deleted_at is not null or v_row.desired_state = 'absent'
    or (p_target.state = 'skipped' or p_target.row_id <> v_row_id) and not hangar.still_has_release(p_release, v_row, p_target) then
    -- What the user gets on return is what ran before, too.
    update hangar.user_specs y set spec = v_spec, env = p_target.previous -> 'env', image = null, region = null, tiers = null
     where y.user_id = v_row.user_id and y.release_id = p_release.id;
    update hangar.release_targets t set state = t.ends_as, goes_back = false, must_go_back = false
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
    return true;
  end if;
  if v_row.tier is distinct from p_target.previous ->> 'tier' then
    -- The user has another plan by now: its size stays, and only what the release changed goes back.
    v_spec.cpu_kind := v_row.cpu_kind;
    v_spec.cpu_count := v_row.cpu_count;
    v_spec.memory_mb := v_row.memory_mb;
    v_spec.region := case when p_release.region is null then v_row.region else v_spec.region end;
    v_spec.power := v_row.power;
    v_spec.public_service := v_row.public_service;
  end if;
  v_spec.env_version := hangar.env_version(
    coalesce((select p.env from public.fly_plans p where p.tier = v_row.tier), '{}') || (p_target.previous -> 'env')
    || coalesce((select n.env from hangar.user_pins n where n.user_id = v_row.user_id and (n.ends_at is null or n.ends_at > v_now)), '{}'));
  v_row := hangar.give_spec(v_row, v_spec, p_target.previous -> 'env', null, null, null, p_release.id);
  perform hangar.permit_move(p_release, v_row);
  update hangar.release_targets t
     set state = 'applying', goes_back = true, must_go_back = false, generation = v_row.generation, applied_at = v_now,
         deadline_at = v_now + make_interval(secs => p_release.deadline_s::double precision), good_since = null, looked_at = null, restarted_at = null
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
  v_row public.user_fly_apps;
  v_target hangar.release_targets;
  v_reason text := format('stays in %s: %s has no room. `hangar release create --drift` moves it when there is room', p_row.machine_region, p_row.region);
begin
  v_spec.region := p_row.machine_region;
  v_row := hangar.give_spec(p_row, v_spec, p_target.previous -> 'env', null, null, null, p_release.id);
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
