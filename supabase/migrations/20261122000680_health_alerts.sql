-- An app that fails must not fail in silence: at the end of each sweep, the alerts about unhealthy apps, and the steps against them.
-- Builds on: app_health, alerts, watchdogs.

create type hangar.unhealthy_app as (
  row_id uuid, user_id uuid, app text, symptom text, kind text, policy text, next text, health hangar.app_health
);

-- The next step for one app. An app whose token the project refuses waits: only a new token helps, and the renewal issues it.
create function hangar.choose_health_step(p_row public.user_fly_apps, p_health hangar.app_health, p_policy text, p_needed integer) returns text
language sql stable set search_path = ''
as $$
  select case when hangar.is_token_refused(p_row) then 'wait' else hangar.next_health_step(p_health, p_row.machine_id, p_policy, p_needed) end
$$;

-- The apps about which something must be said: wanted, without a failure of their own (that has an alert), with enough bad samples. An app
-- in a crash loop has an alert for not staying up.
create function hangar.find_unhealthy() returns setof hangar.unhealthy_app
language sql stable set search_path = ''
as $$
  select a.id, a.user_id, a.fly_app_name, h.symptom,
         case when h.symptom in ('check_critical', 'check_warning', 'check_missing', 'crashes') or hangar.is_down(h.symptom) then 'unhealthy' else 'unknown_health' end,
         coalesce(p.on_unhealthy, 'alert'), hangar.choose_health_step(a, h, coalesce(p.on_unhealthy, 'alert'), g.unhealthy_after), h
    from hangar.app_health h
    join public.user_fly_apps a on a.id = h.fly_app_id
    cross join hangar.settings g
    left join public.fly_plans p on p.tier = a.tier
   where a.deleted_at is null and a.desired_state = 'present' and a.status in ('active', 'provisioning')
     and h.samples >= g.unhealthy_after and (h.well_since is null or h.unsteady)
     and not ((hangar.is_down(h.symptom) or h.symptom = 'crashes') and exists (select 1 from hangar.alerts l
                                    where l.kind = 'crash_loop' and l.key = a.id::text and l.resolved_at is null))
$$;

create function hangar.format_moment(p_at timestamptz) returns text
language sql immutable set search_path = ''
as $$ select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') $$;

-- What Hangar has done and does next about an app, in sentences without commands, because the dashboard shows them too.
create function hangar.describe_health_step(p_health hangar.app_health, p_next text, p_policy text) returns text
language sql stable set search_path = ''
as $$
  select concat_ws(' ',
    case when p_health.restarted_at is not null then format('Hangar restarted the machine at %s.', hangar.format_moment(p_health.restarted_at)) end,
    case when p_health.replaced_at is not null then format('Hangar replaced the machine at %s.', hangar.format_moment(p_health.replaced_at)) end,
    case
      when g.paused and (p_next in ('restart', 'replace') or p_next = 'wait' and hangar.is_down(p_health.symptom)) then 'Hangar is paused, so it changes nothing until somebody resumes it.'
      when p_next = 'restart' then format('Hangar restarts the machine now, once. It decides after %s more bad samples whether that helped.', g.unhealthy_after)
      when p_next = 'replace' and g.deletes_paused then 'Deletions are paused, so Hangar does not replace the machine until somebody allows them.'
      when p_next = 'replace' then format('That did not help, so Hangar replaces the machine now, once. It decides after %s more bad samples whether '
                                          'that helped.', g.unhealthy_after)
      when p_next = 'watch' then format('After %s bad samples Hangar decides on its next step.', g.unhealthy_after)
      when p_next = 'person' and p_health.restarted_at is null then 'The plan allows no repair (on_unhealthy), so Hangar does nothing: a person has to look.'
      when p_next = 'person' then 'Hangar does nothing more: a person has to look.'
      when hangar.is_down(p_health.symptom) then 'Hangar brings the machine up as for every app, and looks again in every sweep.'
      when p_health.symptom = 'crashes' then 'The program was started again each time, so Hangar changes nothing. The alert ends when it has not failed for six hours.'
      else 'Hangar changes nothing because of this, and looks again in every sweep.' end)
    from hangar.settings g
$$;

