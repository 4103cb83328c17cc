-- The calls with which workers move releases on. An error of one release stops that release, and nothing else.
-- Builds on: release_advance.

-- Errors that may pass by themselves: a lock, a deadlock, a cancelled statement, or a server without memory, disk or connections.
create function hangar.is_passing_error(p_sqlstate text) returns boolean
language sql immutable set search_path = ''
as $$ select p_sqlstate in ('55P03', '57014') or pg_catalog.left(p_sqlstate, 2) in ('08', '40', '53', '58') $$;

-- A release could not be moved on. What may pass is tried again for ten minutes; then, or at once with another error, the release pauses. One
-- that is paused or goes back stays in its state, and is tried again with every drain. p_release: as it was before the error.
create function hangar.stop_for_error(p_release hangar.releases, p_sqlstate text, p_error text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_reason text := left(format('it could not be moved on: %s', p_error), 500);
begin
  if hangar.is_passing_error(p_sqlstate) and coalesce(p_release.error_since > hangar.now() - interval '10 minutes', true) then
    update hangar.releases r set error_since = coalesce(r.error_since, hangar.now()) where r.id = p_release.id;
    return;
  end if;
  if p_release.state = 'rolling' then
    perform hangar.pause_release(p_release, p_release.wave, v_reason, 'No further app moves', false);
  else
    perform hangar.raise_alert('release_failed', p_release.id::text,
      format('Release %s is %s, and %s. Hangar tries again with every drain. Look at `hangar release status %s`', p_release.id,
        replace(p_release.state, '_', ' '), v_reason, p_release.id),
      jsonb_build_object('release', p_release.id, 'wave', p_release.wave));
  end if;
  update hangar.releases r set error_since = null where r.id = p_release.id;
end
$$;

-- The machines of this release to look at, which no other worker gets meanwhile: one restart of a canary is enough.
create function hangar.take_looks(p_release hangar.releases, p_limit integer) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_looks jsonb := hangar.find_looks(p_release, p_limit);
begin
  update hangar.release_targets t
     set reserved_until = hangar.now() + case when jsonb_typeof(l -> 'proof') = 'string' then interval '60 seconds' else interval '30 seconds' end
    from jsonb_array_elements(v_looks) l
   where t.release_id = p_release.id and t.row_id = (l ->> 'row_id')::uuid;
  return v_looks;
end
$$;

-- Moves one release on by one step. An error undoes the step. `cancelled`: the statement has run for too long, so nothing more is begun in it.
create function hangar.try_advance(p_release hangar.releases, p_looks integer, out moved integer, out looks jsonb, out cancelled boolean)
language plpgsql volatile set search_path = ''
as $$
declare
  v_release hangar.releases;
begin
  cancelled := false;
  moved := hangar.advance_release(p_release);
  update hangar.releases r set error_since = null where r.id = p_release.id and r.error_since is not null;
  select r.* into v_release from hangar.releases r where r.id = p_release.id;
  looks := hangar.take_looks(v_release, greatest(p_looks, 0));
exception when query_canceled or others then
  moved := 0;
  looks := '[]';
  cancelled := sqlstate = '57014';
  perform hangar.stop_for_error(p_release, sqlstate, sqlerrm);
end
$$;

create function public.fly_record_release_looks(p_looks jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_look jsonb;
  v_release hangar.releases;
  v_target hangar.release_targets;
  v_read_at timestamptz;
  v_recorded integer := 0;
begin
  if p_looks is null or jsonb_typeof(p_looks) <> 'array' then
    raise exception 'p_looks must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_limit('looks in one call', greatest(jsonb_array_length(p_looks), 1), 500);
  perform pg_advisory_xact_lock(hashtextextended('hangar.releases', 0));
  for v_look in select l from jsonb_array_elements(p_looks) l order by l ->> 'row_id' loop
    perform hangar.check_keys('look', v_look, array['release', 'row_id', 'since', 'read_at', 'verdict', 'code', 'detail', 'digest', 'instance']);
    if v_look ->> 'verdict' is null or v_look ->> 'verdict' not in ('good', 'bad', 'dead', 'unknown', 'asleep', 'restarted') then
      raise exception 'verdict must be good, bad, dead, unknown, asleep or restarted, not %', coalesce(v_look ->> 'verdict', 'null')
        using errcode = 'invalid_parameter_value';
    end if;
    select r.* into v_release from hangar.releases r where r.id = (v_look ->> 'release')::integer;
    -- A look that was taken before the target moved on, or before its user left or changed the plan, says nothing about it. Nor does one at
    -- a program whose token the project refuses.
    select t.* into v_target from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id
     where t.release_id = v_release.id and t.row_id = (v_look ->> 'row_id')::uuid and t.applied_at = (v_look ->> 'since')::timestamptz
       and (t.state = 'verifying' or t.state = 'done' and not t.must_go_back)
       and a.deleted_at is null and a.desired_state = 'present' and a.generation = t.generation and (t.goes_back or not hangar.was_token_refused(a));
    continue when v_target.row_id is null;
    v_read_at := (v_look ->> 'read_at')::timestamptz;
    -- A worker that was slow brings what was true before another one's look. Only its restart of the canary is news in any case.
    continue when v_read_at < v_target.read_at and (v_look ->> 'verdict' <> 'restarted' or v_target.restarted_at is not null);
    update hangar.release_targets t set read_at = greatest(t.read_at, v_read_at), reserved_until = null
     where t.release_id = v_target.release_id and t.row_id = v_target.row_id returning t.* into v_target;
    v_recorded := v_recorded + 1;
    begin
      perform hangar.record_look(v_release, v_target, v_look);
    exception when others then
      perform hangar.stop_for_error(v_release, sqlstate, sqlerrm);
    end;
  end loop;
  return jsonb_build_object('recorded', v_recorded);
end
$$;
comment on function public.fly_record_release_looks(jsonb) is 'What was found on machines that a release has moved. docs/database.md.';

create function public.fly_advance_releases(p_looks integer default 50) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_release hangar.releases;
  v_active integer := 0;
  v_moved integer := 0;
  v_renewed integer;
  v_step record;
  v_looks jsonb := '[]'::jsonb;
begin
  perform hangar.check_limit('p_looks', p_looks, 500);
  v_renewed := hangar.renew_tokens();
  perform hangar.wake_spares();
  -- Most calls end here: an idle installation pays for one look at a small index.
  if not exists (select 1 from hangar.releases r where r.state in ('rolling', 'rolling_back', 'paused')) then
    return jsonb_build_object('active', 0, 'moved', v_renewed, 'looks', v_looks, 'now', hangar.now());
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('hangar.releases', 0)) then
    return jsonb_build_object('active', null, 'moved', v_renewed, 'looks', v_looks, 'now', hangar.now());  -- another worker advances them at this moment
  end if;
  for v_release in
    select r.* from hangar.releases r
     where r.state in ('rolling', 'rolling_back')
        or r.state = 'paused' and exists (select 1 from hangar.release_targets t
             where t.release_id = r.id and (t.state in ('applying', 'verifying') or t.must_go_back))
        -- A failure has paused it: what it moved in the last hour may fail as well.
        or r.state = 'paused' and r.failed_at > hangar.now() - interval '1 hour'
     order by r.error_since nulls first, r.id for no key update
  loop
    v_active := v_active + 1;
    select s.* into v_step from hangar.try_advance(v_release, p_looks - jsonb_array_length(v_looks)) s;
    v_moved := v_moved + v_step.moved;
    v_looks := v_looks || v_step.looks;
    exit when v_step.cancelled;  -- the time of this call was up
  end loop;
  return jsonb_build_object('active', v_active, 'moved', v_moved + v_renewed, 'looks', v_looks, 'now', hangar.now());
end
$$;
comment on function public.fly_advance_releases(integer) is 'Moves releases on: judges, pauses, puts back, opens waves; returns the machines to look at. docs/database.md.';

select hangar.restrict_functions();
