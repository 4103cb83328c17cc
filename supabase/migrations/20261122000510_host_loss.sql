-- A mass loss of entitlement is held for an operator: a table of subscriptions that is suddenly empty, or more than half of the apps that
-- would go at once, is a mistake of the host until somebody confirms it.
-- Builds on: entitlement, alerts.

-- How many of the apps that are desired now would lose their entitlement, among these users (null: all), and out of how many.
create function hangar.count_losses(p_users uuid[], p_settings hangar.settings, out losing integer, out present integer)
language plpgsql stable set search_path = ''
as $$
declare
  v_candidates uuid[];
begin
  select count(*), array_agg(a.user_id) filter (where p_users is null or a.user_id = any (p_users)) into present, v_candidates
    from public.user_fly_apps a where a.deleted_at is null and a.desired_state = 'present';
  losing := 0;
  -- Fewer candidates than the limit cannot exceed it: the usual case, and it needs no look at the host.
  if cardinality(v_candidates) < present and cardinality(v_candidates) <= greatest(p_settings.host_loss_floor, p_settings.host_loss_share * present) then
    return;
  end if;
  select count(*) into losing
    from hangar.entitlements(coalesce(v_candidates, '{}')) e where e.entitled = false and e.why <> 'override_deny';
end
$$;

create function hangar.is_host_empty() returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (select 1 from hangar.binding) and hangar.has_no_subscriptions();
exception
  when syntax_error_or_access_rule_violation or data_exception or raise_exception or feature_not_supported then
    return false;  -- unreadable is not empty: hangar.entitlements answers that nothing is known
end
$$;

-- Looks at the users who have changed (null: at everybody) and holds, keeps holding, or stops holding the losses. True: hold them.
create function hangar.check_host_loss(p_users uuid[]) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_state hangar.host_state;
  v_count record;
  v_reason text;
begin
  select * into strict v_settings from hangar.settings;
  select * into strict v_state from hangar.host_state;
  -- The candidates alone cannot exceed the limit: the usual case, and it costs nothing.
  if p_users is not null and v_state.held_since is null and cardinality(p_users) <= v_settings.host_loss_floor and not hangar.is_host_empty() then
    return false;
  end if;
  select c.* into v_count from hangar.count_losses(
    case when v_state.held_since is null and v_state.obeyed_by is null then p_users end, v_settings) c;
  v_reason := case
    when v_count.losing >= 2 and v_count.losing = v_count.present and hangar.is_host_empty() then 'empty'
    when v_count.losing > v_settings.host_loss_floor and v_count.losing > v_settings.host_loss_share * v_count.present then 'share' end;
  if v_reason is null then
    if v_state.held_since is not null or v_state.obeyed_by is not null and v_count.losing = 0 then
      update hangar.host_state set held_since = null, reason = null, losing = 0, obeyed_by = null where only_row;
      perform hangar.resolve_alert('host_loss', 'subscriptions');
    end if;
    return false;
  elsif v_state.obeyed_by is not null then
    return false;
  end if;
  if v_state.held_since is null or v_state.losing <> v_count.losing or v_state.present <> v_count.present then
    update hangar.host_state set held_since = coalesce(held_since, hangar.now()), reason = v_reason, losing = v_count.losing,
           present = v_count.present where only_row;
  end if;
  perform hangar.raise_alert('host_loss', 'subscriptions', format(
    '%s of %s apps would lose their entitlement at once, because %s. Hangar keeps them running until an operator decides. If this is a '
    'mistake, restore the subscriptions: the alert then resolves. If it is intended, run `hangar brake --release`',
    v_count.losing, v_count.present, case v_reason
      when 'empty' then format('%s has no rows', (select b.source from hangar.binding b))
      else format('their subscriptions in %s changed', (select b.source from hangar.binding b)) end),
    jsonb_build_object('losing', v_count.losing, 'present', v_count.present, 'reason', v_reason));
  return true;
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
    into v_users, v_everybody from hangar.marks m;
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
