-- Who may operate Hangar: checked at every call of an operator; every change is recorded with its actor.
-- Builds on: tables, access (the actor).

create function public.fly_operator(p_user uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  -- As JSON, because Supabase Auth owns the table: a column that a project's version lacks is null here instead of an error.
  v_user jsonb := (select to_jsonb(u) from auth.users u where u.id = p_user and to_jsonb(u) ->> 'deleted_at' is null);
begin
  return jsonb_build_object(
    'operator', exists (select 1 from hangar.operators o where o.user_id = p_user)
                and v_user is not null and coalesce((v_user ->> 'banned_until')::timestamptz <= hangar.now(), true),
    'email', nullif(v_user ->> 'email', ''));
end
$$;
comment on function public.fly_operator(uuid) is 'Whether this user may operate Hangar now, and the e-mail address for the audit log. docs/database.md.';

create function public.fly_operators() returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  return jsonb_build_object('operators', (
    select coalesce(jsonb_agg(jsonb_build_object('user_id', o.user_id, 'added_by', o.added_by, 'added_at', o.added_at)
             || public.fly_operator(o.user_id) order by o.added_at, o.user_id), '[]')
      from hangar.operators o));
end
$$;
comment on function public.fly_operators() is 'Every row of hangar.operators. `operator` is false if the user was deleted or banned since. docs/database.md.';

create function public.fly_add_operator(p_user uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_changed boolean;
begin
  perform hangar.require_actor(p_actor);
  if p_user is null or not exists (select 1 from auth.users u where u.id = p_user and to_jsonb(u) ->> 'deleted_at' is null) then
    raise exception 'user % does not exist in auth.users', coalesce(p_user::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.set_actor(p_actor, p_reason);
  insert into hangar.operators (user_id, added_by) values (p_user, p_actor) on conflict do nothing;
  v_changed := found;
  perform hangar.clear_actor();
  return public.fly_operator(p_user) || jsonb_build_object('changed', v_changed);
end
$$;
comment on function public.fly_add_operator(uuid, text, text) is 'Lets a user operate Hangar and records who allowed it. docs/database.md.';

create function public.fly_remove_operator(p_user uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_changed boolean;
begin
  perform hangar.require_actor(p_actor);
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.set_actor(p_actor, p_reason);
  delete from hangar.operators o where o.user_id = p_user;
  v_changed := found;
  perform hangar.clear_actor();
  return public.fly_operator(p_user) || jsonb_build_object('changed', v_changed);
end
$$;
comment on function public.fly_remove_operator(uuid, text, text) is 'Ends a user''s right to operate Hangar from their next call on, and records who ended it. docs/database.md.';

-- Records every change of the operators, also one made by plain SQL.
create function hangar.record_operator_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'settings_changed', 'info',
         hangar.actor_json() || jsonb_strip_nulls(jsonb_build_object('email', public.fly_operator(c.who) ->> 'email'))
           || jsonb_build_object('changes', jsonb_build_object(c.what, c.who))
    from (values ('operator_removed', old.user_id), ('operator_added', new.user_id)) as c (what, who)
   where c.who is not null and old.user_id is distinct from new.user_id;
  return null;
end
$$;
create trigger record_operator_change after insert or update or delete on hangar.operators
  for each row execute function hangar.record_operator_change();

select hangar.restrict_functions();
