-- What an operator may set: the rule of each setting, the change of settings, and the kill switch.
-- Builds on: limits, audit_log, settings_log, access (the actor).

-- The range of each setting that an operator may change. The checks of hangar.settings enforce the same bounds on plain SQL; a test
-- compares both. `example` is what a text must look like.
create function hangar.setting_rules()
returns table (setting text, kind text, lowest numeric, highest numeric, may_be_null boolean, form text, example text)
language sql immutable set search_path = ''
as $$
  values
    ('live', 'boolean', null::numeric, null::numeric, false, null::text, null::text),
    ('paused', 'boolean', null, null, false, null, null),
    ('deletes_paused', 'boolean', null, null, false, null, null),
    ('fly_org_slug', 'text', null, null, false, '^[a-z0-9][a-z0-9-]{0,62}$', 'the slug of a Fly organisation, like my-org'),
    ('app_prefix', 'text', null, null, false, '^[a-z][a-z0-9-]{0,38}[a-z0-9]$', '2 to 40 lower-case letters, digits and hyphens, like my-app'),
    ('default_region', 'text', null, null, false, '^\s*[a-zA-Z]{2,4}(\s*,\s*[a-zA-Z]{2,4})*\s*$',
     'a region of Fly or a list in order of preference, like sin or sin,nrt'),
    -- An image without a tag or digest means whatever `latest` is when a machine is made. It is usually a typing error.
    ('default_image', 'text', null, null, false, hangar.image_pattern(),
     'an image with a tag or a digest, like registry.fly.io/my-app:v1'),
    ('retry_base_s', 'number', 1, 604800, false, null, null),
    ('retry_cap_s', 'number', 1, 604800, false, null, null),
    -- One call to Fly, with its repetitions, takes up to 40 s, and Fly may take another 60 s to close it.
    ('lease_s', 'number', 90, 7200, false, null, null),
    ('sweep_lease_s', 'number', 60, 7200, false, null, null),
    ('max_apps', 'whole number', 0, 1000000, true, null, null),
    ('max_monthly_cost_usd', 'number', 0, 9999999999, true, null, null),
    ('brake_floor', 'whole number', 0, 1000000, false, null, null),
    ('brake_share', 'number', 0, 1, false, null, null),
    ('brake_lost', 'whole number', 0, 1000000, false, null, null),
    ('deletes_per_minute', 'whole number', 1, 100, false, null, null),
    ('orphan_after_s', 'number', 0, 604800, false, null, null),
    ('incident_floor', 'whole number', 1, 1000000, false, null, null),
    ('incident_share', 'number', 0, 1, false, null, null),
    ('removal_hold_s', 'number', 0, 604800, false, null, null),
    ('host_loss_floor', 'whole number', 0, 1000000, false, null, null),
    ('host_loss_share', 'number', 0, 1, false, null, null),
    ('unhealthy_after', 'whole number', 1, 100, false, null, null),
    ('bad_sample_gap_s', 'number', 0, 3600, false, null, null),
    ('drift_share', 'number', 0, 1, false, null, null),
    ('token_renewal_share', 'number', 0, 1, false, null, null),
    ('events_retention_days', 'whole number', 30, 36500, true, null, null),
    ('samples_retention_days', 'whole number', 100, 36500, true, null, null),
    ('closed_rows_retention_days', 'whole number', 30, 36500, true, null, null)
$$;

