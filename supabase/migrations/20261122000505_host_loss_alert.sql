-- What the alert about a mass loss of entitlement says: whether a table of the host is as good as empty, and the causes in words.
-- Builds on: entitlement, alerts.

-- What Hangar can no longer read anybody from, in words; else null. A table whose rows name nobody whom Hangar knows is as good as empty:
-- its ids were nulled or rewritten, or another column is bound now.
create function hangar.explain_emptied_host() returns text
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
declare
  v_source text;
  v_users text;
  v_people uuid[];
  v_named uuid[];
  v_owners uuid[];
begin
  select b.source, coalesce(b.users ->> 'table', 'auth.users') into v_source, v_users from hangar.binding b;
  v_people := hangar.list_users();
  v_named := array(select distinct s.user_id from hangar.list_subscriptions() s where s.user_id is not null);
  v_owners := array(select distinct a.user_id from public.user_fly_apps a);
  if hangar.has_no_users() then
    return format('no user is left in %s; those who are marked as deleted do not count', v_users);
  elsif not exists (select 1 from unnest(v_people) p join unnest(v_named || v_owners) k on k = p) then
    return format('no row of %s has the id of a user whom Hangar knows', v_users);
  elsif hangar.has_no_subscriptions() then
    return format('%s has no rows', v_source);
  elsif not exists (select 1 from unnest(v_named) n join unnest(v_people || v_owners) k on k = n) then
    return format('no row of %s names a user whom Hangar knows', v_source);
  end if;
  return null;
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return null;  -- unreadable is not empty: hangar.entitlements answers that nothing is known
end
$$;

-- One cause of the losses in words, and how to end it.
create function hangar.explain_loss(p_why text, out cause text, out remedy text)
language plpgsql stable set search_path = ''
as $$
declare
  v_source text;
  v_users text;
begin
  select b.source, coalesce(b.users ->> 'table', 'auth.users') into v_source, v_users from hangar.binding b;
  case
    when p_why = 'others' then
      cause := 'other reasons';
    when p_why = 'no_subscription' then
      cause := format('no subscription in %s', v_source);
      remedy := format('restore the rows of %s', v_source);
    when p_why = 'user_deleted' then
      cause := format('not in %s, or marked as deleted there', v_users);
      remedy := format('restore the users in %s', v_users);
    when p_why = 'plan_not_dedicated' then
      cause := 'a plan with dedicated = false';
      remedy := format('correct fly_plans.dedicated, or the tiers in %s', v_source);
    when p_why like 'status\_%' then
      cause := format('the status %L', substr(p_why, 8));
      remedy := format('correct the statuses in %s, or the rule in hangar.status_rules', v_source);
    when p_why = 'expired' then
      cause := 'the end of the subscription has come';
      remedy := format('correct the ends in %s', v_source);
    else
      cause := format('the status %L, and the end has come or is missing', p_why);
      remedy := format('correct the statuses and ends in %s, or the rule in hangar.status_rules', v_source);
  end case;
end
$$;

-- Raises the alert about the losses that are held: how many of how many, for which reasons, and what ends it.
create function hangar.raise_loss_alert(p_losing bigint, p_present bigint, p_reason text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_causes jsonb;
  v_why text;
  v_remedy text;
begin
  with counted as (
    select l.why, count(*) as apps, row_number() over (order by count(*) desc, l.why) as place from hangar.host_losses l where not l.confirmed group by l.why
  ), causes as materialized (
    select case when k.place <= 5 then k.why else 'others' end as why, sum(k.apps)::bigint as apps from counted k group by 1
  )
  select jsonb_object_agg(c.why, c.apps), string_agg(format('%s of them: %s', c.apps, x.cause), '; ' order by c.why = 'others', c.apps desc, c.why),
         string_agg(distinct x.remedy, ', ')
    into v_causes, v_why, v_remedy from causes c cross join lateral hangar.explain_loss(c.why) x;
  perform hangar.raise_alert('host_loss', 'subscriptions', format(
    '%s of %s apps would lose their entitlement at once. %s%s. Hangar keeps them running, and those of users who lose it meanwhile, until an '
    'operator decides. If this is a mistake, %s: each user who is entitled again keeps the app, and the alert ends when all of them are. If it is '
    'intended, run `hangar brake --release`', p_losing, p_present, v_why,
    case when p_losing = p_present then '. ' || hangar.explain_emptied_host() end, v_remedy),
    jsonb_build_object('losing', p_losing, 'present', p_present, 'reason', p_reason, 'causes', v_causes));
end
$$;

select hangar.restrict_functions();
