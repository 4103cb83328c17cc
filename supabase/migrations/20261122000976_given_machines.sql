-- What a release has given one user: how it is stored, when it ends, and what the app has without the release.
-- Builds on: release_targets.

create function hangar.has_same_image(p_one text, p_other text) returns boolean
language sql immutable set search_path = ''
as $$ select coalesce(hangar.without_digest(p_one) = hangar.without_digest(p_other), false) $$;

create function hangar.has_same_size(p_one hangar.machine_spec, p_other hangar.machine_spec) returns boolean
language sql immutable set search_path = ''
as $$
  select (p_one.cpu_kind, p_one.cpu_count, p_one.memory_mb) is not distinct from (p_other.cpu_kind, p_other.cpu_count, p_other.memory_mb)
$$;

-- A machine with the size of another one. A size is one thing: kind and number of vCPU and memory belong together.
create function hangar.with_size_of(p_spec hangar.machine_spec, p_other hangar.machine_spec) returns hangar.machine_spec
language plpgsql immutable set search_path = ''
as $$
begin
  p_spec.cpu_kind := p_other.cpu_kind;
  p_spec.cpu_count := p_other.cpu_count;
  p_spec.memory_mb := p_other.memory_mb;
  return p_spec;
end
$$;

-- What a user was given, by now: with another tier the size has ended, and the rest stays only if it counts with that tier too.
create function hangar.given_for_tier(p_given hangar.user_specs, p_tier text) returns hangar.user_specs
language plpgsql immutable set search_path = ''
as $$
begin
  if p_given.tier is distinct from p_tier then
    p_given.spec := null;
    p_given.cpu_kind := null;
    p_given.cpu_count := null;
    p_given.memory_mb := null;
    if not hangar.is_kept_with_tier(p_given, p_tier) then
      p_given.image := null;
      p_given.region := null;
      p_given.tiers := null;
      p_given.env := '{}';
    end if;
    p_given.tier := p_tier;
  end if;
  return p_given;
end
$$;

create function hangar.gives_nothing(p_given hangar.user_specs) returns boolean
language sql immutable set search_path = ''
as $$
  select p_given.spec is null and p_given.image is null and p_given.region is null and p_given.cpu_count is null and coalesce(p_given.env, '{}') = '{}'
$$;

-- Stores what a user is given from now on. A row that gives nothing is none.
create function hangar.store_given(p_given hangar.user_specs) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  delete from hangar.user_specs y where y.user_id = p_given.user_id;
  if not hangar.gives_nothing(p_given) then
    p_given.env := coalesce(p_given.env, '{}');
    p_given.updated_at := hangar.now();
    insert into hangar.user_specs select p_given.*;
  end if;
end
$$;

-- What a release has given ends with the app. With another tier only the rest of it stays. A user who has left has no tier to speak of.
create function hangar.end_given() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_given hangar.user_specs;
begin
  if new.deleted_at is not null then
    delete from hangar.user_specs y where y.user_id = new.user_id;
  else
    select y.* into v_given from hangar.user_specs y where y.user_id = new.user_id and y.tier is distinct from new.tier;
    if v_given.user_id is not null then
      perform hangar.store_given(hangar.given_for_tier(v_given, new.tier));
    end if;
  end if;
  return null;
end
$$;
create trigger end_given after update on public.user_fly_apps
  for each row when (old.deleted_at is null and new.deleted_at is not null
                  or new.deleted_at is null and new.desired_state = 'present' and old.tier is distinct from new.tier)
  execute function hangar.end_given();

-- What the target's user had been given before the release, as it counts with the tier that the user has now. A user who has left has no tier
-- to speak of, and keeps it for a return. What later releases have given stays: `later` of the target (hangar.find_later).
create function hangar.former_given(p_target hangar.release_targets, p_row public.user_fly_apps) returns hangar.user_specs
language plpgsql stable set search_path = ''
as $$
declare
  v_given hangar.user_specs;
  v_tier text := case when p_row.desired_state = 'absent' then p_target.previous ->> 'tier' else p_row.tier end;
  v_later jsonb := p_target.previous -> 'later';
  v_now hangar.user_specs;
