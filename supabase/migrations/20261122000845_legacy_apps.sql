-- Apps of the original system that no operator has decided about: counted, shown, and left alone.
-- Builds on: original_system, app_tables, entitlement, alerts.

create function hangar.count_legacy_apps() returns bigint
language sql stable set search_path = ''
as $$ select pg_catalog.count(*) from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'legacy' $$;

-- Raises 409 if the user's app is a legacy one: what an operator asks for would act on an app that is not Hangar's yet.
create function hangar.refuse_legacy(p_user uuid) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_app text := (select a.fly_app_name from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null and a.desired_state = 'legacy');
begin
  if v_app is not null then
    raise exception 'the app % is of the original system, and Hangar does nothing with it until `hangar adopt % --apply` takes it over', v_app, p_user
      using errcode = 'PT409';
  end if;
end
$$;

-- One alert while legacy apps belong to users who are no longer entitled: they cost money, and nothing removes them.
create function hangar.check_legacy_apps() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_users uuid[] := array(select a.user_id from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'legacy');
  v_apps bigint := 0;
  v_usd numeric;
  v_some text;
begin
  if v_users <> '{}' then
    select count(*), sum(f.monthly_cost_estimate_usd),
           string_agg(format('%s (user %s)', f.fly_app_name, f.user_id), ', ' order by f.nr) filter (where f.nr <= 3)
      into v_apps, v_usd, v_some
      from (select a.fly_app_name, a.user_id, a.monthly_cost_estimate_usd, row_number() over (order by a.fly_app_name) as nr
              from hangar.entitlements(v_users) e join public.user_fly_apps a on a.user_id = e.user_id and a.deleted_at is null
             where e.entitled = false) f;
  end if;
  if v_apps = 0 then
    perform hangar.resolve_alert('legacy_unpaid', 'fleet');
    return;
  end if;
  perform hangar.raise_alert('legacy_unpaid', 'fleet',
    format('%s app(s) of the original system belong to users who are not entitled to one, and may still run, for about %s USD a month: %s%s. Hangar '
      'does nothing with them before an operator decides. `hangar adopt` shows each of them; after `hangar adopt USER --apply` Hangar removes the app',
      v_apps, coalesce(v_usd, 0), v_some, case when v_apps > 3 then ', …' else '' end),
    jsonb_build_object('apps', v_apps));
end
$$;

select hangar.restrict_functions();