create function hangar.describe_unhealthy(p_app hangar.unhealthy_app) returns text
language sql stable set search_path = ''
as $$
  select format('The app %s of user %s %s (since %s): %s. %s What the app itself says: `hangar logs %s`. What is next: `hangar explain %s`%s',
    p_app.app, p_app.user_id, case p_app.kind when 'unhealthy' then 'is unhealthy' else 'cannot be judged' end,
    hangar.format_moment((p_app.health).since), (p_app.health).detail, hangar.describe_health_step(p_app.health, p_app.next, p_app.policy),
    p_app.user_id, p_app.user_id,
    case when p_app.symptom = 'denied' then format('. If the app was deleted and somebody else has its name now, run `hangar retry %s --new-name '
                                                   '--reason "…"`: if Fly''s lists prove it, the user gets an app with another name', p_app.user_id)
         when p_app.next = 'person' then format('. When the cause is corrected, `hangar retry %s` lets Hangar try again', p_app.user_id) else '' end)
$$;

-- What the alert of an app says, in codes: while this is unchanged, the alert is.
create function hangar.health_state(p_app hangar.unhealthy_app) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('symptom', p_app.symptom, 'detail', coalesce((p_app.health).detail, ''), 'next', p_app.next,
                            'paused', g.paused, 'deletes_paused', g.deletes_paused)
    from hangar.settings g
$$;

