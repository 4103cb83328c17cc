-- Moves to another region: a machine cannot change its region, so the app has a second one for a while, the spare.
-- Builds on: regions, tables, release_tables. The functions decide the steps (shared/domain/region_move.py); this file says what is allowed.

-- Whether the way back may still be needed: a release has not finished with this app. Until then the stopped machine is kept.
create function hangar.keeps_spare(p_row public.user_fly_apps) returns boolean
language sql stable set search_path = ''
as $$
  select exists (select 1 from hangar.release_targets t join hangar.releases r on r.id = t.release_id
                  where t.row_id = p_row.id and r.state in ('rolling', 'paused', 'rolling_back')
                    and (t.state in ('applying', 'verifying', 'failed') or t.must_go_back))
$$;

-- Whether this row's machine would have to be made in another region to be where this list wants it. Fly itself starts an on-demand
-- machine at a request, so that two could run; those are not moved. Nothing is known of an app without a machine.
create function hangar.needs_move(p_row public.user_fly_apps, p_region text) returns boolean
language sql immutable set search_path = ''
as $$
  select p_row.power = 'always_on' and p_row.machine_region is not null and not hangar.region_allows(p_region, p_row.machine_region)
$$;

-- Where a move that goes back came from, while the row has two machines. The list that is put back may allow the new region as well, and the
-- app has to return all the same. Null: nothing goes back, or the list itself says where.
create function hangar.home_region(p_row public.user_fly_apps) returns text
language sql stable set search_path = ''
as $$
  select max(t.previous ->> 'machine_region') from hangar.release_targets t
   where t.row_id = p_row.id and t.release_id = p_row.move_release_id and t.goes_back and t.state in ('applying', 'verifying')
     and p_row.spare_machine_id is not null and hangar.region_allows(p_row.region, t.previous ->> 'machine_region')
$$;

-- Why this step of a move must not be made now, as a code; null if it may. It is the second witness beside the worker's own decision: only
-- a release moves an app, and only the machine that is not the app's is destroyed, when the app's own runs where it should, or should not.
create function hangar.check_move(p_row public.user_fly_apps, p_meta jsonb) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_machine text := p_meta ->> 'machine_id';
  v_is_spare boolean := v_machine = p_row.spare_machine_id and v_machine is distinct from p_row.machine_id;
  v_misplaced boolean := p_row.move_release_id is not null and (hangar.needs_move(p_row, p_row.region)
    or p_row.power = 'always_on' and coalesce(p_row.machine_region <> hangar.home_region(p_row), false));
begin
  return case p_meta ->> 'action'
    when 'create_machine' then case when not v_misplaced or p_row.spare_machine_id is not null then 'stale' end
    when 'stop_machine' then case when not coalesce(v_is_spare, false)
                                   and not coalesce(v_misplaced and v_machine = p_row.machine_id and p_row.spare_machine_id is not null, false)
                                  then 'stale' end
    when 'destroy_machine' then case when not coalesce(v_is_spare and p_row.machine_id is not null, false) then 'stale'
                                     when v_misplaced then null
                                     when p_row.status <> 'active' or p_row.observed_generation is distinct from p_row.generation
                                       or coalesce(p_row.machine_state, 'absent') = 'absent' or hangar.keeps_spare(p_row) then 'stale' end
    end;
end
$$;

-- Rows whose spare is no longer needed are due, so that it is destroyed.
create function hangar.wake_spares() returns void
language sql volatile set search_path = ''
as $$
  update public.user_fly_apps a set next_attempt_at = hangar.now()
   where a.id in (select s.id from public.user_fly_apps s
                   where s.spare_machine_id is not null and s.deleted_at is null and s.next_attempt_at is null
                     and s.status = 'active' and s.desired_state = 'present' and not hangar.keeps_spare(s)
                   limit 100 for no key update skip locked)
$$;

select hangar.restrict_functions();
