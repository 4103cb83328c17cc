-- What an operator does with releases: plan, start, pause, resume, abort, roll back.
-- Builds on: release_reports, release_advance, release_followers.

create function public.fly_create_release(
  p_release jsonb, p_actor text, p_why text default null, p_dry_run boolean default false, p_request uuid default null
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_release hangar.releases := hangar.read_release(p_release, p_actor, p_why);
  v_found hangar.found_target[];
  v_refused text;
  v_cost record;
begin
  perform pg_advisory_xact_lock(hashtextextended('hangar.releases', 0));
  if exists (select 1 from hangar.releases r where r.request = p_request) then
    -- The same request again, after a lost answer.
    return (select hangar.release_json(r, 1000) || '{"repeated": true}' from hangar.releases r where r.request = p_request);
  end if;
  v_found := array(select f from hangar.find_targets(v_release) f);
  perform hangar.refuse_overlap(v_release, v_found);
  v_refused := hangar.explain_nothing_to_do(v_found);
  if v_refused is not null then
    raise exception 'no app needs this release: %', v_refused using errcode = 'invalid_parameter_value';
  elsif v_release.canary_users is not null and not exists (
    select 1 from unnest(v_found) f where f.left_out is null and f.user_id = any (v_release.canary_users)) then
    raise exception 'none of the canary users would move: they are not among the chosen apps, or are left out (pinned, held back or already so)'
      using errcode = 'invalid_parameter_value';
  end if;
  v_refused := hangar.explain_refused_cost(v_release, v_found);
  if v_refused is not null then
    raise exception '%', v_refused using errcode = 'invalid_parameter_value';
  end if;
  select c.* into v_cost from hangar.release_cost(v_release, v_found) c;
  if p_dry_run then
    return jsonb_build_object('dry_run', true, 'region', v_release.region, 'moves', hangar.region_moves(v_release, v_found), 'before_usd', v_cost.before_usd::text, 'after_usd', v_cost.after_usd::text,
      'waves', (select coalesce(jsonb_agg(jsonb_build_object('wave', w.wave, 'size', w.size) order by w.wave), '[]')
                  from (select f.wave, count(*) as size from unnest(v_found) f where f.left_out is null group by f.wave) w),
      'left_out', (select coalesce(jsonb_object_agg(l.left_out, l.apps), '{}')
                     from (select f.left_out, count(*) as apps from unnest(v_found) f where f.left_out is not null group by f.left_out) l),
      'targets', (select jsonb_agg(jsonb_build_object('app', f.app, 'user_id', f.user_id, 'tier', f.tier, 'wave', f.wave, 'left_out', f.left_out)
                                   order by f.place nulls last, f.app)
                    from (select * from unnest(v_found) x order by x.place nulls last, x.app limit 10000) f));
  end if;
  insert into hangar.releases (kind, region, image, image_digest, cpu_kind, cpu_count, memory_mb, env, version, tiers, regions, users, share, canary_users,
    canary_size, wave_shares, soak_s, deadline_s, max_moving, moving_share, failure_share, why, created_by, request)
  values (v_release.kind, v_release.region, v_release.image, v_release.image_digest, v_release.cpu_kind, v_release.cpu_count, v_release.memory_mb, v_release.env,
    v_release.version, v_release.tiers, v_release.regions, v_release.users, v_release.share, v_release.canary_users, v_release.canary_size,
    v_release.wave_shares, v_release.soak_s, v_release.deadline_s, v_release.max_moving, v_release.moving_share, v_release.failure_share, p_why, p_actor, p_request)
  returning * into v_release;
  perform hangar.insert_targets(v_release, v_found);
  perform hangar.record_release(v_release, 'created', p_actor, p_why);
  return hangar.release_json(v_release, 1000) || jsonb_build_object('before_usd', v_cost.before_usd::text, 'after_usd', v_cost.after_usd::text);
end
$$;
comment on function public.fly_create_release(jsonb, text, text, boolean, uuid) is 'Plans a release, or with p_dry_run only shows who would move in which wave and what it would cost. docs/database.md.';

-- Lets the release try again what failed: from the canary if everything went back, else from its present wave.
create function hangar.reset_failed_targets(p_release hangar.releases) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  if exists (select 1 from hangar.release_targets t where t.release_id = p_release.id and (t.must_go_back or t.goes_back)) then
    raise exception 'release % still puts apps back; resume it when that is over (`hangar release status %`)', p_release.id, p_release.id
      using errcode = 'PT409';
  end if;
  update hangar.release_targets t
     set state = 'pending', failed_at = null, reason_code = null, reason = null, generation = null, applied_at = null, good_since = null, looked_at = null,
         restarted_at = null, restart_refused_at = null
   where t.release_id = p_release.id and t.state in ('reverted', 'failed');
  update hangar.releases r
     set state = 'rolling', reason = null, failed_at = null, wave_began_at = hangar.now(), advanced_at = null,
         wave = least(r.wave, coalesce((select min(t.wave) from hangar.release_targets t where t.release_id = r.id and t.state = 'pending'), r.wave))
   where r.id = p_release.id returning r.* into v_release;
  perform hangar.resolve_alert('release_failed', v_release.id::text);
  return v_release;
end
$$;

-- Raises if another release is under way that moves an app of this one.
create function hangar.refuse_rollback(p_release hangar.releases) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_other integer := (
    select min(o.release_id) from hangar.release_targets t
      join hangar.release_targets o on o.row_id = t.row_id and o.release_id <> t.release_id
      join hangar.releases r on r.id = o.release_id and r.state in ('rolling', 'paused', 'rolling_back')
     where t.release_id = p_release.id and p_release.state = 'completed' and (o.state <> 'skipped' or o.previous is not null));
begin
  if v_other is not null then
    perform hangar.refuse_other_release(v_other);
  end if;
end
$$;

-- Everything that the release has brought goes back, but for what another release has changed later.
create function hangar.begin_rollback(p_release hangar.releases, p_action text, p_actor text) returns hangar.releases
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
  v_target hangar.release_targets;
  v_later jsonb;
  v_were jsonb := hangar.plan_machines(p_release);
begin
  perform hangar.refuse_rollback(p_release);
  update hangar.release_targets t set must_go_back = true
   where t.release_id = p_release.id and t.state in ('applying', 'verifying', 'done', 'failed') and not t.goes_back;
  for v_target in
    select t.* from hangar.release_targets t
     where t.release_id = p_release.id and t.must_go_back
       and exists (select 1 from hangar.list_later(t))
     order by t.row_id
  loop
    v_later := hangar.find_later(p_release, v_target);
    perform hangar.forget_given(p_release, v_target);
    update hangar.release_targets t
       set previous = t.previous || jsonb_build_object('later', v_later), reason_code = 'later',
           must_go_back = jsonb_array_length(v_later -> 'takes') + jsonb_array_length(v_later -> 'env') > 0,
           reason = format('release %s has moved the app since, so the app keeps what that one has changed', v_later ->> 'release')
     where t.release_id = p_release.id and t.row_id = v_target.row_id;
  end loop;
  update hangar.release_targets t set state = 'skipped', reason_code = 'changed', reason = 'the user has another plan by now'
   where t.release_id = p_release.id and t.state = 'pending' and t.reason_code = 'again' and t.previous is not null;
  perform hangar.recall_users_who_left(p_release);
  perform hangar.unadopt_release(p_release);
  perform hangar.recall_followers(p_release, v_were);
  perform hangar.refuse_rollback(p_release);
  update hangar.release_targets t set state = 'skipped', reason_code = 'ended', reason = format('%s by %s', p_action, p_actor)
   where t.release_id = p_release.id and t.state = 'pending';
  update hangar.releases r set state = 'rolling_back', reason = p_action, ended_at = null where r.id = p_release.id returning r.* into v_release;
  return v_release;
end
$$;

create function public.fly_change_release(p_id integer, p_action text, p_actor text, p_why text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_release hangar.releases;
  v_found hangar.found_target[];
  v_refused text;
  v_from text[] := case p_action when 'start' then array['draft'] when 'pause' then array['rolling'] when 'resume' then array['paused']
                                 when 'abort' then array['draft', 'rolling', 'paused'] when 'rollback' then array['rolling', 'paused', 'completed'] end;
begin
  perform hangar.require_actor(p_actor);
  if v_from is null then
    raise exception 'action must be start, pause, resume, abort or rollback, not %', coalesce(p_action, 'null') using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('hangar.releases', 0));
  select r.* into v_release from hangar.releases r where r.id = p_id for no key update;
  if v_release.id is null then
    raise exception 'there is no release %. Releases: %', coalesce(p_id::text, 'null'),
      coalesce((select string_agg(x.id::text, ', ') from (select r.id from hangar.releases r order by r.id desc limit 10) x), 'none')
      using errcode = 'invalid_parameter_value';
  elsif v_release.state = any (case p_action when 'start' then array['rolling'] when 'pause' then array['paused'] when 'resume' then array['rolling']
                                             when 'abort' then array['rolling_back', 'aborted'] else array['rolling_back', 'rolled_back'] end) then
    return hangar.release_json(v_release) || '{"changed": false}';  -- it is so already: a repeated call after a lost answer
  elsif v_release.state <> all (v_from) then
    raise exception 'release % is %; % is possible only while it is %', p_id, v_release.state, p_action, array_to_string(v_from, ' or ')
      using errcode = 'PT409';
  end if;
  case p_action
    when 'start' then
      v_release.plan_specs := case when v_release.kind = 'plan' then hangar.read_plan_specs() end;
      v_found := array(select f from hangar.find_targets(v_release) f);
      perform hangar.refuse_overlap(v_release, v_found);
      v_refused := coalesce(hangar.explain_refused_sizes(v_release), hangar.explain_refused_cost(v_release, v_found),
        'nothing is to do, because no app needs this release any more: ' || hangar.explain_nothing_to_do(v_found)
          || format('. `hangar release abort %s` ends the draft', p_id));
      if v_refused is not null then
        raise exception '%', v_refused using errcode = 'invalid_parameter_value';
      end if;
      perform hangar.insert_targets(v_release, v_found);
      update hangar.releases r set state = 'rolling', started_at = hangar.now(), wave_began_at = hangar.now(),
             plan_specs = v_release.plan_specs, plans_at_start = hangar.read_plans(v_release), advanced_at = null where r.id = p_id returning r.* into v_release;
    when 'pause' then
      update hangar.releases r set state = 'paused', reason = coalesce(p_why, 'paused by ' || p_actor), held_by = null, held_since = null
       where r.id = p_id returning r.* into v_release;
    when 'resume' then
      v_release := hangar.reset_failed_targets(v_release);
    else
      v_release := hangar.begin_rollback(v_release, p_action, p_actor);
  end case;
  perform hangar.record_release(v_release, p_action, p_actor, p_why);
  if p_action in ('abort', 'rollback') then
    perform hangar.try_advance(v_release, 0);
  end if;
  select r.* into v_release from hangar.releases r where r.id = p_id;
  return hangar.release_json(v_release) || '{"changed": true}';
end
$$;
comment on function public.fly_change_release(integer, text, text, text) is 'Starts, pauses, resumes, aborts or rolls back a release. docs/database.md.';

select hangar.restrict_functions();
