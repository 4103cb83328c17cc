-- Fly deletes 100 apps a minute for an organisation. Functions are many and short-lived, so the turns are given out here.

-- When one more deletion has room beside those intended in the last minute and `p_reserved` to come; null = now. Whoever asks has been
-- through hangar.judge_brake and holds its lock, so that two workers never both see the last place.
create function hangar.next_deletion_at(p_reserved bigint default 0) returns timestamptz
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_most bigint := (select g.deletes_per_minute from hangar.settings g);
begin
  return (select e.created_at + interval '1 minute'
            from public.user_fly_app_events e
           where e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'delete_app'
             and e.created_at > v_now - interval '1 minute'
           order by e.created_at desc offset greatest(v_most - 1 - p_reserved, 0) limit 1);
end
$$;

-- Whether this row's app may be deleted now. If not, the row gets a turn of its own (delete_turn_at), one after the other, so that a
-- thousand do not come back at once. Who has a turn keeps it, and whoever comes later leaves room for those who wait.
create function hangar.take_turn(p_row public.user_fly_apps) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_room_at timestamptz := hangar.next_deletion_at();
  v_now timestamptz := hangar.now();
  v_most bigint := (select g.deletes_per_minute from hangar.settings g);
  v_turn timestamptz := p_row.delete_turn_at;
  v_waiting bigint;
  v_last timestamptz;
begin
  if v_turn is null then
    -- A turn that was long missed (paused, braked, wanted again) holds up nobody.
    select count(*) filter (where a.delete_turn_at > v_now - interval '5 minutes'), max(a.delete_turn_at) into v_waiting, v_last
      from public.user_fly_apps a
     where a.deleted_at is null and a.desired_state = 'absent' and a.delete_turn_at is not null;
    v_room_at := hangar.next_deletion_at(v_waiting);
    if v_room_at is not null or v_waiting >= v_most then
      v_turn := greatest(v_room_at, greatest(v_last, v_now) + make_interval(secs => (60.0 / v_most)::double precision));
    end if;
  elsif v_turn <= v_now then
    v_turn := v_room_at;
  end if;
  if v_turn > v_now then
    update public.user_fly_apps set delete_turn_at = v_turn where id = p_row.id;
    return false;
  end if;
  update public.user_fly_apps set delete_turn_at = null where id = p_row.id and delete_turn_at is not null;
  return true;
end
$$;

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
