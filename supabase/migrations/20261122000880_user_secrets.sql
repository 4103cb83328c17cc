-- Secrets that an operator sets for one user. The value goes from the operator's terminal to Fly; here is only what was done to which name.
-- Builds on: credentials, token_renewal, desired_state.

-- What a user's own secrets are, for people: never a value. "missing": Fly has it no more, because the app was made again or is another one.
create function hangar.user_secrets_json(p_user uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
      'name', s.name, 'digest', s.digest, 'version', s.version, 'actor', s.actor, 'reason', s.reason, 'at', coalesce(s.set_at, s.requested_at),
      'state', case when s.lost_at is not null or s.row_id is distinct from a.id then 'missing'
                    when s.state <> 'set' then 'unconfirmed'
                    when a.observed_generation is distinct from a.generation then 'deploying' else 'deployed' end)) order by s.name), '[]')
    from hangar.user_secrets s
    left join public.user_fly_apps a on a.user_id = s.user_id and a.deleted_at is null
   where s.user_id = p_user
$$;

-- Names that belong to Hangar, Fly or the project's own keys: a secret wins over the environment, so it could replace what a machine stands on.
create function hangar.explain_refused_secret(p_name text) returns text
language sql immutable set search_path = ''
as $$
  select case
    when p_name is null or p_name !~ '^[A-Za-z_][A-Za-z0-9_]{0,127}$' then 'the name of a secret has letters, digits and _, at most 128, and no digit first'
    when upper(p_name) in ('SUPABASE_USER_TOKEN', 'USER_ID', 'RUN_MODE', 'HANGAR_APP_ID', 'SUPABASE_URL', 'SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_SECRET_KEY',
                           'SUPABASE_SERVICE_ROLE_KEY', 'PORT', 'HOST', 'PRIMARY_REGION') or upper(p_name) like 'FLY\_%' or upper(p_name) like 'HANGAR\_%'
      then pg_catalog.format('%s is set by Hangar, Fly or the project; use another name', p_name) end
$$;

create function hangar.record_user_secret(p_row uuid, p_user uuid, p_name text, p_what text, p_actor text, p_reason text) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (p_row, p_user, 'user_secret_changed', 'info',
          pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('name', p_name, 'what', p_what, 'actor', p_actor, 'reason', p_reason)))
$$;