begin
  if jsonb_typeof(p_target.previous -> 'given') = 'object' then
    v_given := hangar.given_for_tier(jsonb_populate_record(null::hangar.user_specs, p_target.previous -> 'given'), v_tier);
  end if;
  if v_later is not null then
    select y.* into v_now from hangar.user_specs y where y.user_id = p_row.user_id;
    v_now := hangar.given_for_tier(v_now, v_tier);
    if not (v_later -> 'takes') ? 'image' then
      v_given.image := v_now.image;
    end if;
    if not (v_later -> 'takes') ? 'region' then
      v_given.region := v_now.region;
    end if;
    if not (v_later -> 'takes') ?| array['image', 'region'] then
      v_given.tiers := v_now.tiers;
    end if;
    if not (v_later -> 'takes') ? 'size' then
      v_given.cpu_kind := v_now.cpu_kind;
      v_given.cpu_count := v_now.cpu_count;
      v_given.memory_mb := v_now.memory_mb;
    end if;
    v_given.env := (coalesce(v_now.env, '{}') - array(select jsonb_array_elements_text(v_later -> 'env')))
      || coalesce((select jsonb_object_agg(e.key, e.value) from jsonb_each(v_given.env) e where v_later -> 'env' ? e.key), '{}');
  end if;
  v_given.user_id := p_row.user_id;
  v_given.release_id := coalesce((v_later ->> 'release')::integer, v_given.release_id);
  v_given.tier := v_tier;
  v_given.spec := null;
  v_given.env := coalesce(v_given.env, '{}');
  return v_given;
end
$$;

