-- A mass loss of entitlement is held for an operator: a table of subscriptions or users that is suddenly empty, or more than half of the apps that
-- would go at once, is a mistake of the host until somebody confirms it.
-- Builds on: entitlement, alerts.

-- The table of subscriptions or of users, if it has no rows; else null.
create function hangar.empty_host_table() returns text
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return (select case when hangar.has_no_subscriptions() then b.source when hangar.has_no_users() then coalesce(b.users ->> 'table', 'auth.users') end
            from hangar.binding b);
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return null;  -- unreadable is not empty: hangar.entitlements answers that nothing is known
end
$$;

-- The users with a desired app whose entitlement decides whether losses are held, when these users have changed (null: anybody). Null if they
-- are too few to matter: the usual case, and it needs no look at the host.
create function hangar.loss_candidates(p_users uuid[]) returns uuid[]
language plpgsql stable set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_state hangar.host_state;
  v_present bigint;
  v_changed uuid[];
begin
  select * into strict v_settings from hangar.settings;
  select * into strict v_state from hangar.host_state;
  select count(*), coalesce(array_agg(a.user_id) filter (where a.user_id = any (p_users)), '{}') into v_present, v_changed
    from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'present';
  if p_users is not null and v_state.held_since is null and cardinality(v_changed) < v_present
     and (cardinality(p_users) <= v_settings.host_loss_floor
          or v_state.obeyed_by is null and cardinality(v_changed) <= greatest(v_settings.host_loss_floor, v_settings.host_loss_share * v_present)) then
    return null;
  elsif p_users is not null and v_state.held_since is null and v_state.obeyed_by is null then
    return v_changed;
  end if;
  -- While losses are held, or obeyed, what counts is how many are left.
  return array(select a.user_id from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'present');
end
$$;

-- Holds, keeps holding, or stops holding the losses, given what these candidates are entitled to. True: hold them.
create function hangar.judge_losses(p_candidates uuid[], p_wants hangar.entitlement[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_state hangar.host_state;
  v_losing bigint;
  v_present bigint;
  v_reason text;
  v_empty text;
begin
  if p_candidates is null then
    return false;
  end if;
  select * into strict v_settings from hangar.settings;
  select * into strict v_state from hangar.host_state;
  if exists (select 1 from unnest(p_wants) e where e.why in ('unreadable_host', 'not_bound')) then
    return v_state.held_since is not null;  -- nothing is known, so nothing is lost, and nothing that was lost is back
  end if;
  select count(*) into v_present from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'present';
  select count(*) into v_losing from unnest(p_wants) e join unnest(p_candidates) c on c = e.user_id
   where e.entitled = false and e.why <> 'override_deny';
  v_empty := case when v_losing >= 2 and v_losing = v_present then hangar.empty_host_table() end;
  v_reason := case
    when v_empty is not null then 'empty'
    when v_losing > v_settings.host_loss_floor and v_losing > v_settings.host_loss_share * v_present then 'share' end;
  if v_reason is null then
    if v_state.held_since is not null or v_state.obeyed_by is not null and v_losing = 0 then
      update hangar.host_state set held_since = null, reason = null, losing = 0, obeyed_by = null where only_row;
      perform hangar.resolve_alert('host_loss', 'subscriptions');
    end if;
    return false;
  elsif v_state.obeyed_by is not null then
    return false;
  end if;
  if v_state.held_since is null or v_state.losing <> v_losing or v_state.present <> v_present then
    update hangar.host_state set held_since = coalesce(held_since, hangar.now()), reason = v_reason, losing = v_losing,
           present = v_present where only_row;
  end if;
  perform hangar.raise_alert('host_loss', 'subscriptions', format(
    '%s of %s apps would lose their entitlement at once, because %s. Hangar keeps them running until an operator decides. If this is a '
    'mistake, restore the rows: the alert then resolves. If it is intended, run `hangar brake --release`',
    v_losing, v_present, case v_reason
      when 'empty' then format('%s has no rows', v_empty)
      else format('their subscriptions in %s changed', (select b.source from hangar.binding b)) end),
    jsonb_build_object('losing', v_losing, 'present', v_present, 'reason', v_reason));
  return true;
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

-- Whether the loss of this user's entitlement must wait for an operator. The marks that wait show what else has changed. While losses are
-- held, or obeyed, only marks and syncs look again, because that costs a look at every user.
create function hangar.is_loss_held(p_user uuid) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_state hangar.host_state;
  v_users uuid[];
  v_everybody boolean;
begin
  select * into strict v_state from hangar.host_state;
  if v_state.held_since is not null or v_state.obeyed_by is not null then
    return v_state.held_since is not null;
  end if;
  select array_agg(distinct m.user_id) filter (where m.user_id is not null), coalesce(bool_or(m.user_id is null), false)
    into v_users, v_everybody from hangar.marks m where not m.seen;
  return hangar.check_host_loss(case when not v_everybody then coalesce(v_users, '{}') || p_user end);
end
$$;

-- An operator confirms the losses: they are obeyed until a sync finds none left.
create function hangar.obey_host_loss(p_actor text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update hangar.host_state set held_since = null, reason = null, obeyed_by = p_actor where only_row and held_since is not null;
  if found then
    perform hangar.resolve_alert('host_loss', 'subscriptions');
    insert into hangar.marks (user_id) values (null);
  end if;
end
$$;

select hangar.restrict_functions();
