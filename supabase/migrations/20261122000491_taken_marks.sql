-- Taking marks: a procedure removes them and then brings their users' rows up to date.
-- Builds on: marks.

-- At most p_limit marks, of one user or of all: removes them and returns their users. `everybody`: one of them means every user. Only marks
-- that were committed before the caller reads the host, so no change is missed: a later change has a mark of its own.
create function hangar.take_marks(p_limit integer, p_user uuid default null, out users uuid[], out everybody boolean)
language plpgsql volatile set search_path = ''
as $$
begin
  with chosen as (
    select m.ctid as place from hangar.marks m where p_user is null or m.user_id = p_user limit p_limit for update skip locked
  ), taken as (
    delete from hangar.marks m where m.ctid = any (array(select c.place from chosen c)) returning m.user_id
  )
  select coalesce(array_agg(distinct t.user_id order by t.user_id) filter (where t.user_id is not null), '{}'),
         coalesce(bool_or(t.user_id is null), false)
    into users, everybody from taken t;
end
$$;

-- At most p_limit users after p_after (null: no bound) whom a sync has found outdated, in the order of their ids. Removes their marks.
create function hangar.take_seen_marks(p_after uuid, p_limit integer) returns uuid[]
language plpgsql volatile set search_path = ''
as $$
declare
  v_users uuid[];
begin
  with chosen as (
    select m.ctid as place from hangar.marks m
     where m.seen and (p_after is null or m.user_id > p_after) order by m.user_id limit p_limit for update skip locked
  ), taken as (
    delete from hangar.marks m where m.ctid = any (array(select c.place from chosen c)) returning m.user_id
  )
  select coalesce(array_agg(distinct t.user_id order by t.user_id), '{}') into v_users from taken t;
  return v_users;
end
$$;

select hangar.restrict_functions();