-- What is remembered of an app for its way back. Without a pin that has ended, the app would have the very image that is released now: then
-- the image that it runs is remembered, because it is the one that is known to work.
create function hangar.with_running_image(p_previous jsonb, p_row public.user_fly_apps, p_gives hangar.machine_spec) returns jsonb
language sql stable set search_path = ''
as $$
  select case when hangar.has_same_image(p_previous #>> '{spec,docker_image}', p_gives.docker_image)
                and not hangar.has_same_image(p_row.docker_image, p_gives.docker_image)
              then jsonb_set(p_previous, '{spec,docker_image}', p_previous -> 'image') else p_previous end
$$;

-- What the app has without the release: whatever it still has from the release goes back to what it had before, and whatever it has from
-- elsewhere by now stays, such as the size and the image of another plan. `spec` is the whole machine, without a pin.
create function hangar.former_machine(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps)
returns hangar.user_specs
language plpgsql stable set search_path = ''
as $$
declare
  v_given hangar.user_specs := hangar.former_given(p_target, p_row);
  v_old hangar.machine_spec := jsonb_populate_record(null::hangar.machine_spec, p_target.previous -> 'spec');
  v_gave hangar.machine_spec := jsonb_populate_record(null::hangar.machine_spec, p_target.previous -> 'gave');
  v_spec hangar.machine_spec := hangar.without_pin(p_row, hangar.spec_of(p_row));
  v_plan hangar.machine_spec;
  -- The parts that go back. What a later release has changed is not among them.
  v_takes jsonb := coalesce(p_target.previous #> '{later,takes}', '["image", "region", "size"]');
begin
  if v_old.docker_image not like '%@%' and p_target.previous ->> 'digest' is not null then
    v_old.docker_image := v_old.docker_image || '@' || (p_target.previous ->> 'digest');
  end if;
  if p_row.tier is not distinct from p_target.previous ->> 'tier' then
    v_spec.docker_image := case when v_takes ? 'image' and hangar.has_same_image(v_spec.docker_image, v_gave.docker_image) then v_old.docker_image
                                else v_spec.docker_image end;
    v_spec.region := case when v_takes ? 'region' and v_spec.region = v_gave.region then v_old.region else v_spec.region end;
    v_spec.power := case when v_spec.power = v_gave.power then v_old.power else v_spec.power end;
    v_spec.public_service := case when v_spec.public_service = v_gave.public_service then v_old.public_service else v_spec.public_service end;
    if v_takes ? 'size' and hangar.has_same_size(v_spec, v_gave) then
      v_spec := hangar.with_size_of(v_spec, v_old);
    end if;
  else
    if p_release.image is not null and v_takes ? 'image' and hangar.has_same_image(v_spec.docker_image, v_gave.docker_image) then
      select s.* into v_plan from public.fly_plans p cross join hangar.settings g cross join lateral hangar.spec_for(p, g, v_given, null) s
       where p.tier = p_row.tier;
      -- The same image by its digest, wherever its tag points by now.
      v_spec.docker_image := case when v_plan.docker_image is null or hangar.has_same_image(v_plan.docker_image, v_old.docker_image)
                                   and v_plan.docker_image not like '%@%' then v_old.docker_image else v_plan.docker_image end;
    end if;
    if p_release.region is not null and v_takes ? 'region' and v_spec.region = v_gave.region then
      v_spec.region := v_old.region;
    end if;
  end if;
  v_given.spec := v_spec;
  return v_given;
end
$$;

-- A release is done with an app: what it gave counts on top of the plan from now on. An app is back: it has again what its user had been
-- given before. Until then the whole machine counts, because a row that has not converged takes the plan as it is today.
create function hangar.settle_given() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_given hangar.user_specs;
  v_former hangar.user_specs;
  v_row public.user_fly_apps;
begin
  select y.* into v_given from hangar.user_specs y where y.user_id = new.user_id and y.release_id = new.release_id;
  select a.* into v_row from public.user_fly_apps a where a.id = new.row_id;
  if v_given.user_id is null then
    return null;
  elsif new.state = 'reverted' or old.goes_back and not new.goes_back then
    if v_row.desired_state <> 'present' or v_row.observed_generation = v_row.generation and v_row.error_code is null then
      perform hangar.store_given(hangar.former_given(new, v_row));
    end if;
  elsif new.state = 'skipped' and old.state in ('applying', 'verifying') and v_row.desired_state <> 'present' then
    -- The user left before the release was proved on this app, and returns to what is known to work, where the machine is by now: only a
    -- release moves it.
    v_former := hangar.former_given(new, v_row);
    if v_given.region is not null then
      v_former.region := v_given.region;
      v_former.tiers := v_given.tiers;
      v_former.release_id := v_given.release_id;
    end if;
    perform hangar.store_given(v_former);
  elsif new.state in ('done', 'skipped') and not new.must_go_back then
    v_given.spec := null;
    perform hangar.store_given(v_given);
  end if;
  return null;
end
$$;
create trigger settle_given after update on hangar.release_targets
  for each row when (new.state in ('done', 'reverted', 'skipped') and not new.goes_back
                 and (old.state is distinct from new.state or old.goes_back))
  execute function hangar.settle_given();

-- Why a release no longer concerns an app that waits for its turn, as code and reason; null if it does.
create function hangar.find_lost_target(p_release hangar.releases, p_row public.user_fly_apps, p_spec hangar.machine_spec, out code text, out reason text)
language plpgsql stable set search_path = ''
as $$
begin
  if p_row.tier <> all (p_release.tiers) then
    code := 'changed';
    reason := format('the user has the plan %s by now, which the release does not concern', p_row.tier);
  elsif coalesce(p_row.machine_region, p_row.region) <> all (p_release.regions) then
    code := 'moved';
    reason := format('the app is in %s by now, which the release does not concern', coalesce(p_row.machine_region, p_row.region));
  elsif p_release.kind = 'machine' and (p_release.cpu_kind is not null or p_release.cpu_count is not null or p_release.memory_mb is not null) then
    reason := hangar.explain_refused_size(p_spec.cpu_kind, p_spec.cpu_count, p_spec.memory_mb);
    code := case when reason is not null then 'size' end;
  end if;
end
$$;

-- Why an app does not go back although the release has moved it: something else has replaced what the release gave.
create function hangar.explain_replaced(p_target hangar.release_targets, p_row public.user_fly_apps, out code text, out reason text)
language plpgsql stable set search_path = ''
as $$
begin
  if p_row.deleted_at is not null or p_row.desired_state = 'absent' then
    code := 'left';
    reason := 'the user is no longer entitled to an app';
  elsif p_row.tier is distinct from p_target.previous ->> 'tier' then
    code := 'changed';
    reason := 'the user has another plan by now, and the app has nothing of the release';
  elsif exists (select 1 from hangar.user_pins n where n.user_id = p_row.user_id and (n.ends_at is null or n.ends_at > hangar.now())) then
    code := 'pinned';
    reason := 'the user was pinned after the release had moved the app';
  else
    code := 'replaced';
    reason := 'the app has nothing of the release any more';
  end if;
end
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

select hangar.restrict_functions();
