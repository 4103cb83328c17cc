-- Fly apps without a live row, the brake, and the end of an outage.

create function hangar.is_ripe(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.approved_by is not null
      or p_orphan.sightings >= 2
     and p_orphan.first_seen_at <= hangar.now() - pg_catalog.make_interval(secs => g.orphan_after_s::double precision)
      or exists (select 1 from public.user_fly_apps a
                  where a.fly_app_name = p_orphan.app and a.network = p_orphan.network and a.deleted_at is not null
                    and exists (select 1 from public.user_fly_app_events e
                                 where e.fly_app_id = a.id and e.event_type = 'action' and e.status = 'intent'
                                   and e.metadata ->> 'action' = 'delete_app' and e.metadata ->> 'purpose' = 'deprovision'))
    from hangar.settings g
$$;
comment on function hangar.is_ripe(public.fly_orphans) is 'The first witness: seen by two sweeps over orphan_after_s, approved by an operator, or of a row that was closed after we set out to delete this very app: Fly then said that it was gone, and was wrong.';

create function hangar.awaits_word(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.lost and p_orphan.approved_by is null
     and not coalesce(p_orphan.first_seen_at <= g.brake_released_at and g.brake_released_at <= hangar.now(), false)
    from hangar.settings g
$$;
comment on function hangar.awaits_word(public.fly_orphans) is 'This database never had its row, and nobody has approved it or released the brake since: it cannot know whose the app is.';

create function public.fly_list_orphans() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('orphans', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'app', o.app, 'network', o.network, 'first_seen_at', o.first_seen_at, 'sightings', o.sightings,
           'approved_by', o.approved_by, 'ripe', hangar.is_ripe(o), 'user_id', o.user_id, 'awaits_word', hangar.awaits_word(o)) order by o.app), '[]'))
    from public.fly_orphans o
$$;
comment on function public.fly_list_orphans() is 'The orphans of the last sweep; a ripe one is removed by the next. docs/database.md.';