-- Begins to set or remove one secret: the intent before the operator's call to Fly.
create function public.fly_begin_user_secret(p_user uuid, p_name text, p_action text, p_request uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_secret hangar.user_secrets;
  v_refused text := hangar.explain_refused_secret(p_name);
begin
  perform hangar.require_actor(p_actor);
  if p_user is null or p_request is null or p_action is null or p_action not in ('set', 'remove') then
    raise exception 'p_user and p_request must be uuids, and p_action set or remove' using errcode = 'invalid_parameter_value';
  elsif v_refused is not null then
    raise exception '%', v_refused using errcode = 'invalid_parameter_value';
  end if;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  select s.* into v_secret from hangar.user_secrets s where s.user_id = p_user and s.name = p_name for no key update;
  if p_action = 'remove' and v_secret.name is null then
    raise exception 'the user has no secret %', p_name using errcode = 'invalid_parameter_value';
  elsif p_action = 'remove' and (v_secret.lost_at is not null or v_secret.row_id is distinct from v_row.id) then
    -- Fly has it no more, so only the note is left to remove.
    delete from hangar.user_secrets s where s.user_id = p_user and s.name = p_name;
    perform hangar.record_user_secret(v_row.id, p_user, p_name, 'forgotten', p_actor, p_reason);
    return jsonb_build_object('app', null, 'secrets', hangar.user_secrets_json(p_user), 'row', hangar.row_json(v_row));
  elsif v_row.id is null or v_row.desired_state <> 'present' or v_row.secrets_version is null then
    raise exception 'the user has no app on Fly that could keep a secret; set it once the app is active' using errcode = 'PT409';
  elsif (select g.paused from hangar.settings g) then
    raise exception 'Hangar is paused: nothing is changed on Fly until somebody resumes it' using errcode = 'PT409';
  end if;
  insert into hangar.user_secrets as s (user_id, name, state, row_id, request, reason, actor)
  values (p_user, p_name, case p_action when 'set' then 'setting' else 'removing' end, v_row.id, p_request, p_reason, p_actor)
  on conflict (user_id, name) do update set state = excluded.state, row_id = excluded.row_id, request = excluded.request, reason = excluded.reason,
    actor = excluded.actor, requested_at = hangar.now(), lost_at = null,
    doubtful = (s.doubtful or s.state <> 'set') and s.lost_at is null and s.row_id = excluded.row_id;
  perform hangar.record_user_secret(v_row.id, p_user, p_name, p_action || '_requested', p_actor, p_reason);
  return jsonb_build_object('app', v_row.fly_app_name, 'network', v_row.network, 'secrets', hangar.user_secrets_json(p_user), 'row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_begin_user_secret(uuid, text, text, uuid, text, text) is 'The intent before an operator sets or removes one user''s secret at Fly; its answer names the app. docs/database.md.';

-- Records what Fly has answered. p_version null: Fly has refused, and nothing was changed there.
create function public.fly_record_user_secret(p_user uuid, p_name text, p_request uuid, p_version bigint, p_digest text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_secret hangar.user_secrets;
  v_renews boolean;
begin
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  select s.* into v_secret from hangar.user_secrets s where s.user_id = p_user and s.name = p_name for no key update;
  -- The secret of this name that every app gets (HANGAR_MACHINE_SECRETS) goes with it. A new token sets all of them again. While the project
  -- would refuse a new token, the next renewal does that.
  v_renews := v_secret.state = 'removing' and not hangar.is_signing_key_refused();
  if v_secret.request is distinct from p_request or v_secret.state = 'set' then
    return jsonb_build_object('recorded', false, 'secrets', hangar.user_secrets_json(p_user), 'row', hangar.row_json(v_row));
  end if;
  if p_version is null and v_secret.doubtful then
    -- Still unconfirmed because of an earlier call. The new number keeps a repetition from being recorded again.
    update hangar.user_secrets s set request = gen_random_uuid() where s.user_id = p_user and s.name = p_name;
  elsif p_version is null then
    -- As it was before: an older value is still there, or there never was one.
    update hangar.user_secrets s set state = 'set' where s.user_id = p_user and s.name = p_name and s.set_at is not null;
    delete from hangar.user_secrets s where s.user_id = p_user and s.name = p_name and s.set_at is null;
  elsif v_secret.state = 'removing' then
    delete from hangar.user_secrets s where s.user_id = p_user and s.name = p_name;
  else
    update hangar.user_secrets s set state = 'set', digest = p_digest, version = p_version, set_at = hangar.now(), doubtful = false
     where s.user_id = p_user and s.name = p_name;
  end if;
  perform hangar.record_user_secret(v_row.id, p_user, p_name,
    case when p_version is null then 'refused' when v_secret.state = 'removing' then 'removed' else 'set' end, v_secret.actor, v_secret.reason);
  if p_version is not null and v_row.id = v_secret.row_id and v_row.secrets_version is not null and v_secret.lost_at is null then
    update public.user_fly_apps a set secrets_version = greatest(a.secrets_version, p_version) where a.id = v_row.id;
    if v_row.desired_state <> 'present' then
      update public.user_fly_apps a set token_wanted_at = greatest(hangar.now(), a.token_issued_at) where a.id = v_row.id and v_renews;
    elsif v_renews then
      v_row := hangar.give_token(v_row, 'user_secret');
      perform hangar.wake_up(array[p_user]);
    else
      v_row := hangar.make_present(v_row.id, v_row.tier, hangar.spec_of(v_row));
      perform hangar.record_desired_change(v_row, jsonb_build_object('desired_state', 'present', 'tier', v_row.tier), 'user_secret', 'user_secret');
      perform hangar.wake_up(array[p_user]);
    end if;
  end if;
  return jsonb_build_object('recorded', true, 'secrets', hangar.user_secrets_json(p_user), 'row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_record_user_secret(uuid, text, uuid, bigint, text) is 'What Fly has answered to a secret that was begun; the machine is updated to receive it. docs/database.md.';

-- One alert while apps lack secrets that an operator has set, or while it is unknown whether Fly has one.
create function hangar.check_user_secrets() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_found record;
begin
  select count(*) as secrets, count(distinct f.user_id) as users,
         string_agg(format('%s: %s of user %s', f.fly_app_name, f.name, f.user_id), ', ' order by f.nr) filter (where f.nr <= 3) as some
    into v_found
    from (select s.name, s.user_id, a.fly_app_name, row_number() over (order by s.user_id, s.name) as nr
            from hangar.user_secrets s join public.user_fly_apps a on a.user_id = s.user_id and a.deleted_at is null and a.desired_state = 'present'
           where s.lost_at is not null or s.row_id <> a.id or s.state <> 'set' and s.requested_at <= hangar.now() - interval '10 minutes') f;
  if v_found.secrets = 0 then
    perform hangar.resolve_alert('user_secrets_missing', 'fleet');
    return;
  end if;
  perform hangar.raise_alert('user_secrets_missing', 'fleet',
    format('%s secret(s) of %s user(s) are missing on Fly, or it is unknown whether Fly has them: %s%s. Hangar does not store values, so it cannot set them '
      'again. Set each one: `hangar user secret USER set NAME`; or, if it is not needed any more: `hangar user secret USER remove NAME`',
      v_found.secrets, v_found.users, v_found.some, case when v_found.secrets > 3 then ', …' else '' end),
    jsonb_build_object('secrets', v_found.secrets, 'users', v_found.users));
end
$$;

select hangar.restrict_functions();
