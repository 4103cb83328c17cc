-- A mass loss of entitlement is held for an operator: a table of subscriptions or users in which nobody is left, or more than half of the
-- apps that would go at once, is a mistake of the host until somebody confirms it.
-- Builds on: entitlement, alerts, host_loss_alert.
-- A hold is a state. It ends when none of its users loses anything any more, or when an operator confirms it. That others pay, or that some
-- of its users are back, does not end it. Who loses entitlement during a hold is held with the others.

-- Apps that a change of the host can take away: the desired ones (`present`), and those that are kept for a user who has left, until the
-- removal hold and the grace end. The latter go at once if their user is deleted. Without those whose loss an operator has confirmed.
-- enable_nestloop: a plan that was made for the usual, empty table of losses would read it once for each app.
create function hangar.list_apps_at_stake() returns table (user_id uuid, present boolean)
language sql stable set search_path = '' set enable_nestloop = off
as $$
  select a.user_id, a.desired_state = 'present'
    from public.user_fly_apps a
   where a.deleted_at is null and (a.desired_state = 'present' or a.desired_state = 'absent' and greatest(a.hold_until, a.delete_after) > hangar.now())
     and not exists (select 1 from hangar.host_losses l where l.user_id = a.user_id and l.confirmed)
$$;

-- Who of these users loses an app now that is at stake, and why. What an operator denies is no loss.
create function hangar.find_losing(p_wants hangar.entitlement[]) returns table (user_id uuid, present boolean, why text)
language sql stable set search_path = ''
as $$
  select s.user_id, s.present, case when s.present then w.why else 'user_deleted' end
    from unnest(p_wants) w join hangar.list_apps_at_stake() s on s.user_id = w.user_id
   where case when s.present then w.entitled = false and w.why <> 'override_deny' else w.user_exists = false end
$$;

-- The users whose entitlement decides whether losses are held, when these users have changed (null: anybody). Null if they are too few to
-- matter: the usual case, and it needs no look at the host.
create function hangar.loss_candidates(p_users uuid[]) returns uuid[]
language plpgsql stable set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_state hangar.host_state;
  v_apps bigint;
  v_present bigint;
  v_changed_present bigint;
  v_changed uuid[];
begin
  select * into strict v_settings from hangar.settings;
  select * into strict v_state from hangar.host_state;
  if p_users is null or v_state.held_since is not null then
    return array(select s.user_id from hangar.list_apps_at_stake() s);
  end if;
  select count(*), count(*) filter (where s.present), count(*) filter (where s.present and s.user_id = any (p_users)),
         coalesce(array_agg(s.user_id) filter (where s.user_id = any (p_users)), '{}')
    into v_apps, v_present, v_changed_present, v_changed from hangar.list_apps_at_stake() s;
  if v_state.obeyed_by is null and v_changed_present < v_present and cardinality(v_changed) < v_apps
     and (cardinality(v_changed) <= v_settings.host_loss_floor
          or v_changed_present <= v_settings.host_loss_share * v_present and cardinality(v_changed) <= v_settings.host_loss_share * v_apps) then
    return null;
  end if;
  return v_changed;
end
$$;

-- Why the loss of so many of these apps at once must be held: nobody is left in a table ('empty'), or they are too many ('share'). Else null.
create function hangar.judge_counts(p_losing bigint, p_apps bigint) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return (select case
    when p_losing >= 2 and p_losing = p_apps and hangar.explain_emptied_host() is not null then 'empty'
    when p_losing > g.host_loss_floor and p_losing > g.host_loss_share * p_apps then 'share' end from hangar.settings g);
end
$$;

-- Why a hold begins, given what these users are entitled to; null: it does not. The desired apps are counted on their own, so that apps whose
-- users have left long ago do not hide the loss of the others.
create function hangar.weigh_losses(p_wants hangar.entitlement[]) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_losing record;
  v_apps record;
begin
  select count(*) filter (where f.present) as present, count(*) as every into v_losing from hangar.find_losing(p_wants) f;
  select count(*) filter (where s.present) as present, count(*) as every into v_apps from hangar.list_apps_at_stake() s;
  return coalesce(hangar.judge_counts(v_losing.present, v_apps.present),
                  case when v_losing.every > v_losing.present then hangar.judge_counts(v_losing.every, v_apps.every) end);
end
$$;

-- Writes down who is losing and no longer losing, and counts them. Back is who is known to be entitled, or has no app.
create function hangar.record_losses(p_wants hangar.entitlement[]) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  -- Each list on its own: a plan that was made for the usual, empty table would compare every loss with every app.
  v_losing uuid[] := array(select f.user_id from hangar.find_losing(p_wants) f);
  v_at_stake uuid[] := array(select s.user_id from hangar.list_apps_at_stake() s);
  v_held uuid[] := array(select l.user_id from hangar.host_losses l where not l.confirmed);
  v_back uuid[] := array(
    select h from unnest(v_held) h left join unnest(v_at_stake) s on s = h where s is null
    union
    select w.user_id from unnest(p_wants) w left join unnest(v_losing) f on f = w.user_id where w.entitled is not null and f is null);
begin
  delete from hangar.host_losses l where not l.confirmed and l.user_id = any (v_back);
  insert into hangar.host_losses as l (user_id, why) select f.user_id, f.why from hangar.find_losing(p_wants) f
  on conflict (user_id) do update set why = excluded.why where l.why <> excluded.why;
  return (select count(*) from hangar.host_losses l where not l.confirmed);
end
$$;

