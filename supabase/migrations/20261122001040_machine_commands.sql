-- The commands that an operator runs inside a user's machine: recorded before the call and after it, as every change on Fly.
-- Builds on: tables, access (the actor).

create function public.fly_record_command(
  p_id uuid, p_user uuid, p_command text, p_status text, p_actor text, p_reason text, p_detail jsonb default '{}'
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
begin
  perform hangar.require_actor(p_actor);
  if p_id is null then
    raise exception 'p_id must be a uuid, not null' using errcode = 'invalid_parameter_value';
  elsif coalesce(btrim(p_reason), '') = '' then
    raise exception 'a command in a user''s machine needs a reason' using errcode = 'invalid_parameter_value';
  elsif coalesce(btrim(p_command), '') = '' then
    raise exception 'p_command must name a command' using errcode = 'invalid_parameter_value';
  elsif p_status is null or p_status not in ('intent', 'succeeded', 'failed', 'unknown') then
    raise exception 'p_status must be intent, succeeded, failed or unknown, not %', coalesce(p_status, 'null') using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_keys('detail', coalesce(p_detail, '{}'), array['exit_code', 'code', 'message']);
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null;
  if p_status = 'intent' and (v_row.id is null or v_row.machine_id is null) then
    raise exception 'there is no machine of user % to run a command in', coalesce(p_user::text, 'null') using errcode = 'PT409';
  end if;
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata, error_details)
  values (v_row.id, p_user, 'command_run', p_status,
    jsonb_strip_nulls(jsonb_build_object('command_id', p_id, 'command', left(p_command, 500), 'machine_id', v_row.machine_id, 'actor', p_actor,
      'reason', p_reason) || coalesce(p_detail, '{}') - 'message'),
    left(p_detail ->> 'message', 500));
  return jsonb_build_object('app', v_row.fly_app_name, 'machine_id', v_row.machine_id, 'machine_state', v_row.machine_state);
end
$$;
comment on function public.fly_record_command(uuid, uuid, text, text, text, text, jsonb) is 'Records a command of an operator in a user''s machine: intent, then outcome. docs/database.md.';

select hangar.restrict_functions();