create function public.fly_record_orphans(p_seen jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_seen is null or jsonb_typeof(p_seen) <> 'array' then
    raise exception 'p_seen must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  -- The worker that intended it is gone, and its word with it.
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  select i.fly_app_id, i.user_id, 'action', 'unknown',
         i.metadata || jsonb_build_object('intent_id', i.id, 'closed_by', 'sweep')
    from public.user_fly_app_events i
   where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('destroy_machine', 'delete_app')
     and i.metadata ->> 'purpose' = 'orphan' and i.created_at between v_now - interval '1 day' and v_now - interval '10 minutes'
     and not exists (select 1 from public.user_fly_app_events o
                      where o.event_type = 'action' and o.metadata ->> 'intent_id' = i.id::text and o.created_at >= i.created_at);
  with seen as (
    select distinct on (s.app) s.app, s.network
      from pg_catalog.jsonb_to_recordset(p_seen) as s (app text, network text)
     where not exists (select 1 from public.user_fly_apps a
                        where a.fly_app_name = s.app and a.deleted_at is null
                          and right(s.network, 32) = replace(a.id::text, '-', ''))  -- the row that the proof names
     order by s.app
  ), forgotten as (
    delete from public.fly_orphans o where not exists (select 1 from seen s where s.app = o.app)
    returning o.app, o.network
  ), gone as (
    -- Only one that we went to remove counts as removed; the others were somebody else's doing, or a list's lag.
    insert into public.user_fly_app_events (event_type, status, metadata)
    select 'orphan_removed', 'succeeded', jsonb_build_object('app', f.app, 'network', f.network)
      from forgotten f
     where exists (select 1 from public.user_fly_app_events e
                    where e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'delete_app'
                      and e.metadata ->> 'purpose' = 'orphan' and e.metadata ->> 'app' = f.app
                      and e.created_at > v_now - interval '1 day')
  ), stored as (
    insert into public.fly_orphans as o (app, network, first_seen_at, last_seen_at)
    select s.app, s.network, v_now, v_now from seen s order by s.app
    -- The same name with another network is another app: it starts anew.
    on conflict (app) do update
      set first_seen_at = case when o.network = excluded.network then o.first_seen_at else v_now end,
          sightings = case when o.network = excluded.network then o.sightings + 1 else 1 end,
          approved_by = case when o.network = excluded.network then o.approved_by end,
          user_id = case when o.network = excluded.network then o.user_id end,
          lost = o.network = excluded.network and o.lost,
          network = excluded.network, last_seen_at = v_now
    returning o.app, o.network, o.sightings
  )
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'orphan_found', 'info', jsonb_build_object('app', st.app, 'network', st.network) from stored st where st.sightings = 1;
  return public.fly_list_orphans();
end
$$;
comment on function public.fly_record_orphans(jsonb) is 'The listed apps with our proof, of which those without a live row are orphans; an orphan that is not listed any more is forgotten. docs/database.md.';

create function public.fly_approve_orphan(p_app text, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor is needed' using errcode = 'invalid_parameter_value';
  end if;
  update public.fly_orphans set approved_by = p_actor where app = p_app;
  return jsonb_build_object('approved', found);
end
$$;
comment on function public.fly_approve_orphan(text, text) is 'An operator''s word that an orphan need not age; the next sweep still looks at it directly. docs/database.md.';

-- Why nothing may be destroyed now; null when it may. For what has no row; rows are judged by hangar.judge_intent.
create function hangar.judge_orphan_delete(p_app text, p_network text, p_row_id uuid, p_installation text) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_brake jsonb;
begin
  select * into strict v_settings from hangar.settings;
  if p_network not like 'hangar-' || left(replace(v_settings.installation_id::text, '-', ''), 12) || '-%'
     or p_installation <> v_settings.installation_id::text then
    return 'installation';
  elsif v_settings.paused then
    return 'paused';
  elsif v_settings.deletes_paused then
    return 'deletes_paused';
  end if;
  v_brake := hangar.judge_brake(p_app);
  if v_brake is null then
    return case when hangar.next_deletion_at() is not null then 'rate' end;
  end if;
  perform hangar.tell_brake(v_brake, (select a.id from public.user_fly_apps a where a.id = p_row_id), null);
  return 'brake';
end
$$;

-- Whether somebody has set out to remove this app and not said yet how it went. A worker that has not within ten minutes is dead.
create function hangar.is_being_removed(p_app text) returns boolean
language sql volatile set search_path = ''
as $$
  select exists (select 1 from public.user_fly_app_events i
                  where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app')
                    and i.metadata ->> 'purpose' = 'orphan' and i.metadata ->> 'app' = p_app
                    and i.created_at > hangar.now() - interval '10 minutes'
                    and not exists (select 1 from public.user_fly_app_events o
                                     where o.event_type = 'action' and o.metadata ->> 'intent_id' = i.id::text and o.created_at >= i.created_at))
$$;

-- What an entitled user's orphan is to its user: theirs again when they have no app, surplus (null) once their own one was seen to run
-- since, and kept while it is neither.
create function hangar.return_orphan(p_orphan public.fly_orphans, out verdict text, out reason text)
language plpgsql volatile set search_path = ''
as $$
declare
  v_live public.user_fly_apps;
begin
  verdict := 'keep';
  select a.* into v_live from public.user_fly_apps a where a.user_id = p_orphan.user_id and a.deleted_at is null for no key update skip locked;
  if v_live.status = 'active' and v_live.desired_state = 'present' and v_live.observed_at >= p_orphan.first_seen_at
     and (v_live.machine_state = 'started' or v_live.power = 'on_demand' and v_live.machine_state in ('stopped', 'suspended')) then
    verdict := null;
    return;
  elsif v_live.id is null and exists (select 1 from public.user_fly_apps a where a.user_id = p_orphan.user_id and a.deleted_at is null)
     or v_live.lease_expires_at > hangar.now() then
    reason := 'its user''s own row is being worked on';
    return;
  elsif v_live.id is not null then
    if not p_orphan.lost or hangar.is_being_removed(p_orphan.app) or v_live.desired_state = 'absent' or v_live.machine_state <> 'absent'
       or v_live.open_intent is not null or v_live.create_unknown_at is not null then
      reason := 'its user''s own app has not been seen to run since';
      return;
    end if;
    -- The row names an app that is gone or never was, and here is one that runs.
    perform hangar.close_superseded(v_live, p_orphan.app);
  end if;
  perform hangar.apply(p_orphan.user_id, 'orphan', p_admit => true);
  if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_orphan.app and a.deleted_at is null) then
    delete from public.fly_orphans where app = p_orphan.app;
    verdict := 'readopted';
    reason := case when v_live.id is null then 'its user is entitled and had no row' else 'its user is entitled and their row''s own app is gone' end;
  else
    -- Its row was closed; the user gets a new one, and then this app is surplus.
    reason := 'its entitled user gets a new row first';
  end if;
exception when lock_not_available then
  verdict := 'keep';
  reason := 'its user gets a row this very moment';
end
$$;

create function hangar.close_superseded(p_row public.user_fly_apps, p_by text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update public.user_fly_apps a
     set status = 'deleted', deleted_at = hangar.now(), machine_state = 'absent', next_attempt_at = null, generation = a.generation + 1,
         lease_token = null, lease_holder = null, lease_expires_at = null
   where a.id = p_row.id
  returning a.* into p_row;
  perform hangar.forget_failures(p_row.id);
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (p_row.id, p_row.user_id, 'desired_changed', 'info', jsonb_build_object('generation', p_row.generation,
    'why', 'its app is gone, and another one of this user runs', 'source', 'readopted', 'superseded_by', p_by));
end
$$;

create function public.fly_judge_orphan(p_app text, p_network text, p_row_id uuid, p_user uuid, p_intent jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_nudges text := hangar.mute_nudges();
  v_orphan public.fly_orphans;
  v_owner uuid := (select a.user_id from public.user_fly_apps a where a.id = p_row_id);
  v_want record;
  v_verdict record;
  v_refused text;
begin
  -- Against the sweep's own reading of the fleet, which is a moment old.
  if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_app and a.deleted_at is null) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'a live row has this app');
  elsif p_network not like hangar.network_name((select g.installation_id from hangar.settings g), p_row_id) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'installation');
  end if;
  -- What a machine once said of its owner is kept: a list that is silent the next time takes nothing back.
  update public.fly_orphans o
     set user_id = coalesce(v_owner, p_user, o.user_id), lost = o.lost or (v_owner is null and p_user is not null)
    from (select l.app from public.fly_orphans l where l.app = p_app and l.network = p_network for no key update skip locked) l
   where o.app = l.app
  returning o.* into v_orphan;
  if v_orphan.app is null then
    return jsonb_build_object('verdict', 'keep', 'reason', 'not seen by a sweep, or its user takes it back this very moment');
  end if;
  select d.* into v_want from hangar.derive(array[v_orphan.user_id]) d;
  if v_want.entitled is null and v_want.why = 'unknown_tier' then
    return jsonb_build_object('verdict', 'keep', 'reason', 'its user''s tier is unknown to fly_plans');
  elsif v_want.entitled then
    select r.* into v_verdict from hangar.return_orphan(v_orphan) r;
    perform set_config('hangar.nudges', v_nudges, true);
    if v_verdict.verdict is not null then
      return jsonb_build_object('verdict', v_verdict.verdict, 'reason', v_verdict.reason);
    end if;
  end if;
  if v_orphan.lost and hangar.judge_brake(p_app) ->> 'why' = 'lost' then
    perform hangar.tell_brake(hangar.judge_brake(p_app), null, v_orphan.user_id);
  end if;
  if not hangar.is_ripe(v_orphan) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'not seen often or long enough');
  elsif v_want.entitled is not true and hangar.awaits_word(v_orphan) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'this database never had its row, so a person must say so');
  end if;
  v_refused := hangar.judge_orphan_delete(p_app, p_network, p_row_id, p_intent -> 'metadata' ->> 'installation_id');
  -- The brake let us wait our turn, and the host may have written meanwhile.
  if v_refused is null and v_orphan.user_id is not null
     and (select d.entitled is distinct from v_want.entitled from hangar.derive(array[v_orphan.user_id]) d) then
    v_refused := 'its user''s entitlement has just changed';
  end if;
  if v_refused is not null then
    return jsonb_build_object('verdict', 'keep', 'reason', v_refused);
  end if;
  perform hangar.store_events((select a.id from public.user_fly_apps a where a.id = p_row_id), v_orphan.user_id, jsonb_build_array(p_intent));
  return jsonb_build_object('verdict', 'remove', 'reason', case when v_want.entitled then 'its user has another app' else 'nobody''s' end);
