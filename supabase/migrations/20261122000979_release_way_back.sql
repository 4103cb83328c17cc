-- What ends the way back of an app that does not become well on what it ran before.
-- Builds on: release_moves, refusals.

-- Errors that say nothing about the release: no room, a busy machine, a limit, an outage, or a refusal of the whole organisation. An app
-- with such an error waits, and is skipped if it lasts.
create function hangar.is_release_fault(p_code text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_code in ('image', 'size', 'start_failed', 'no_progress', 'refused', 'unsupported', 'crash_loop', 'machine_failed'), false)
$$;

-- Why an app whose machine was changed by somebody else during the release is left out of it.
create function hangar.skip_changed_target(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_pin hangar.user_pins;
begin
  select n.* into v_pin from hangar.user_pins n where n.user_id = p_row.user_id and (n.ends_at is null or n.ends_at > hangar.now());
  if hangar.is_pinned(v_pin, p_release) then
    perform hangar.skip_target(p_target, 'pinned', 'the user was pinned after the release had begun');
  else
    perform hangar.skip_target(p_target, 'changed', 'the user has another plan by now');
  end if;
end
$$;

-- How long a way back may take after its deadline. A slow start has ten minutes in all, or the deadline if that is longer. What may end
-- without Hangar (a lease, a host out of reach, an outage) has one hour more.
create function hangar.way_back_extra(p_release hangar.releases, p_target hangar.release_targets, p_row public.user_fly_apps) returns interval
language sql immutable set search_path = ''
as $$
  select pg_catalog.make_interval(secs => case
    when hangar.is_release_fault(p_row.error_code) or p_row.error_code is not null and p_target.ends_as = 'skipped'
      or p_target.state = 'verifying' and coalesce(p_target.look_code, 'bad') not in ('host_unreachable', 'unreadable', 'rate_limited', 'gone')
      then greatest(0, 600 - p_release.deadline_s::double precision)
    else 3600 end)
$$;

-- The release no longer waits for this app. The row still desires what the app ran before, so Hangar reconciles it like every other app, and
-- the app's own alert stays open. Otherwise this app could never take part in a later release.
create function hangar.end_way_back(p_target hangar.release_targets, p_row public.user_fly_apps) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_target hangar.release_targets;
  v_found text := coalesce(p_row.error_message, p_target.look_reason, 'Fly has not made the change yet');
begin
  update hangar.release_targets t
     set goes_back = false, must_go_back = false,
         -- An app that was unhealthy before the release has its former state back.
         state = case when t.state = 'verifying' and t.was_unhealthy or t.ends_as = 'skipped' then t.ends_as else 'failed' end,
         reason_code = coalesce(t.reason_code, p_row.error_code, t.look_code, 'deadline'),
         reason = left(concat_ws('. ', left(t.reason, 200), format('It is not well on its former machine: %s', v_found)), 500)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
  returning t.* into v_target;
  perform hangar.record_target(v_target, 'not_back', v_found);
end
$$;

select hangar.restrict_functions();