-- Begins or continues a hold. p_reason: why it begins, null: it is under way. False: nobody is losing any more, and it has ended. The caller has
-- locked hangar.host_state.
create function hangar.keep_hold(p_wants hangar.entitlement[], p_reason text) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_losing bigint := hangar.record_losses(p_wants);
  v_present bigint;
  v_wants hangar.entitlement[];
  v_reason text;
begin
  if v_losing = 0 then
    -- What the caller has read may be older than its lock, and may be about some users only. Everybody is looked at before a hold ends.
    v_wants := array(select e from hangar.entitlements(hangar.loss_candidates(null)) e);
    if exists (select 1 from unnest(v_wants) e where e.why in ('unreadable_host', 'not_bound')) then
      return true;
    end if;
    v_losing := hangar.record_losses(v_wants);
  end if;
  if v_losing = 0 then
    update hangar.host_state set held_since = null, reason = null, losing = 0 where only_row;
    perform hangar.resolve_alert('host_loss', 'subscriptions');
    return false;
  end if;
  select count(*) filter (where s.present or x.is_any) into v_present
    from hangar.list_apps_at_stake() s
    cross join (select exists (select 1 from hangar.list_apps_at_stake() y
                                where not y.present and exists (select 1 from hangar.host_losses l where l.user_id = y.user_id)) as is_any) x;
  update hangar.host_state h
     set held_since = coalesce(h.held_since, hangar.now()), reason = coalesce(h.reason, p_reason), losing = v_losing, present = v_present
   where h.only_row
  returning h.reason into v_reason;
  perform hangar.raise_loss_alert(v_losing, v_present, v_reason);
  return true;
end
$$;

-- Forgets the confirmed losses that have been obeyed, and those of users who are entitled again: their next loss is a new one.
create function hangar.forget_confirmed(p_wants hangar.entitlement[]) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  delete from hangar.host_losses l using unnest(p_wants) w where l.confirmed and w.user_id = l.user_id and w.entitled;
  delete from hangar.host_losses l
   where l.confirmed
     and not exists (select 1 from public.user_fly_apps a
                      where a.user_id = l.user_id and a.deleted_at is null and (a.desired_state = 'present'
                        or a.desired_state = 'absent' and l.why = 'user_deleted' and greatest(a.hold_until, a.delete_after) > hangar.now()));
  update hangar.host_state set obeyed_by = null where only_row and not exists (select 1 from hangar.host_losses l where l.confirmed);
end
$$;

-- Holds, keeps holding, or stops holding the losses, given what these candidates are entitled to. True: hold them.
create function hangar.judge_losses(p_candidates uuid[], p_wants hangar.entitlement[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_state hangar.host_state;
  v_reason text;
begin
  if p_candidates is null then
    return false;
  end if;
  select * into strict v_state from hangar.host_state;
  if exists (select 1 from unnest(p_wants) e where e.why in ('unreadable_host', 'not_bound')) then
    return v_state.held_since is not null;  -- nothing is known, so nothing is lost, and nothing that was lost is back
  elsif v_state.held_since is null and v_state.obeyed_by is null and hangar.weigh_losses(p_wants) is null then
    return false;
  end if;
  -- One transaction at a time. It sees what the one before it has written.
  select * into strict v_state from hangar.host_state for no key update;
  if v_state.obeyed_by is not null then
    perform hangar.forget_confirmed(p_wants);
  end if;
  if v_state.held_since is null then
    v_reason := hangar.weigh_losses(p_wants);
  end if;
  return (v_state.held_since is not null or v_reason is not null) and hangar.keep_hold(p_wants, v_reason);
exception when lock_not_available then
  return true;  -- another transaction is writing down the losses
end
$$;

-- Looks at the users who have changed and decides whether the losses are held.
create function hangar.check_host_loss(p_users uuid[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_candidates uuid[] := hangar.loss_candidates(p_users);
begin
  return hangar.judge_losses(v_candidates, array(select e from hangar.entitlements(v_candidates) e where v_candidates is not null));
end
$$;

-- The same for users who lose something now, together with all others whose change waits: the marks show what else has changed.
create function hangar.check_waiting_losses(p_users uuid[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_users uuid[];
  v_everybody boolean;
begin
  select array_agg(distinct m.user_id) filter (where m.user_id is not null), coalesce(bool_or(m.user_id is null), false)
    into v_users, v_everybody from hangar.marks m where not m.seen;
  return hangar.check_host_loss(case when not v_everybody then coalesce(v_users, '{}') || p_users end);
end
$$;

-- Whether the loss of this user's entitlement must wait for an operator. A hold that has begun counts, whatever the caller has found before
-- (p_held: all losses together; null: look here). While losses are held, only marks and syncs look again, because that costs a look at every user.
create function hangar.is_loss_held(p_user uuid, p_held boolean) returns boolean
language plpgsql volatile set search_path = ''
as $$
begin
  return not exists (select 1 from hangar.host_losses l where l.user_id = p_user and l.confirmed)
    and (exists (select 1 from hangar.host_state h where h.held_since is not null)
         or coalesce(p_held, hangar.check_waiting_losses(array[p_user])));
end
$$;

-- An operator confirms the losses that are held: the users who are on record lose their apps now. What the host has lost since the last look is
-- weighed anew, because no operator has seen it.
create function hangar.obey_host_loss(p_actor text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update hangar.host_state set held_since = null, reason = null, losing = 0, obeyed_by = p_actor where only_row and held_since is not null;
  if found then
    update hangar.host_losses set confirmed = true where not confirmed;
    perform hangar.resolve_alert('host_loss', 'subscriptions');
    insert into hangar.marks (user_id) values (null);
  end if;
end
$$;

select hangar.restrict_functions();
