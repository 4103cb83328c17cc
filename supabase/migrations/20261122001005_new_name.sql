-- An operator's decision about an app whose name somebody else on Fly holds: Fly's names are global, so that of an app which was deleted
-- outside Hangar may be taken.
-- Builds on: operator, audit_log, legacy_apps.

-- Records the decision and makes the row due. It changes nothing else: the worker closes the row only if Fly's lists prove that our
-- organisation no longer has the app, and then an entitled user gets a new row with the next name. `others` is what those lists are
-- compared with: how many other apps should be in them.
create function public.fly_request_new_name(p_user uuid, p_actor text, p_reason text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_request jsonb;
begin
  perform hangar.require_actor(p_actor);
  if nullif(btrim(p_reason), '') is null then
    raise exception 'p_reason must say why this user takes another name' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.refuse_legacy(p_user);
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  if v_row.id is null then
    raise exception 'user % has no app whose name could be given up', p_user using errcode = 'PT409';
  elsif v_row.machine_id is null and v_row.secrets_version is null then
    raise exception 'the app % was never created, so Hangar takes another name automatically when somebody else holds this one',
      v_row.fly_app_name using errcode = 'PT409';
  end if;
  v_request := jsonb_build_object('asked_at', hangar.now(), 'actor', p_actor, 'reason', btrim(p_reason),
    'others', (select count(*) from public.user_fly_apps a
                where a.deleted_at is null and a.id <> v_row.id and a.status = 'active' and a.machine_id is not null
                  and a.adopted_app_id is null));
  update public.user_fly_apps a
     set new_name_request = v_request, next_attempt_at = least(a.next_attempt_at, hangar.now())
   where a.id = v_row.id
  returning a.* into v_row;
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (v_row.id, p_user, 'recovery_attempted', 'info',
          jsonb_build_object('actor', p_actor, 'source', 'new_name', 'reason', btrim(p_reason), 'app', v_row.fly_app_name));
  return jsonb_build_object('row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_request_new_name(uuid, text, text) is 'An operator''s decision that a user whose app''s name somebody else holds on Fly takes the next name. docs/database.md.';

select hangar.restrict_functions();
