-- What an operator changes in a plan, with an entry in the audit log. Plain SQL may do the same without one.
-- Builds on: tables (fly_plans), audit_log, access (the actor and the guard of plans).

-- The form of each column that an operator may set. `example` is what a value must be.
create function hangar.plan_rules() returns table (name text, kind text, may_be_null boolean, form text, example text)
language sql immutable set search_path = ''
as $$
  values
    ('dedicated', 'boolean', false, null::text, 'true or false'),
    ('cpu_kind', 'text', false, '^(shared|performance)$', 'shared or performance'),
    ('cpu_count', 'number', false, '^\d{1,3}$', 'a number of vCPUs'),
    ('memory_mb', 'number', false, '^\d{1,7}$', 'a number of MB'),
    ('region', 'text', true, '^\s*[a-zA-Z]{2,4}(\s*,\s*[a-zA-Z]{2,4})*\s*$', 'a region of Fly or a list in order of preference, like sin or sin,nrt, or null for the default'),
    ('docker_image', 'text', true, hangar.image_pattern(),
     'an image with a tag or a digest, like registry.fly.io/my-app:v1, or null for the default'),
    ('power', 'text', false, '^(always_on|on_demand)$', 'always_on or on_demand'),
    ('public_service', 'boolean', false, null, 'true or false'),
    ('grace_s', 'number', false, '^\d{1,9}$', 'a number of seconds, 0 or more'),
    ('price_usd', 'number', true, '^\d{1,8}(\.\d{1,2})?$', 'an amount in USD like 29 or 29.50, or null'),
    ('rank', 'number', true, '^-?\d{1,9}$', 'a whole number, or null'),
    ('on_unhealthy', 'text', false, '^(alert|restart|replace)$', 'alert, restart or replace')
$$;

