-- What ends the way back of an app that does not become well on what it ran before.
-- Builds on: release_moves, refusals.

-- Errors that say nothing about the release: no room, a busy machine, a limit, an outage, or a refusal of the whole organisation. An app
-- with such an error waits, and is skipped if it lasts.
create function hangar.is_release_fault(p_code text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_code in ('image', 'size', 'start_failed', 'no_progress', 'refused', 'unsupported', 'crash_loop', 'machine_failed'), false)
$$;

-- Why an app whose machine was changed by somebody else during the release is left out of it.
create function hangar.skip_changed_target(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_pin hangar.user_pins;
begin
  select n.* into v_pin from hangar.user_pins n where n.user_id = p_row.user_id and (n.ends_at is null or n.ends_at > hangar.now());
  if hangar.is_pinned(v_pin, p_release) then
    perform hangar.skip_target(p_target, 'pinned', 'the user was pinned after the release had begun');
  else
    perform hangar.skip_target(p_target, 'changed', 'the user has another plan by now');
  end if;
end
$$;

-- The parts of a machine that a release changes: image, region and size. One of kind plan changes what differs between these two machines.
create function hangar.changed_parts(p_release hangar.releases, p_old jsonb, p_gave jsonb) returns text[]
language sql immutable set search_path = ''
as $$
  select array(
    select c.part from (values
      ('image', p_release.image is not null, p_old ->> 'docker_image', p_gave ->> 'docker_image'),
      ('region', p_release.region is not null, p_old ->> 'region', p_gave ->> 'region'),
      ('size', coalesce(p_release.cpu_kind, p_release.cpu_count::text, p_release.memory_mb::text) is not null,
       pg_catalog.concat_ws(' ', p_old ->> 'cpu_kind', p_old ->> 'cpu_count', p_old ->> 'memory_mb'),
       pg_catalog.concat_ws(' ', p_gave ->> 'cpu_kind', p_gave ->> 'cpu_count', p_gave ->> 'memory_mb'))) c (part, named, was, gave)
     where c.named or p_release.kind = 'plan' and c.was is distinct from c.gave)
$$;

-- The variables that a release changes for this app. One of kind plan takes away those that its user was given.
create function hangar.changed_env(p_release hangar.releases, p_target hangar.release_targets) returns jsonb
language sql immutable set search_path = ''
as $$ select case when p_release.kind = 'plan' then coalesce(p_target.previous #> '{given,env}', '{}') else p_release.env end $$;

-- What other releases have done with the target's app since this one moved it: one that was rolled back has left nothing.
create function hangar.list_later(p_target hangar.release_targets) returns table (target hangar.release_targets, release hangar.releases)
language sql stable set search_path = ''
as $$
  select o, r from hangar.release_targets o join hangar.releases r on r.id = o.release_id
   where o.row_id = p_target.row_id and o.release_id <> p_target.release_id and o.state = 'done' and r.state <> 'rolled_back'
     and o.applied_at > p_target.applied_at
$$;

-- What other releases have changed on the target's app since this one moved it. `release`: the latest of them; `takes`: the parts that this
-- release may still take back, because no later one has changed them, and `env`: the same of its variables. Null if no other has moved the app.
create function hangar.find_later(p_release hangar.releases, p_target hangar.release_targets) returns jsonb
language sql stable set search_path = ''
as $$
  with later as (
    select (l.target).release_id, (l.target).previous, l.release as other from hangar.list_later(p_target) l
  )
  select case when exists (select 1 from later) then pg_catalog.jsonb_build_object(
    'release', (select max(l.release_id) from later l),
    'takes', (select coalesce(pg_catalog.jsonb_agg(p), '[]')
                from pg_catalog.unnest(hangar.changed_parts(p_release, p_target.previous -> 'spec', p_target.previous -> 'gave')) p
               where not exists (select 1 from later l where p = any (hangar.changed_parts(l.other, l.previous -> 'spec', l.previous -> 'gave')))),
    'env', (select coalesce(pg_catalog.jsonb_agg(k), '[]') from pg_catalog.jsonb_object_keys(hangar.changed_env(p_release, p_target)) k
             where not exists (select 1 from later l where (l.other).env ? k))) end
$$;

-- What this release gave is no longer what later releases have found, so that their way back does not bring it again. Each part counts until
-- the first of them that changes it too. p_target: of the release that goes back.
create function hangar.forget_given(p_release hangar.releases, p_target hangar.release_targets) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_later record;
  v_was jsonb := p_target.previous;
  v_found jsonb;
  v_closed text[] := '{}';
  v_names text[] := array(select jsonb_object_keys(hangar.changed_env(p_release, p_target)));
begin
  for v_later in
    select l.target, l.release from hangar.list_later(p_target) l order by (l.target).applied_at
  loop
    v_found := (v_later.target).previous;
    if 'image' <> all (v_closed) and hangar.has_same_image(v_found #>> '{spec,docker_image}', v_was #>> '{gave,docker_image}')
       and (v_was ? 'given' or v_found #>> '{given,image}' is null) then
      v_found := v_found || jsonb_build_object('image', v_was -> 'image', 'digest', v_was -> 'digest', 'seen_digest', v_was -> 'seen_digest',
        'spec', v_found -> 'spec' || jsonb_build_object('docker_image', v_was #> '{spec,docker_image}'));
    end if;
    if 'region' <> all (v_closed) and v_found #> '{spec,region}' = v_was #> '{gave,region}' and (v_was ? 'given' or v_found #>> '{given,region}' is null) then
      v_found := jsonb_set(v_found, '{spec,region}', v_was #> '{spec,region}');
    end if;
    if 'size' <> all (v_closed) and hangar.has_same_size(jsonb_populate_record(null::hangar.machine_spec, v_found -> 'spec'),
                                                         jsonb_populate_record(null::hangar.machine_spec, v_was -> 'gave'))
       and (v_was ? 'given' or v_found #>> '{given,cpu_count}' is null) then
      v_found := jsonb_set(v_found, '{spec}', to_jsonb(hangar.with_size_of(jsonb_populate_record(null::hangar.machine_spec, v_found -> 'spec'),
                                                                          jsonb_populate_record(null::hangar.machine_spec, v_was -> 'spec'))));
    end if;
    if v_was ? 'given' and (p_release.kind = 'plan' or jsonb_typeof(v_found -> 'given') = 'object') then
      v_found := jsonb_set(v_found, '{given}', coalesce(nullif(v_found -> 'given', 'null'), jsonb_build_object('tier', v_was -> 'tier'))
        || case when (p_release.kind = 'plan' or p_release.image is not null) and 'image' <> all (v_closed) then jsonb_build_object('image', v_was #> '{given,image}') else '{}' end
        || case when (p_release.kind = 'plan' or p_release.region is not null) and 'region' <> all (v_closed) then jsonb_build_object('region', v_was #> '{given,region}') else '{}' end
        || case when p_release.kind = 'machine' and p_release.cpu_kind is null and p_release.cpu_count is null and p_release.memory_mb is null or 'size' = any (v_closed) then '{}'
           else jsonb_build_object('cpu_kind', v_was #> '{given,cpu_kind}', 'cpu_count', v_was #> '{given,cpu_count}',
                                   'memory_mb', v_was #> '{given,memory_mb}') end
        || jsonb_build_object('env', (coalesce(v_found #> '{given,env}', '{}') - v_names)
             || coalesce((select jsonb_object_agg(e.key, e.value) from jsonb_each(v_was #> '{given,env}') e where e.key = any (v_names)), '{}')));
    end if;
    update hangar.release_targets o set previous = v_found where o.release_id = (v_later.target).release_id and o.row_id = (v_later.target).row_id;
    v_closed := v_closed || hangar.changed_parts(v_later.release, (v_later.target).previous -> 'spec', (v_later.target).previous -> 'gave');
    v_names := array(select n from unnest(v_names) n where not (v_later.release).env ? n);
  end loop;
end
$$;

-- How long a way back may take after its deadline. A slow start has ten minutes in all, or the deadline if that is longer. What may end
-- without Hangar (a lease, a host out of reach, an outage) has one hour more.
create function hangar.way_back_extra(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns interval
language sql immutable set search_path = ''
as $$
  select pg_catalog.make_interval(secs => case
    when hangar.is_release_fault(p_row.error_code) or p_row.error_code is not null and p_target.ends_as = 'skipped'
      or p_target.state = 'verifying' and coalesce(p_target.look_code, 'bad') not in ('host_unreachable', 'unreadable', 'rate_limited', 'gone')
      then greatest(0, 600 - p_release.deadline_s::double precision)
    else 3600 end)
$$;

-- A target as it is now: an app that was given up on its way back may have become well since, also after its release has ended. By a sample
-- from after the last look, because an older one speaks of the machine before.
create function hangar.see_target(p_target hangar.release_targets) returns hangar.release_targets
language plpgsql stable set search_path = ''
as $$
begin
  if p_target.state = 'failed' and not p_target.must_go_back and not p_target.goes_back and exists (
    select 1 from public.user_fly_apps a
     where a.id = p_target.row_id and a.generation = p_target.generation and a.observed_generation = a.generation and a.error_code is null
       and a.health_status = 'healthy' and a.bad_samples = 0 and a.last_health_check > coalesce(p_target.looked_at, p_target.applied_at)) then
    p_target.state := 'reverted';
    p_target.reason := nullif(regexp_replace(p_target.reason, '(\. )?It is not well on its former machine: .*$', ''), '');
  end if;
  return p_target;
end
$$;

-- Why an app of an open wave does not move on now, as code and reason; null if nothing keeps it.
create function hangar.find_wait(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps, out code text, out reason text)
language plpgsql stable set search_path = ''
as $$
begin
  if p_target.state = 'applying' and not p_target.goes_back and not p_target.must_go_back then
    code := coalesce(p_row.error_code, case when hangar.is_out_of_reach(p_row) then 'host_unreachable' end);
    reason := case when p_row.error_code is null and code is not null then 'Fly cannot reach the machine''s host' else p_row.error_message end;
  elsif p_target.state = 'pending' and p_release.state = 'rolling' and p_target.wave <= p_release.wave then
    if hangar.was_token_refused(p_row) then
      code := 'token_refused';
    elsif p_row.error_code is not null then
      code := p_row.error_code;
      reason := 'cannot move yet: ' || coalesce(p_row.error_message, p_row.error_code);
    elsif p_row.status <> 'active' or p_row.observed_generation is distinct from p_row.generation or p_row.spare_machine_id is not null then
      code := 'not_settled';
      reason := 'cannot move yet: Hangar is still changing the app for another reason';
    end if;
  end if;
end
$$;

-- The release no longer waits for this app. The row still desires what the app ran before, so Hangar reconciles it like every other app, and
-- the app's own alert stays open. Otherwise this app could never take part in a later release.
create function hangar.end_way_back(p_target hangar.release_targets, p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets;
  v_found text := coalesce(p_row.error_message, p_target.look_reason, 'Fly has not made the change yet');
begin
  update hangar.release_targets t
     set goes_back = false, must_go_back = false,
         -- An app that was unhealthy before the release has its former state back.
         state = case when t.state = 'verifying' and t.was_unhealthy or t.ends_as = 'skipped' then t.ends_as else 'failed' end,
         reason_code = coalesce(t.reason_code, p_row.error_code, t.look_code, 'deadline'),
         reason = left(concat_ws('. ', left(t.reason, 200), format('It is not well on its former machine: %s', v_found)), 500)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
  returning t.* into v_target;
  perform hangar.record_target(v_target, 'not_back', v_found);
end
$$;

select hangar.restrict_functions();
