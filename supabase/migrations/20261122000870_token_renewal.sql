-- The tokens of machines are renewed before they end: a few apps an hour, in the background. And who hears of it when that does not work.
-- Builds on: credentials, signing_keys, release_tables, alerts, failure_alerts, desired_state.
-- shared/domain/credentials.py has the same lengths: a token lives 30 days, and its renewal begins 10 days before the end.

-- Why no token is renewed now, as a code; null if one may be. A renewal after which apps fail is stopped early: the signing key may be wrong.
-- Apps are unhealthy while the project refuses their tokens, and only new tokens help. So that incident does not hold the renewal.
create function hangar.find_renewal_hold() returns text
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce(
    (select case when g.paused then 'paused' when g.token_renewal_share = 0 then 'off' end from hangar.settings g),
    case when hangar.is_signing_key_refused() then 'signing_key' end,
    (select l.kind from hangar.alerts l
      where l.resolved_at is null and l.kind in ('installation', 'fly_unreachable', 'fly_refused', 'incident')
        and not (l.kind = 'incident' and l.key = 'health' and coalesce((hangar.read_signing_keys()).refused_apps, 0) > 0)
      order by l.kind limit 1),
    (select 'renewal_failed' from public.user_fly_apps a
      where a.deleted_at is null and a.desired_state = 'present' and a.token_renewal_at between hangar.now() - interval '1 day' and hangar.now()
        and (a.status = 'error' and not hangar.is_org_wide(a.error_code) or a.health_status = 'unhealthy') and not hangar.is_token_refused(a)
     having count(*) >= 2));
end
$$;

-- Whether this row's token has to be renewed: it ends soon, or its end is unknown, or it is older than an operator wants.
create function hangar.is_token_due(p_row public.user_fly_apps, p_from timestamptz) returns boolean
language sql stable set search_path = ''
as $$
  select p_row.machine_id is not null and (
    p_row.token_expires_at is null or p_row.token_expires_at <= hangar.now() + interval '10 days'
    or p_row.token_running_until is null or p_row.token_running_until <= hangar.now() + interval '10 days'
    or p_row.token_issued_at < p_from or hangar.is_token_refused(p_row))
$$;

-- The rows whose token may be due, by indexes alone: at rest it reads none of the table. `is_token_due` decides.
create function hangar.find_due_tokens(p_from timestamptz) returns setof uuid
language sql stable set search_path = ''
as $$
  select a.id from public.user_fly_apps a
   where a.deleted_at is null and a.desired_state = 'present' and a.token_expires_at <= hangar.now() + interval '10 days'
  union
  select a.id from public.user_fly_apps a
   where a.deleted_at is null and a.desired_state = 'present' and a.machine_id is not null
     and (a.token_expires_at is null or a.token_running_until is distinct from a.token_expires_at)
  union
  select a.id from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'present' and a.token_issued_at < p_from
  union
  select a.id from public.user_fly_apps a
   where (hangar.read_signing_keys()).refused_apps > 0 and a.deleted_at is null and a.desired_state = 'present' and hangar.is_token_refused(a)
$$;

-- How many renewals may begin now. The share of an hour is spread over it, so that a wrong key meets few apps before somebody notices.
create function hangar.count_renewal_room() returns integer
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_hourly integer := (
    select greatest(1, floor(g.token_renewal_share * count(*))::integer)
      from hangar.settings g left join public.user_fly_apps a on a.deleted_at is null and a.desired_state = 'present' group by g.token_renewal_share);
begin
  return (select least(v_hourly - count(*), ceil(v_hourly / 12.0) - count(*) filter (where a.token_renewal_at > v_now - interval '5 minutes'))
            from public.user_fly_apps a
           where a.deleted_at is null and a.token_renewal_at > v_now - interval '1 hour' and a.token_renewal_at <= v_now);
end
$$;

-- How many apps whose token the project refuses may get a new one within five minutes. They do not work, so a restart costs nothing.
create function hangar.count_refused_room() returns integer
language sql stable set search_path = ''
as $$
  select greatest(g.incident_floor, ceil(0.1 * count(*)))::integer
    from hangar.settings g left join public.user_fly_apps a on a.deleted_at is null and a.desired_state = 'present' group by g.incident_floor
$$;

-- Lets a row get a new token and a machine that has it: the same machine as a new generation. Nothing else about it changes.
create function hangar.give_token(p_row public.user_fly_apps, p_why text) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_from jsonb := jsonb_strip_nulls(jsonb_build_object('desired_state', p_row.desired_state, 'tier', p_row.tier, 'error_code', p_row.error_code));
begin
  update public.user_fly_apps a set token_wanted_at = greatest(hangar.now(), a.token_issued_at) where a.id = p_row.id;
  v_row := hangar.make_present(p_row.id, p_row.tier, hangar.spec_of(p_row));
  perform hangar.record_desired_change(v_row, v_from, p_why, p_why);
  if p_row.error_code is not null then
    perform hangar.resolve_failure_alerts(p_row.id);
  end if;
  return v_row;
end
$$;