end
$$;
comment on function public.fly_judge_orphan(text, text, uuid, uuid, jsonb) is 'Decides over one ripe orphan: keep, readopted, or remove (the intent is then stored). docs/database.md.';

create function public.fly_record_orphan_outcome(p_app text, p_outcome jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_intent public.user_fly_app_events;
begin
  select e.* into v_intent from public.user_fly_app_events e where e.id = (p_outcome -> 'metadata' ->> 'intent_id')::uuid;
  perform hangar.store_events(v_intent.fly_app_id, v_intent.user_id, jsonb_build_array(p_outcome));
  return jsonb_build_object('recorded', v_intent.id is not null);
end
$$;
comment on function public.fly_record_orphan_outcome(text, jsonb) is 'The outcome of an orphan''s deletion. docs/database.md.';

create function public.fly_brake_status() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
           'destroyed_last_hour', pg_catalog.cardinality(b.gone), 'most', pg_catalog.trunc(b.most, 2)::text, 'tripped', b.why is not null,
           'why', b.why, 'lost_apps', b.lost, 'released_at', g.brake_released_at)
    from hangar.settings g cross join hangar.read_brake() b
$$;
comment on function public.fly_brake_status() is 'What was taken away in the last hour (since the last release) against the bound, and the apps this database never knew. docs/database.md.';

