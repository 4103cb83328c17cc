-- Apps of a release whose token the project refuses. Without its user's data a program fails with every image.
-- Builds on: release_moves, signing_keys.

-- Whether what is wrong with this app says nothing about the release, because the project refuses its token.
create function hangar.blames_token(p_row public.user_fly_apps) returns boolean
language sql stable set search_path = ''
as $$
  select hangar.was_token_refused(p_row)
     and (p_row.status <> 'error' or coalesce(p_row.error_code in ('start_failed', 'crash_loop', 'machine_failed'), true))
$$;

-- Whether the project refuses the token of this target's app, which has to wait for another one.
create function hangar.waits_for_token(p_target hangar.release_targets) returns boolean
language sql stable set search_path = ''
as $$ select exists (select 1 from public.user_fly_apps a where a.id = p_target.row_id and hangar.was_token_refused(a)) $$;

-- Lets the app wait for a new token: its deadline and one hour. An app that has none by then goes back and is left out.
create function hangar.wait_for_token(p_release hangar.releases, p_target hangar.release_targets, p_judge boolean) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  if p_target.reason_code is distinct from 'token_refused' then
    update hangar.release_targets t
       set good_since = null, restarted_at = null, restart_refused_at = null, reason_code = 'token_refused', reason = null,
           deadline_at = hangar.now() + make_interval(secs => p_release.deadline_s::double precision) + interval '1 hour'
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
  elsif p_judge and p_target.deadline_at <= hangar.now() then
    update hangar.release_targets t set state = 'failed', must_go_back = true, ends_as = 'skipped'
     where t.release_id = p_target.release_id and t.row_id = p_target.row_id;
  end if;
end
$$;

-- The app has a token that the project accepts. It is proved from the beginning.
create function hangar.judge_again(p_release hangar.releases, p_target hangar.release_targets) returns void
language sql volatile set search_path = ''
as $$
  update hangar.release_targets t
     set reason_code = null, deadline_at = hangar.now() + pg_catalog.make_interval(secs => p_release.deadline_s::double precision)
   where t.release_id = p_target.release_id and t.row_id = p_target.row_id
$$;

select hangar.restrict_functions();
