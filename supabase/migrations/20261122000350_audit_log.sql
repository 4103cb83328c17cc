-- The audit log as a record that decisions are made from: which events a caller may store, what an intent is, and what the log says
-- about one app. Also the JSON forms of rows and settings, and the checks of arguments, which every procedure uses.
-- Builds on: tables, access.

create function hangar.check_limit(p_name text, p_value integer, p_most integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_value is null or p_value < 1 or p_value > p_most then
    raise exception '% must be from 1 to %, not %', p_name, p_most, coalesce(p_value::text, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- Raises 22023 unless p_object is a JSON object whose keys are all known; names the unknown ones.
create function hangar.check_keys(p_what text, p_object jsonb, p_known text[]) returns void
language plpgsql immutable set search_path = ''
as $$
declare
  v_unknown text;
begin
  if p_object is null or jsonb_typeof(p_object) <> 'object' then
    raise exception '% must be a JSON object', p_what using errcode = 'invalid_parameter_value';
  end if;
  select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_object) k where k <> all (p_known);
  if v_unknown is not null then
    raise exception 'unknown % key: %', p_what, v_unknown using errcode = 'invalid_parameter_value',
      hint = 'Known: ' || array_to_string(p_known, ', ');
  end if;
end
$$;

-- Raises 22023 if p_events is not a list of events; returns the one intent in it, or null.
create function hangar.find_intent(p_events jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_event jsonb;
  v_intent jsonb;
begin
  if p_events is null or jsonb_typeof(p_events) <> 'array' then
    raise exception 'p_events must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  for v_event in select e from jsonb_array_elements(p_events) e loop
    perform hangar.check_keys('event', v_event, array['id', 'event_type', 'status', 'metadata', 'error_details']);
    if v_event ->> 'id' is null or v_event ->> 'event_type' is null or v_event ->> 'status' is null then
      raise exception 'an event needs id, event_type and status' using errcode = 'invalid_parameter_value';
    end if;
    if v_event ->> 'event_type' = 'action' and v_event ->> 'status' = 'intent' then
      if v_intent is not null then
        raise exception 'one save may carry one intent' using errcode = 'invalid_parameter_value';
      elsif v_event -> 'metadata' ->> 'action' is null then
        raise exception 'an intent needs metadata.action' using errcode = 'invalid_parameter_value';
      end if;
      v_intent := v_event;
    end if;
  end loop;
  return v_intent;
end
$$;

-- Stores events in their order. A repeated save stores none of them twice.
create function hangar.store_events(p_app uuid, p_user uuid, p_events jsonb, p_but_not uuid default null) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (id, fly_app_id, user_id, event_type, status, metadata, error_details, created_at)
  select (e.event ->> 'id')::uuid, p_app, p_user, e.event ->> 'event_type', e.event ->> 'status',
         coalesce(nullif(e.event -> 'metadata', 'null'), '{}'), e.event ->> 'error_details', hangar.now()
    from pg_catalog.jsonb_array_elements(p_events) with ordinality as e (event, nr)
   where p_but_not is null or (e.event ->> 'id')::uuid <> p_but_not
   order by e.nr
  on conflict (id) do nothing
$$;

create function hangar.is_create(p_action text) returns boolean
language sql immutable set search_path = ''
as $$ select coalesce(p_action in ('create_app', 'create_machine'), false) $$;

-- Whether a removal of this orphan has begun and has no outcome yet. A worker that has recorded none within ten minutes is dead.
create function hangar.is_being_removed(p_app text) returns boolean
language sql volatile set search_path = ''
as $$
  select exists (select 1 from public.user_fly_app_events i
                  where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('stop_machine', 'destroy_machine', 'delete_app')
                    and i.metadata ->> 'purpose' = 'orphan' and i.metadata ->> 'app' = p_app
                    and i.created_at > hangar.now() - interval '10 minutes'
                    and not exists (select 1 from public.user_fly_app_events o
                                     where o.event_type = 'action' and o.status <> 'intent' and o.metadata ->> 'intent_id' = i.id::text))
$$;

-- Whether an operator restarted this app's machine within the last minute, or is restarting it. A restart that failed does not count.
create function hangar.was_restarted(p_row_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select 1 from public.user_fly_app_events e
     where e.fly_app_id = p_row_id and e.created_at > hangar.now() - interval '60 seconds'
       and e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'restart_machine'
       and not exists (
         select 1 from public.user_fly_app_events f
          where f.fly_app_id = e.fly_app_id and f.created_at >= e.created_at
            and f.event_type = 'action' and f.status = 'failed' and f.metadata ->> 'intent_id' = e.id::text))
$$;

-- How often this app was repaired within the last hour: calls to Fly that succeeded, according to the log.
create function hangar.count_repairs(p_app uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*) from public.user_fly_app_events e
   where e.fly_app_id = p_app and e.created_at > hangar.now() - interval '1 hour'
     and e.event_type = 'action' and e.status = 'succeeded' and e.metadata ->> 'purpose' in ('repair', 'replace')
$$;

-- PL/pgSQL, because every answer contains a row, and as an SQL expression it costs twice as much.
create function hangar.row_json(p_row public.user_fly_apps, p_with_token boolean default false) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return case when p_row.id is not null then
    to_jsonb(p_row) || jsonb_build_object(
      'generation', p_row.generation::text,
      'observed_generation', p_row.observed_generation::text,
      'secrets_version', p_row.secrets_version::text,
      'monthly_cost_estimate_usd', p_row.monthly_cost_estimate_usd::text,
      'price_usd_per_s', p_row.price_usd_per_s::text,
      'admitted_cost_usd', p_row.admitted_cost_usd::text)
    -- Values of an environment may be secrets: only the worker that writes them to the machine gets them.
    || case when p_with_token and p_row.env_version is not null
            then jsonb_build_object('extra_env', hangar.extra_env(p_row.user_id, p_row.tier)) else '{}' end
    || case when p_row.spare_machine_id is not null then jsonb_build_object('keeps_spare', hangar.keeps_spare(p_row), 'home_region', hangar.home_region(p_row)) else '{}' end
    || case when p_with_token then jsonb_build_object('own_secrets', coalesce(hangar.list_own_secrets(p_row), '[]'), 'full_regions', hangar.full_regions_json(p_row.cpu_kind))
            else '{"lease_token": null}'::jsonb end end;
end
$$;
comment on function hangar.row_json(public.user_fly_apps, boolean) is 'The row as the procedures return it: bigints and money as text; the lease token, the further environment, and the regions that are full, only for the worker that holds the lease.';

create function hangar.settings_json() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.to_jsonb(s) - 'only_row' || pg_catalog.jsonb_build_object(
           'max_monthly_cost_usd', s.max_monthly_cost_usd::text,
           'incident_open', exists (select 1 from hangar.alerts a where a.kind = 'incident' and a.key = 'fleet' and a.resolved_at is null))
    from hangar.settings s
$$;
comment on function hangar.settings_json() is 'The settings as the procedures return them: money as text.';

select hangar.restrict_functions();
