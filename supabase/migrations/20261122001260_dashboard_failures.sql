-- What the dashboard shows about apps that fail, grouped by cause, and what a release of the brake would remove.
-- Builds on: operator (retries), host_loss, limits, orphan_records, dashboard_search.

-- Since when each failing app fails for its present cause, so that no page has to search the audit log for it.
create table hangar.failing_apps (
  fly_app_id uuid primary key references public.user_fly_apps (id) on delete cascade,
  cause text not null,
  since timestamptz not null
);
comment on table hangar.failing_apps is 'Each app whose last attempt failed, with the cause (its error code) and since when it fails for that cause.';
revoke all on hangar.failing_apps from public, anon, authenticated, service_role;
grant select on hangar.failing_apps to service_role;
alter table hangar.failing_apps enable row level security;
create policy service_role_all on hangar.failing_apps for all to service_role using (true) with check (true);

create function hangar.follow_failure() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.status = 'error' and new.deleted_at is null then
    insert into hangar.failing_apps as f (fly_app_id, cause, since) values (new.id, coalesce(new.error_code, 'error'), hangar.now())
    on conflict (fly_app_id) do update set cause = excluded.cause, since = excluded.since where f.cause <> excluded.cause;
  else
    delete from hangar.failing_apps f where f.fly_app_id = new.id;
  end if;
  return null;
end
$$;
create trigger follow_failure after update of status, error_code, deleted_at on public.user_fly_apps
  for each row when (old.status is distinct from new.status or old.error_code is distinct from new.error_code or old.deleted_at is distinct from new.deleted_at)
  execute function hangar.follow_failure();
create trigger follow_new_failure after insert on public.user_fly_apps
  for each row when (new.status = 'error') execute function hangar.follow_failure();
insert into hangar.failing_apps (fly_app_id, cause, since)
select a.id, coalesce(a.error_code, 'error'), a.updated_at from public.user_fly_apps a
 where a.status = 'error' and a.deleted_at is null and a.desired_state <> 'legacy';

-- The causes, the most urgent first: those that wait for an operator, then those of the most apps. `ready` are the apps that a retry would
-- make due: neither due already nor at work. Each cause has some of its apps, those that are ready and have failed for the longest first.
create function public.fly_admin_failures(p_cause text default null, p_apps integer default 3) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_causes jsonb;
begin
  perform hangar.check_limit('p_apps', p_apps, 200);
  with failing as materialized (
    select a.id, a.user_id, a.fly_app_name, a.tier, a.error_message, a.retry_count, a.next_attempt_at, coalesce(a.error_code, 'error') as cause,
           coalesce(f.since, a.updated_at) as since, a.next_attempt_at is null as is_stuck,
           (a.next_attempt_at is null or a.next_attempt_at > v_now) and coalesce(a.lease_expires_at <= v_now, true) as is_ready,
           coalesce(a.lease_expires_at > v_now, false) as is_leased
      from public.user_fly_apps a left join hangar.failing_apps f on f.fly_app_id = a.id
     where a.deleted_at is null and a.status = 'error' and a.desired_state <> 'legacy' and (p_cause is null or coalesce(a.error_code, 'error') = p_cause)
  ), ranked as (
    select f.*, row_number() over (partition by f.cause order by f.is_ready desc, f.is_stuck desc, f.since, f.id) as nr from failing f
  ), examples as (
    select r.cause, jsonb_agg(jsonb_build_object('user_id', r.user_id, 'email', u.email, 'fly_app_name', r.fly_app_name, 'tier', r.tier,
             'error_message', r.error_message, 'retry_count', r.retry_count, 'next_attempt_at', r.next_attempt_at, 'since', r.since,
             'ready', r.is_ready, 'working', r.is_leased) order by r.nr) as apps
      from ranked r left join lateral (select hangar.user_email(r.user_id) as email) u on true
     where r.nr <= p_apps group by r.cause
  ), counted as (
    select f.cause, count(*) as apps, count(*) filter (where f.is_stuck) as stuck, count(*) filter (where f.is_ready) as ready,
           min(f.since) as since, min(f.next_attempt_at) as next_attempt_at
      from failing f group by f.cause
  )
  select coalesce(jsonb_agg(to_jsonb(c) || jsonb_build_object('some', s.apps) order by c.stuck > 0 desc, c.apps desc, c.cause), '[]')
    into v_causes
    from counted c left join examples s on s.cause = c.cause;
  return jsonb_build_object('now', v_now, 'causes', v_causes);
end
$$;
comment on function public.fly_admin_failures(text, integer) is 'Apps that fail now, grouped by cause: how many, since when, and some of them. docs/database.md.';

-- What a release of the brake lets Hangar remove, by name: at most p_limit of each kind, and how many there are in all.
create function public.fly_admin_brake(p_limit integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_destroyed text[] := (select b.destroyed from hangar.brake_status() b);
  v_losing uuid[] := array(select l.user_id from hangar.host_losses l where not l.confirmed);
begin
  perform hangar.check_limit('p_limit', p_limit, 200);
  return hangar.brake_json() || jsonb_build_object(
    'now', v_now,
    'leaving', (select coalesce(jsonb_agg(jsonb_build_object('user_id', l.user_id, 'email', hangar.user_email(l.user_id),
                         'fly_app_name', l.fly_app_name) order by l.created_at, l.id), '[]')
                  from (select a.* from public.user_fly_apps a
                         where a.deleted_at is null and a.desired_state = 'absent' and (a.delete_after is null or a.delete_after <= v_now)
                           and (a.hold_until is null or a.hold_until <= v_now) and a.id::text <> all (v_destroyed)
                         order by a.created_at, a.id limit p_limit) l),
    'losing', (select coalesce(jsonb_agg(jsonb_build_object('user_id', l.user_id, 'email', hangar.user_email(l.user_id),
                        'fly_app_name', l.fly_app_name) order by l.created_at, l.id), '[]')
                 from (select a.* from public.user_fly_apps a where a.deleted_at is null and a.user_id = any (v_losing)
                        order by a.created_at, a.id limit p_limit) l),
    'losing_apps', cardinality(v_losing),
    'orphans', (select coalesce(jsonb_agg(jsonb_build_object('app', o.app, 'first_seen_at', o.first_seen_at) order by o.app), '[]')
                  from (select * from public.fly_orphans r where hangar.needs_approval(r) order by r.app limit p_limit) o));
end
$$;
comment on function public.fly_admin_brake(integer) is 'fly_brake_status, and by name what a release of the brake lets Hangar remove. docs/database.md.';

select hangar.restrict_functions();
