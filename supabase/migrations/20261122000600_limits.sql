-- What limits the removal of apps: the brake (the destroy budget), and Fly's rate of app deletions.
-- Builds on: tables, audit_log, alerts, host_loss.

-- An orphan of which this database never had the row. Without that row it cannot know whose the app is, so an operator must decide.
create function hangar.needs_approval(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.lost and p_orphan.approved_by is null
     and not coalesce(p_orphan.first_seen_at <= g.brake_released_at and g.brake_released_at <= hangar.now(), false)
    from hangar.settings g
$$;
comment on function hangar.needs_approval(public.fly_orphans) is 'Whether an operator must approve the removal: this database never had the app''s row, and nobody has approved it or released the brake since.';

-- The brake since its last release. `destroyed`: what was taken away from users in the last hour. An app counts once, so stopping,
-- destroying and deleting it are one; an orphan is another app than its row's. `unknown_apps`: apps whose rows this database never had and
-- that no operator has approved. A move to another region takes nothing away. If there are too many of them, or any while there is no live row at all, the database has lost rows: it
-- was restored or emptied, or a second installation uses it. A release in the future (the clock was set back) does not count.
create function hangar.brake_status(out destroyed text[], out destroy_limit numeric, out unknown_apps bigint, out reason text)
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_released timestamptz := (select g.brake_released_at from hangar.settings g where g.brake_released_at <= v_now);
  v_fleet bigint := (select count(*) from public.user_fly_apps a where a.deleted_at is null and a.desired_state <> 'legacy');
begin
  select coalesce(array_agg(distinct case e.metadata ->> 'purpose' when 'orphan' then e.metadata ->> 'app' else e.fly_app_id::text end), '{}')
    into destroyed
    from public.user_fly_app_events e
   where e.event_type = 'action' and e.status = 'intent' and (e.metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app')
     and (e.metadata ->> 'purpose') is distinct from 'move'
     and e.created_at >= greatest(v_now - interval '1 hour', v_released);
  select count(*) into unknown_apps from public.fly_orphans o where hangar.needs_approval(o);
  select greatest(g.brake_floor, g.brake_share * v_fleet),
         case when unknown_apps > g.brake_lost or (unknown_apps > 0 and v_fleet = 0) then 'lost'
              when cardinality(destroyed) >= greatest(g.brake_floor, g.brake_share * v_fleet) then 'many' end
    into destroy_limit, reason
    from hangar.settings g;
end
$$;

-- The brake for people. `counted_since`: the last release, if it is less than an hour old, otherwise null and the last hour counts.
-- `waiting_apps`: apps of users who are no longer entitled, which only the brake keeps. A grace that has not ended is not one of them.
create function hangar.brake_json() returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_released timestamptz := (select g.brake_released_at from hangar.settings g);
  v_brake record;
begin
  select b.* into v_brake from hangar.brake_status() b;
  return jsonb_build_object(
    'destroyed_last_hour', cardinality(v_brake.destroyed), 'most', trunc(v_brake.destroy_limit, 2)::text,
    'tripped', v_brake.reason is not null, 'why', v_brake.reason, 'lost_apps', v_brake.unknown_apps, 'released_at', v_released,
    'host_loss', (select case when h.held_since is not null then jsonb_build_object(
      'held_since', h.held_since, 'losing', h.losing, 'present', h.present, 'reason', h.reason) end from hangar.host_state h),
    'counted_since', case when v_released between v_now - interval '1 hour' and v_now then v_released end,
    'waiting_apps', (select count(*) from public.user_fly_apps a
                      where a.deleted_at is null and a.desired_state = 'absent' and (a.delete_after is null or a.delete_after <= v_now)
                        and (a.hold_until is null or a.hold_until <= v_now)
                        and a.id::text <> all (v_brake.destroyed)));
end
$$;

-- Null if this app (a row's id, or an orphan's name) may be taken away now, otherwise why not.
create function hangar.check_brake(p_app text) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_brake record;
begin
  -- One at a time, otherwise two workers would both see room for one more.
  perform pg_advisory_xact_lock(hashtextextended('hangar.brake', 0));
  select b.* into v_brake from hangar.brake_status() b;
  if v_brake.reason is null or v_brake.reason = 'many' and p_app = any (v_brake.destroyed) then
    return null;
  end if;
  return hangar.brake_json() - array['tripped', 'released_at'];
end
$$;

-- Raises the alert that the brake holds something back: why, what a release would allow, and what to do. The event is written once per alert.
create function hangar.raise_brake_alert(p_brake jsonb, p_row uuid, p_user uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_message text := case p_brake ->> 'why'
    when 'lost' then format(
      'The brake is on and Hangar destroys nothing: %s Fly app(s) carry this installation''s proof of ownership and name rows that this '
      'database never had. It was restored from an older copy, or emptied, or a second Hangar runs with the same HANGAR_INSTALLATION_ID. '
      'First bring the subscriptions up to date: entitled users then get their apps back. Then list the rest with `hangar orphans`. '
      '`hangar brake --release` lets Hangar remove it, and %s app(s) of users who are no longer entitled',
      p_brake ->> 'lost_apps', p_brake ->> 'waiting_apps')
    else format(
      'The brake is on and Hangar destroys nothing more: %s app(s) were taken away %s, and the limit is %s. %s app(s) wait for a release. '
      'List what was taken away with `hangar events --type action --since 1h`. If this was a mistake, undo it in the subscriptions or '
      'fly_plans (run `hangar pause` first if you need time): users who are entitled again keep their apps. If it was intended, run '
      '`hangar brake --release`. Without a release, Hangar continues as the hour passes',
      p_brake ->> 'destroyed_last_hour',
      case when p_brake ->> 'counted_since' is null then 'in the last hour' else 'since the last release' end,
      ceil((p_brake ->> 'most')::numeric), p_brake ->> 'waiting_apps') end;
begin
  if (select r.fresh from hangar.raise_alert('brake', case p_brake ->> 'why' when 'lost' then 'database' else 'fleet' end, v_message, p_brake) r) then
    insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
    values (p_row, p_user, 'brake_tripped', 'info', p_brake);
  end if;
end
$$;

-- Resolves the alerts about the brake that hold no longer. While more apps wait for their removal than the rest of the hour's limit
-- allows, the brake stops them again within minutes, so that its alert stays open.
create function hangar.resolve_brake_alerts() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_brake record;
  v_waiting bigint;
begin
  if not exists (select 1 from hangar.alerts l where l.kind = 'brake' and l.resolved_at is null) then
    return;
  end if;
  select b.* into v_brake from hangar.brake_status() b;
  select count(*) into v_waiting from public.user_fly_apps a
   where a.deleted_at is null and a.desired_state = 'absent' and a.error_code is null and a.id::text <> all (v_brake.destroyed)
     and (a.delete_after is null or a.delete_after <= hangar.now()) and (a.hold_until is null or a.hold_until <= hangar.now());
  update hangar.alerts l set resolved_at = hangar.now()
   where l.kind = 'brake' and l.resolved_at is null
     and case l.key when 'database' then v_brake.reason is distinct from 'lost'
                    else cardinality(v_brake.destroyed) + v_waiting < v_brake.destroy_limit end;
end
$$;

-- Fly deletes 100 apps per minute and organisation. Functions are many and short-lived, so the database hands out the slots.
-- When one more deletion has room, beside those intended in the last minute and `p_reserved` to come; null = now. The caller holds the
-- lock of hangar.check_brake, so that two workers never both see the last slot.
create function hangar.delete_slot_at(p_reserved bigint default 0) returns timestamptz
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_limit bigint := (select g.deletes_per_minute from hangar.settings g);
begin
  return (select e.created_at + interval '1 minute'
            from public.user_fly_app_events e
           where e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'delete_app'
             and e.created_at > v_now - interval '1 minute'
           order by e.created_at desc offset greatest(v_limit - 1 - p_reserved, 0) limit 1);
end
$$;

-- Whether this row's app may be deleted now. If not, the row reserves a slot (delete_turn_at), one after the other, so that a thousand
-- rows do not all return at once. A row keeps its slot, and later rows leave room for those that wait.
create function hangar.reserve_delete_slot(p_row public.user_fly_apps) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_room_at timestamptz := hangar.delete_slot_at();
  v_now timestamptz := hangar.now();
  v_limit bigint := (select g.deletes_per_minute from hangar.settings g);
  v_slot timestamptz := p_row.delete_turn_at;
  v_waiting bigint;
  v_last timestamptz;
begin
  if v_slot is null then
    -- A slot that was missed long ago (paused, braked, desired again) does not hold up others.
    select count(*) filter (where a.delete_turn_at > v_now - interval '5 minutes'), max(a.delete_turn_at) into v_waiting, v_last
      from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = 'absent' and a.delete_turn_at is not null;
    v_room_at := hangar.delete_slot_at(v_waiting);
    if v_room_at is not null or v_waiting >= v_limit then
      v_slot := greatest(v_room_at, greatest(v_last, v_now) + make_interval(secs => (60.0 / v_limit)::double precision));
    end if;
  elsif v_slot <= v_now then
    v_slot := v_room_at;
  end if;
  if v_slot > v_now then
    update public.user_fly_apps set delete_turn_at = v_slot where id = p_row.id;
    return false;
  end if;
  update public.user_fly_apps set delete_turn_at = null where id = p_row.id and delete_turn_at is not null;
  return true;
end
$$;

-- Makes deletions that waited for permission due: the 500 that would be due next, so that the caller need not wait. The others follow
-- within minutes.
create function hangar.resume_deletions() returns void
language sql volatile set search_path = ''
as $$
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = 'absent' and a.next_attempt_at > hangar.now()
       and (a.delete_turn_at is null or a.delete_turn_at <= hangar.now())  -- Fly's own limit still applies
       and (a.delete_after is null or a.delete_after <= hangar.now()) and (a.hold_until is null or a.hold_until <= hangar.now())
       and a.error_code is null
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = hangar.now() from waiting w where a.id = w.id
$$;

create function public.fly_brake_status() returns jsonb
language sql volatile security definer set search_path = ''
as $$ select hangar.brake_json() $$;
comment on function public.fly_brake_status() is 'What was taken away in the last hour (since the last release), the limit, and the apps whose rows this database never had. docs/database.md.';

create function public.fly_release_brake(p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  perform hangar.require_actor(p_actor);
  perform hangar.set_actor(p_actor, p_reason);
  update hangar.settings set brake_released_at = v_now where only_row;
  perform hangar.clear_actor();
  perform hangar.obey_host_loss(p_actor);
  perform hangar.resume_deletions();
  update hangar.alerts set resolved_at = v_now where kind = 'brake' and resolved_at is null;
  return jsonb_build_object('released_at', v_now);
end
$$;
comment on function public.fly_release_brake(text, text) is 'The brake counts from now on, and what it held back is due. docs/database.md.';

select hangar.restrict_functions();