-- Begins as many renewals as may begin now, the tokens that end first before the others. An app that a worker has, or that is on its way to
-- something else, or that a release moves, waits; a pin or a hold-back keeps only releases away. Returns how many began.
create function hangar.renew_tokens() returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_from timestamptz := (select g.renew_tokens_from from hangar.settings g);
  v_refused integer := coalesce((hangar.read_signing_keys()).refused_apps, 0);
  v_due uuid[];
  v_room integer;
  v_refused_room integer := 0;
  v_row public.user_fly_apps;
  v_renewed integer := 0;
begin
  -- Most calls end here: one look at each of three indexes.
  v_due := array(select hangar.find_due_tokens(v_from));
  -- The lock of the releases, because a release's targets change with the rows, in this order.
  if cardinality(v_due) = 0 or not pg_try_advisory_xact_lock(hashtextextended('hangar.token_renewal', 0))
     or not pg_try_advisory_xact_lock(hashtextextended('hangar.releases', 0)) or hangar.find_renewal_hold() is not null then
    return 0;
  end if;
  v_room := greatest(hangar.count_renewal_room(), 0);
  if v_refused > 0 then
    v_refused_room := hangar.count_refused_room() - (
      select count(*) from public.user_fly_apps a
       where a.deleted_at is null and a.token_renewal_at > v_now - interval '5 minutes' and a.token_renewal_at <= v_now);
  end if;
  if greatest(v_room, v_refused_room) <= 0 then
    return 0;
  end if;
  for v_row in
    select a.* from public.user_fly_apps a cross join lateral (select v_refused > 0 and hangar.is_token_refused(a) as yes) refused
     where a.id = any (v_due) and a.deleted_at is null and a.desired_state = 'present' and hangar.is_token_due(a, v_from)
       and a.observed_generation = a.generation and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
       -- What failed for another reason is left alone until its token is about to end.
       and (a.status = 'active' and a.health_status is distinct from 'unhealthy' or refused.yes
            or coalesce(a.token_running_until, a.token_expires_at) <= v_now + interval '3 days')
       -- A token that was refused since its renewal needs another one at once.
       and (a.token_renewal_at is null or a.token_renewal_at <= v_now - interval '1 hour' or refused.yes)
       and not exists (select 1 from hangar.release_targets t join hangar.releases r on r.id = t.release_id
                        where t.row_id = a.id and r.state in ('rolling', 'paused', 'rolling_back')
                          and (t.state in ('applying', 'verifying') or t.must_go_back) and not refused.yes)
     order by refused.yes desc, coalesce(least(a.token_running_until, a.token_expires_at), '-infinity'), a.id
     limit case when v_refused_room > 0 then greatest(v_room, v_refused_room) else v_room end
       for no key update of a skip locked
  loop
    if v_refused > 0 and hangar.is_token_refused(v_row) then
      continue when v_renewed >= v_refused_room;
      -- It was unhealthy because of its token. Its health with the new token is judged from the beginning.
      update public.user_fly_apps a set health_status = 'unknown', bad_samples = 0, health_step = null where a.id = v_row.id;
      delete from hangar.app_health h where h.fly_app_id = v_row.id;
    else
      continue when v_renewed >= v_room;
    end if;
    v_row := hangar.give_token(v_row, 'token_renewal');
    update public.user_fly_apps a set token_renewal_at = v_now where a.id = v_row.id;
    -- A release goes on watching the app, of which nothing else changes.
    update hangar.release_targets t set generation = v_row.generation, good_since = null
      from hangar.releases r
     where r.id = t.release_id and r.state in ('rolling', 'paused', 'rolling_back') and t.row_id = v_row.id
       and t.generation = v_row.generation - 1 and t.state in ('done', 'failed') and not t.must_go_back;
    v_renewed := v_renewed + 1;
  end loop;
  return v_renewed;
end
$$;

-- One alert while tokens are about to end, and one while renewals are stopped because they did harm.
create function hangar.check_tokens() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_hold text := hangar.find_renewal_hold();
  v_found record;