-- Why these values cannot be set, as sentences with the column, what is allowed and what was given; null if they can be.
create function hangar.explain_refused_plan(p_changes jsonb) returns text
language sql immutable set search_path = ''
as $$
  select pg_catalog.string_agg(pg_catalog.format('%s must be %s, not %s', c.key, r.example, pg_catalog.left(c.value::text, 80)), '; ' order by c.key)
    from pg_catalog.jsonb_each(p_changes) c
    join hangar.plan_rules() r on r.name = c.key
   where not case
     when pg_catalog.jsonb_typeof(c.value) = 'null' then r.may_be_null
     when r.kind = 'boolean' then pg_catalog.lower(c.value #>> '{}') in ('true', 'false')
     else pg_catalog.jsonb_typeof(c.value) in ('string', 'number') and (c.value #>> '{}') ~ r.form end
$$;

-- Why these variables of a plan cannot be set or removed (null), as a sentence without a value; null if they can be.
create function hangar.explain_refused_plan_env(p_plan public.fly_plans, p_env jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_missing text;
begin
  if p_env is null or jsonb_typeof(p_env) <> 'object' then
    return hangar.explain_refused_env(p_env);
  end if;
  select string_agg(left(e.key, 60), ', ' order by e.key) into v_missing from jsonb_each(p_env) e where e.value = 'null' and not coalesce(p_plan.env ? e.key, false);
  return coalesce(hangar.explain_refused_env(jsonb_strip_nulls(p_env)), case when v_missing is not null then format('env has no variable %s; it has: %s',
    v_missing, coalesce((select string_agg(k, ', ' order by k) from jsonb_object_keys(p_plan.env) k), 'none')) end);
end
$$;

-- Which variables a change sets and removes: names only, because a value may be a secret.
create function hangar.describe_env_change(p_from jsonb, p_to jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'set', (select pg_catalog.jsonb_agg(t.key order by t.key) from pg_catalog.jsonb_each(p_to) t where p_from -> t.key is distinct from t.value),
    'removed', (select pg_catalog.jsonb_agg(k order by k) from pg_catalog.jsonb_object_keys(p_from) k where not p_to ? k)))
$$;

create function public.fly_set_plan(
  p_tier text, p_changes jsonb, p_actor text, p_reason text default null, p_create boolean default false
) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_names text := (select string_agg(p.tier, ', ' order by p.tier) from public.fly_plans p);
  v_problem text;
  v_before public.fly_plans;
  v_after public.fly_plans;
  v_changed jsonb;
begin
  perform hangar.require_actor(p_actor);
  perform hangar.check_keys('plan', p_changes, (select array_agg(r.name order by r.name) || array['env'] from hangar.plan_rules() r));
  v_problem := hangar.explain_refused_plan(p_changes - 'env');
  if v_problem is not null then
    raise exception '%', v_problem using errcode = 'invalid_parameter_value';
  end if;
  select p.* into v_before from public.fly_plans p where p.tier = p_tier for no key update;
  if v_before.tier is null and not coalesce(p_create, false) then
    raise exception 'there is no plan %; the plans are: %', coalesce(p_tier, 'null'), coalesce(v_names, 'none') using errcode = 'invalid_parameter_value';
  elsif v_before.tier is null and coalesce(p_tier, '') !~ '^\S(.{0,98}\S)?$' then
    raise exception 'a tier has 1 to 100 characters, without space around them, not %', coalesce(quote_literal(p_tier), 'null')
      using errcode = 'invalid_parameter_value';
  elsif v_before.tier is not null and p_create then
    raise exception 'the plan % exists already, so nothing was changed', p_tier using errcode = 'PT409';
  end if;
  if p_changes ? 'env' then
    v_problem := hangar.explain_refused_plan_env(v_before, p_changes -> 'env');
    if v_problem is not null then
      raise exception 'plan %: %', p_tier, v_problem using errcode = 'invalid_parameter_value';
    end if;
  end if;
  if v_before.tier is null then
    insert into public.fly_plans (tier, dedicated) values (p_tier, true) returning * into v_after;
  else
    v_after := v_before;
  end if;
  v_after := jsonb_populate_record(v_after, p_changes - 'env');
  v_after.env := jsonb_strip_nulls(v_after.env || coalesce(p_changes -> 'env', '{}'));
  update public.fly_plans p
     set dedicated = v_after.dedicated, cpu_kind = v_after.cpu_kind, cpu_count = v_after.cpu_count, memory_mb = v_after.memory_mb,
         region = v_after.region, docker_image = v_after.docker_image, power = v_after.power, public_service = v_after.public_service,
         grace_s = v_after.grace_s, price_usd = v_after.price_usd, rank = v_after.rank, on_unhealthy = v_after.on_unhealthy,
         env = v_after.env
   where p.tier = p_tier and to_jsonb(p) is distinct from to_jsonb(v_after)
  returning p.* into v_after;
  if not found then
    select p.* into v_after from public.fly_plans p where p.tier = p_tier;
  end if;
  select coalesce(jsonb_object_agg(r.name, jsonb_build_object('from', to_jsonb(v_before) -> r.name, 'to', to_jsonb(v_after) -> r.name)), '{}')
    into v_changed
    from hangar.plan_rules() r where to_jsonb(v_after) -> r.name is distinct from to_jsonb(v_before) -> r.name;
  if v_after.env is distinct from coalesce(v_before.env, '{}') then
    v_changed := v_changed || jsonb_build_object('env', hangar.describe_env_change(coalesce(v_before.env, '{}'), v_after.env));
  end if;
  if v_changed <> '{}' then
    insert into public.user_fly_app_events (event_type, status, metadata)
    values ('plan_changed', 'info', jsonb_strip_nulls(jsonb_build_object('tier', p_tier, 'changes', v_changed, 'actor', p_actor, 'reason', nullif(p_reason, ''))));
  end if;
  return jsonb_build_object('tier', p_tier, 'created', v_before.tier is null,
    'changed', (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(v_changed) k),
    'plan', to_jsonb(v_after) - 'env',
    'env', (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(v_after.env) k),
    'drift', hangar.count_differing(p_tier),
    'apps', (select count(*) from public.user_fly_apps a where a.tier = p_tier and a.deleted_at is null and a.desired_state = 'present'));
end
$$;
comment on function public.fly_set_plan(text, jsonb, text, text, boolean) is 'Changes columns of a plan, all of them or none, or adds a plan, and records who did. docs/database.md.';

select hangar.restrict_functions();