-- One alert for the whole fleet about a symptom that concerns the organisation.
create function hangar.check_fleet_symptom(p_symptom text, p_found hangar.unhealthy_app[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_apps bigint;
  v_some text;
  v_detail text;
begin
  select count(*), string_agg(f.app, ', ' order by f.app) filter (where f.nr <= 3), max((f.health).detail) filter (where f.nr = 1)
    into v_apps, v_some, v_detail
    from (select u.*, row_number() over (order by u.app) as nr from unnest(p_found) u where u.symptom = p_symptom) f;
  if v_apps = 0 then
    perform hangar.resolve_alert(p_symptom, 'fleet');
    return;
  end if;
  perform hangar.raise_alert(p_symptom, 'fleet', case p_symptom
    when 'wrong_organisation' then format(
      'Fly lists no app of this installation and answers 403 for %s app(s): %s%s. FLY_API_TOKEN most likely belongs to another organisation '
      'than fly_org_slug. Hangar destroys and creates nothing because of this, and looks again in every sweep. Set FLY_API_TOKEN of the '
      'functions to a token of the organisation that owns the apps', v_apps, v_some, case when v_apps > 3 then ', …' else '' end)
    else format(
      'Fly''s lists do not show %s app(s) that a direct look finds: %s%s. Fly says: %s. Hangar changes nothing because of this, and looks '
      'again in every sweep. Look at Fly''s status page', v_apps, v_some, case when v_apps > 3 then ', …' else '' end, v_detail) end,
    jsonb_build_object('apps', v_apps));
end
$$;

-- Whether so many apps are unhealthy at once that they are one incident. An open one ends at half of the limit, so that it does not open
-- and close with every app.
create function hangar.check_health_incident(p_found hangar.unhealthy_app[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_open boolean := exists (select 1 from hangar.alerts l where l.kind = 'incident' and l.key = 'health' and l.resolved_at is null);
  v_fleet bigint := (select count(*) from public.user_fly_apps a where a.deleted_at is null and a.desired_state <> 'legacy');
  v_limit numeric := (select greatest(g.incident_floor, g.incident_share * v_fleet) from hangar.settings g);
  v_apps bigint;
  v_symptoms text;
  v_some text;
begin
  select sum(s.apps), string_agg(format('%s: %s', s.symptom, s.apps), ', ' order by s.apps desc, s.symptom), min(s.first_app)
    into v_apps, v_symptoms, v_some
    from (select u.symptom, count(*) as apps, min(format('%s (%s)', u.app, (u.health).detail)) as first_app
            from unnest(p_found) u
           group by u.symptom) s;
  if coalesce(v_apps, 0) <= (case when v_open then v_limit / 2 else v_limit end) then
    perform hangar.resolve_alert('incident', 'health');
    return false;
  end if;
  perform hangar.raise_alert('incident', 'health',
    format('%s of %s apps are unhealthy or cannot be judged at once (%s). Hangar takes that for one incident: it restarts and replaces none of '
      'them, and they have no alerts of their own. For example %s. Look at Fly''s status page, and at what was changed last: the image, a plan, '
      'a setting. If it is no incident, raise incident_share in hangar.settings', v_apps, v_fleet, v_symptoms, v_some),
    jsonb_build_object('unhealthy', v_apps, 'fleet', v_fleet, 'symptoms', v_symptoms));
  return true;
end
$$;

-- The alerts of single apps: each app has at most one, and none while the many are one incident.
create function hangar.check_health_alerts(p_single hangar.unhealthy_app[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_app hangar.unhealthy_app;
begin
  update hangar.alerts l set resolved_at = hangar.now()
   where l.kind in ('unhealthy', 'unknown_health') and l.resolved_at is null
     and (l.kind, l.key) not in (select u.kind, u.row_id::text from unnest(p_single) u);
  for v_app in
    select u.* from unnest(p_single) u
     where not exists (select 1 from hangar.alerts l where l.kind = u.kind and l.key = u.row_id::text and l.resolved_at is null
                                                       and l.metadata @> hangar.health_state(u))
     order by (u.health).since, u.row_id limit 500
  loop
    perform hangar.raise_alert(v_app.kind, v_app.row_id::text, hangar.describe_unhealthy(v_app), jsonb_strip_nulls(jsonb_build_object(
      'user_id', v_app.user_id, 'app', v_app.app, 'since', (v_app.health).since, 'restarted_at', (v_app.health).restarted_at,
      'replaced_at', (v_app.health).replaced_at)) || hangar.health_state(v_app));
  end loop;
end
$$;

-- Lets the next step of each app become due, and takes back a step that no longer holds. A leased row waits for the next sweep.
create function hangar.set_health_steps(p_single hangar.unhealthy_app[]) returns void
language sql volatile set search_path = ''
as $$
  with due as (
    select u.row_id, u.next from unnest(p_single) u cross join hangar.settings g
     where u.next = 'restart' and not g.paused or u.next = 'replace' and not (g.paused or g.deletes_paused)
  ), changed as (
    select a.id, d.next from public.user_fly_apps a left join due d on d.row_id = a.id and a.status = 'active'
     where a.id in (select d.row_id from due d union select b.id from public.user_fly_apps b where b.health_step is not null)
       and a.health_step is distinct from d.next
       and (a.lease_expires_at is null or a.lease_expires_at <= hangar.now())
     order by a.id limit 500
       for no key update of a skip locked
  )
  update public.user_fly_apps a
     set health_step = c.next, next_attempt_at = case when c.next is null then a.next_attempt_at else least(a.next_attempt_at, hangar.now()) end
    from changed c where a.id = c.id
$$;

-- An app that is no longer wanted has no health. If its user returns, Hangar starts from nothing.
create function hangar.forget_unwanted_health() returns void
language sql volatile set search_path = ''
as $$
  delete from hangar.app_health h using public.user_fly_apps a
   where a.id = h.fly_app_id and (a.deleted_at is not null or a.desired_state = 'absent')
$$;

-- The end of every sweep: what is wrong with the fleet as of now, in alerts and next steps.
create function hangar.check_health() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_found hangar.unhealthy_app[] := array(select u from hangar.find_unhealthy() u);
  -- Many apps that are down at once are the sweep's own incident, which repairs a few with each sweep.
  v_swept boolean := exists (select 1 from hangar.alerts l where l.kind = 'incident' and l.key = 'fleet' and l.resolved_at is null);
  v_single hangar.unhealthy_app[] := array(select u from unnest(v_found) u
                                            where not hangar.is_fleet_symptom(u.symptom) and not (v_swept and hangar.is_down(u.symptom)));
begin
  perform hangar.check_fleet_symptom('wrong_organisation', v_found), hangar.check_fleet_symptom('unlisted', v_found);
  if hangar.check_health_incident(v_single) then
    v_single := '{}';
  end if;
  perform hangar.check_health_alerts(v_single), hangar.set_health_steps(v_single), hangar.forget_unwanted_health();
end
$$;

-- What is known to be wrong with one app, for reports; null when nothing is.
create function hangar.symptom_json(p_row public.user_fly_apps) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('code', h.symptom, 'detail', h.detail, 'since', h.since, 'samples', h.samples, 'needed', g.unhealthy_after,
           'restarted_at', h.restarted_at, 'replaced_at', h.replaced_at, 'next', s.next,
           'judged', hangar.symptom_remedy(h.symptom) <> 'wait' or h.symptom in ('check_warning', 'crashes') or hangar.is_down(h.symptom),
           'incident', exists (select 1 from hangar.alerts l where l.kind = 'incident' and l.key = 'health' and l.resolved_at is null),
           'says', hangar.describe_health_step(h, s.next, s.policy))
    from hangar.app_health h
    cross join hangar.settings g
    left join public.fly_plans p on p.tier = p_row.tier
    cross join lateral (select coalesce(p.on_unhealthy, 'alert') as policy,
                               hangar.choose_health_step(p_row, h, coalesce(p.on_unhealthy, 'alert'), g.unhealthy_after) as next) s
   where h.fly_app_id = p_row.id and h.samples > 0 and (h.well_since is null or h.unsteady)
     and p_row.deleted_at is null and p_row.desired_state = 'present'
$$;

select hangar.restrict_functions();
