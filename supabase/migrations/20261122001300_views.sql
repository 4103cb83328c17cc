-- Views for monitoring with plain SQL. They run with the rights of the role that reads them (security_invoker), which is service_role.
-- Builds on: tables, host_binding.

create view public.fly_fleet_summary with (security_invoker = on) as
select a.status,
       count(*) as apps,
       coalesce(sum(a.monthly_cost_estimate_usd), 0)::numeric(12, 2) as monthly_cost_estimate_usd,
       coalesce(sum(a.price_usd_per_s) filter (where a.machine_state = 'started') * 2592000, 0)::numeric(12, 2) as monthly_list_price_usd,
       count(*) filter (where a.next_attempt_at <= hangar.now()) as due,
       min(a.next_attempt_at) as next_attempt_at,
       min(a.created_at) as oldest,
       max(a.updated_at) as last_change
  from public.user_fly_apps a
 where a.deleted_at is null
 group by a.status;
comment on view public.fly_fleet_summary is 'Live apps by status, their estimated monthly cost, and the monthly list price of what runs now.';

create view public.fly_health_summary with (security_invoker = on) as
select coalesce(a.health_status, 'unknown') as health_status,
       count(*) as apps,
       min(a.last_health_check) as oldest_check,
       max(a.last_health_check) as newest_check
  from public.user_fly_apps a
 where a.deleted_at is null
 group by coalesce(a.health_status, 'unknown');
comment on view public.fly_health_summary is 'Live apps by health. An app that was never observed counts as unknown.';

create view public.fly_recent_events with (security_invoker = on) as
select e.event_type, e.status, count(*) as events, max(e.created_at) as latest
  from public.user_fly_app_events e
 where e.created_at > hangar.now() - interval '24 hours'
 group by e.event_type, e.status;
comment on view public.fly_recent_events is 'Events of the last 24 hours by type and status.';

create view public.fly_failures with (security_invoker = on) as
select a.id as fly_app_id, a.user_id, hangar.user_email(a.user_id) as email, a.fly_app_name, a.error_code, a.error_message, a.retry_count,
       a.next_attempt_at, a.desired_state, a.created_at, a.updated_at
  from public.user_fly_apps a
 where a.status = 'error' and a.deleted_at is null and a.desired_state <> 'legacy';
comment on view public.fly_failures is 'Apps whose last attempt failed. If next_attempt_at is null, an operator must act.';

revoke all on public.fly_fleet_summary, public.fly_health_summary, public.fly_recent_events, public.fly_failures
  from public, anon, authenticated, service_role;
grant select on public.fly_fleet_summary, public.fly_health_summary, public.fly_recent_events, public.fly_failures to service_role;