-- Why this value cannot be set, as a sentence with the setting, the allowed values and what was given; null if it can be.
-- A number or a boolean may also come as text, because that is how a command line has it.
create function hangar.explain_refused_setting(p_setting text, p_value jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_rule record;
  v_text text := p_value #>> '{}';
  v_number numeric;
  v_allowed text;
  v_fits boolean := false;
begin
  select r.* into strict v_rule from hangar.setting_rules() r where r.setting = p_setting;
  v_allowed := case v_rule.kind when 'boolean' then 'true or false' when 'text' then v_rule.example
    else format('a %s from %s to %s', v_rule.kind, v_rule.lowest, v_rule.highest) end || case when v_rule.may_be_null then ', or null for no limit' else '' end;
  if jsonb_typeof(p_value) = 'null' then
    v_fits := v_rule.may_be_null;
  elsif v_rule.kind = 'boolean' then
    v_fits := jsonb_typeof(p_value) = 'boolean' or jsonb_typeof(p_value) = 'string' and lower(btrim(v_text)) in ('true', 'false');
  elsif v_rule.kind = 'text' then
    v_fits := jsonb_typeof(p_value) = 'string' and v_text ~ v_rule.form;
  elsif jsonb_typeof(p_value) = 'number' or jsonb_typeof(p_value) = 'string' and v_text ~ '^\s*[+-]?\d{1,20}(\.\d{1,20})?\s*$' then
    v_number := v_text::numeric;
    v_fits := v_number between v_rule.lowest and v_rule.highest and (v_rule.kind = 'number' or v_number = trunc(v_number));
  end if;
  return case when not v_fits then format('%s must be %s, not %s', p_setting, v_allowed, left(p_value::text, 60)) end;
end
$$;

-- Which settings have another value than the caller saw, as a sentence; null if all are as expected.
create function hangar.explain_changed_settings(p_now hangar.settings, p_expected jsonb) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.string_agg(pg_catalog.format('%s is %s by now, not %s', e.key, n.now -> e.key, n.seen -> e.key), ', ' order by e.key)
    from pg_catalog.jsonb_object_keys(p_expected) e (key)
    cross join (select pg_catalog.to_jsonb(p_now) as now, pg_catalog.to_jsonb(pg_catalog.jsonb_populate_record(p_now, p_expected)) as seen) n
   where n.now -> e.key is distinct from n.seen -> e.key
$$;

create function public.fly_set_settings(
  p_changes jsonb, p_actor text, p_reason text default null, p_expected jsonb default null
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_known text[] := (select array_agg(r.setting order by r.setting) from hangar.setting_rules() r);
  v_expected jsonb := coalesce(p_expected, '{}');
  v_problem text;
  v_before hangar.settings;
  v_new hangar.settings;
  v_changed text[];
begin
  perform hangar.require_actor(p_actor);
  perform set_config('hangar.unrecorded', '', true);
  perform hangar.check_keys('settings', p_changes, v_known);
  perform hangar.check_keys('p_expected', v_expected, v_known);
  select string_agg(hangar.explain_refused_setting(c.key, c.value), '; ' order by c.key) into v_problem
    from (select * from jsonb_each(p_changes) union all select * from jsonb_each(v_expected)) c;
  if v_problem is not null then
    raise exception '%', v_problem using errcode = 'invalid_parameter_value';
  end if;
  -- The lock comes before the reading, so that a change is never compared with an older state, nor written over a newer one.
  select * into strict v_before from hangar.settings g where g.only_row for no key update;
  v_problem := hangar.explain_changed_settings(v_before, v_expected);
  if v_problem is not null then
    raise exception 'nothing was changed: %', v_problem using errcode = 'PT409';  -- PostgREST answers 409
  end if;
  v_new := jsonb_populate_record(v_before, p_changes);
  if v_new.retry_cap_s < v_new.retry_base_s then
    raise exception 'retry_cap_s (%) must be at least retry_base_s (%)', v_new.retry_cap_s, v_new.retry_base_s
      using errcode = 'invalid_parameter_value';
  end if;
  select coalesce(array_agg(c.key order by c.key), '{}') into v_changed
    from jsonb_object_keys(p_changes) c (key) where to_jsonb(v_new) -> c.key is distinct from to_jsonb(v_before) -> c.key;
  if v_changed <> '{}' then
    perform hangar.set_actor(p_actor, p_reason);
    -- Only the columns that were named and differ. `row(…)`, because one column in parentheses is not a row.
    execute format('update hangar.settings set (%1$s) = row(%2$s) where only_row',
      (select string_agg(quote_ident(c), ', ') from unnest(v_changed) c), (select string_agg('($1).' || quote_ident(c), ', ') from unnest(v_changed) c))
      using v_new;
    perform hangar.clear_actor();
  end if;
  if v_before.deletes_paused and not v_new.deletes_paused then
    perform hangar.resume_deletions();
  end if;
  -- A stop that the audit log does not have, and why (hangar.note_unrecorded_stop).
  return jsonb_build_object('settings', hangar.settings_json(), 'changed', to_jsonb(v_changed),
    'unrecorded', nullif(current_setting('hangar.unrecorded', true), ''));
end
$$;
comment on function public.fly_set_settings(jsonb, text, text, jsonb) is 'Changes the named settings, all of them or none, and records who did. docs/database.md.';

-- Makes apps due that stopped because of a pause: the 500 that would be due next. The others keep their own time, which a pause sets to
-- at most a minute. Rows that wait after a failure, or for the end of their grace, keep their time too.
-- A row that another transaction holds is left out, so that the switch never waits for one.
create function hangar.resume_work() returns void
language sql volatile set search_path = ''
as $$
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.next_attempt_at > hangar.now() and a.status in ('provisioning', 'deprovisioning')
       and (a.delete_after is null or a.delete_after <= hangar.now()) and (a.hold_until is null or a.hold_until <= hangar.now())
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = hangar.now() from waiting w where a.id = w.id
$$;

create function public.fly_set_paused(p_paused boolean, p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_done jsonb;
begin
  if p_paused is null then
    raise exception 'p_paused must be true or false' using errcode = 'invalid_parameter_value';
  end if;
  v_done := public.fly_set_settings(jsonb_build_object('paused', p_paused), p_actor, p_reason);
  if not p_paused then
    perform hangar.resume_work();
  end if;
  return jsonb_build_object('paused', p_paused, 'changed', v_done -> 'changed' ? 'paused', 'unrecorded', v_done -> 'unrecorded');
end
$$;
comment on function public.fly_set_paused(boolean, text, text) is 'The kill switch: while paused, Hangar changes nothing on Fly. docs/database.md.';

select hangar.restrict_functions();