begin
  select count(*) as apps, count(*) filter (where e.at <= v_now) as ended,
         string_agg(format('%s (user %s, %s)', e.fly_app_name, e.user_id, to_char(e.at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')), ', ' order by e.at)
           filter (where e.nr <= 3) as some
    into v_found
    from (select a.fly_app_name, a.user_id, a.token_running_until as at, row_number() over (order by a.token_running_until, a.id) as nr
            from public.user_fly_apps a
           where a.deleted_at is null and a.desired_state = 'present' and a.token_running_until <= v_now + interval '3 days') e;
  if v_found.apps = 0 then
    perform hangar.resolve_alert('token_lapses', 'fleet');
  else
    perform hangar.raise_alert('token_lapses', 'fleet',
      format('The tokens of %s app(s) end within 3 days; %s of them have ended, and those apps cannot read their user''s data: %s%s. %s '
        'See `hangar credentials`; `hangar explain USER` shows one app',
        v_found.apps, v_found.ended, v_found.some, case when v_found.apps > 3 then ', …' else '' end,
        case when v_hold is not null then format('Hangar renews no token now, because %s.',
               case v_hold when 'paused' then 'it is paused' when 'off' then '`token_renewal_share` is 0'
                           when 'installation' then 'the functions belong to another installation' when 'fly_unreachable' then 'Fly does not answer'
                           when 'fly_refused' then 'Fly refuses the organisation' when 'incident' then 'many apps are broken at once'
                           when 'signing_key' then 'the project does not accept the key with which it signs'
                           when 'renewal_failed' then 'apps that got a new token are unhealthy or failed' else v_hold end)
             else 'Hangar renews them, a few every hour. To renew faster: `hangar settings set token_renewal_share=0.1`.' end),
      jsonb_build_object('apps', v_found.apps, 'ended', v_found.ended, 'held_by', v_hold));
  end if;
  if v_hold = 'renewal_failed' then
    perform hangar.raise_alert('renewal_failed', 'fleet',
      'Hangar renews no further token: two or more apps that got a new one within the last day are unhealthy or failed. Either the project does not '
      'accept the key in HANGAR_USER_TOKEN_KEY, or the apps fail for another reason. See `hangar status`; `hangar explain USER` shows one app. The '
      'renewal continues when fewer than two of them are unhealthy or failed, or a day after they got their tokens', '{}');
  else
    perform hangar.resolve_alert('renewal_failed', 'fleet');
  end if;
end
$$;

create function public.fly_credentials() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
      'now', hangar.now(), 'held_by', hangar.find_renewal_hold(), 'renewal_share', g.token_renewal_share::text, 'renew_from', g.renew_tokens_from,
      'apps', pg_catalog.count(a.id),
      'due', pg_catalog.count(*) filter (where hangar.is_token_due(a, g.renew_tokens_from)),
      'older_than_renew_from', pg_catalog.count(*) filter (where a.machine_id is not null
         and (a.token_issued_at is null or a.token_issued_at < g.renew_tokens_from or a.token_running_until is distinct from a.token_expires_at)),
      'lapsing', pg_catalog.count(*) filter (where a.token_running_until <= hangar.now() + interval '3 days'),
      'ended', pg_catalog.count(*) filter (where a.token_running_until <= hangar.now()),
      'unknown', pg_catalog.count(*) filter (where a.machine_id is not null and a.token_running_until is null),
      'renewed_last_hour', pg_catalog.count(*) filter (where a.token_renewal_at > hangar.now() - interval '1 hour'),
      'signing_key', (select pg_catalog.jsonb_build_object('id', k.signing, 'published', k.signing = any (k.published), 'read_at', k.read_at)
                        from hangar.signing_keys k),
      'refused', pg_catalog.count(*) filter (where hangar.is_token_refused(a)),
      'first_end', pg_catalog.min(a.token_running_until), 'revoked_users', (select pg_catalog.count(*) from hangar.token_revocations))
    from hangar.settings g left join public.user_fly_apps a on a.deleted_at is null and a.desired_state = 'present'
   group by g.token_renewal_share, g.renew_tokens_from
$$;
comment on function public.fly_credentials() is 'The tokens of the fleet: how many end soon, what is renewed, and what holds it. docs/database.md.';

create function public.fly_renew_tokens(p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  perform hangar.require_actor(p_actor);
  perform hangar.set_actor(p_actor, p_reason);
  update hangar.settings set renew_tokens_from = hangar.now() where only_row;
  perform hangar.clear_actor();
  return public.fly_credentials();
end
$$;
comment on function public.fly_renew_tokens(text, text) is 'Renews every token that was issued before now, a few apps an hour: after a new signing key. docs/database.md.';

create function public.fly_revoke_user(p_user uuid, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps;
  v_at timestamptz;
begin
  perform hangar.require_actor(p_actor);
  if p_user is null then
    raise exception 'p_user must be a uuid, not null' using errcode = 'invalid_parameter_value';
  end if;
  select a.* into v_row from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;
  -- A function's clock may have been ahead when it issued the token.
  v_at := greatest(hangar.now(), v_row.token_issued_at);
  insert into hangar.token_revocations as r (user_id, revoked_at, reason, actor) values (p_user, v_at, p_reason, p_actor)
  on conflict (user_id) do update set revoked_at = greatest(r.revoked_at, excluded.revoked_at), reason = excluded.reason, actor = excluded.actor;
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (v_row.id, p_user, 'token_revoked', 'info', jsonb_strip_nulls(jsonb_build_object('actor', p_actor, 'reason', p_reason, 'issued_up_to', v_at)));
  -- Also without a token so far: a worker that is about to issue one would do so in this very second, which is refused.
  if v_row.desired_state = 'present' then
    v_row := hangar.give_token(v_row, 'revoked');
    perform hangar.wake_up(array[p_user]);
  else
    -- Nothing to do now, and no old token after a return.
    update public.user_fly_apps a set token_wanted_at = v_at where a.id = v_row.id;
  end if;
  return jsonb_build_object('revoked_at', v_at, 'row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_revoke_user(uuid, text, text) is 'Refuses the tokens of one user''s machine that were issued up to now, and gives it a new one. docs/database.md.';

select hangar.restrict_functions();