-- What waited for leave to delete is due: the 500 that are due next, so that the caller need not wait; the others within minutes anyway.
create function hangar.resume_deletions() returns void
language sql volatile set search_path = ''
as $$
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = 'absent' and a.next_attempt_at > hangar.now()
       and (a.delete_turn_at is null or a.delete_turn_at <= hangar.now())  -- Fly's own limit goes on
       and (a.delete_after is null or a.delete_after <= hangar.now()) and a.error_code is null
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = hangar.now() from waiting w where a.id = w.id
$$;

create function public.fly_release_brake(p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform set_config('hangar.actor', p_actor, true), set_config('hangar.reason', coalesce(p_reason, ''), true);
  update hangar.settings set brake_released_at = v_now where only_row;
  perform set_config('hangar.actor', '', true), set_config('hangar.reason', '', true);
  perform hangar.resume_deletions();
  update hangar.alerts set resolved_at = v_now where kind = 'brake' and resolved_at is null;
  return jsonb_build_object('released_at', v_now);
end
$$;
comment on function public.fly_release_brake(text, text) is 'The brake counts anew from now; what it held back is due. docs/database.md.';

create function public.fly_end_outage() returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_due integer;
begin
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.status = 'error' and a.next_attempt_at > v_now
       and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = v_now from waiting w where a.id = w.id;
  get diagnostics v_due = row_count;
  return jsonb_build_object('due', v_due);
end
$$;
comment on function public.fly_end_outage() is 'Fly answers again: up to 500 rows that waited after failures are due now, the rest in their own time. docs/database.md.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
revoke all on function public.fly_list_orphans(), public.fly_record_orphans(jsonb), public.fly_approve_orphan(text, text),
  public.fly_judge_orphan(text, text, uuid, uuid, jsonb), public.fly_record_orphan_outcome(text, jsonb), public.fly_brake_status(),
  public.fly_release_brake(text, text), public.fly_end_outage()
  from public, anon, authenticated;
grant execute on function public.fly_list_orphans(), public.fly_record_orphans(jsonb), public.fly_approve_orphan(text, text),
  public.fly_judge_orphan(text, text, uuid, uuid, jsonb), public.fly_record_orphan_outcome(text, jsonb), public.fly_brake_status(),
  public.fly_release_brake(text, text), public.fly_end_outage()
  to service_role;
