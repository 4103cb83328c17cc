-- The host as a whole, as each sync reads it: whether it can be read, and values in it that say nothing.
-- Builds on: host_binding, marks, entitlement, alerts.

-- All subscriptions, read once for a whole sync. A user id that is missing or not a uuid is null. `problem`: why the host cannot be read; `rows` is then null.
create function hangar.read_whole_host(out rows hangar.host_subscription[], out problem text)
language plpgsql stable set search_path = '' set lock_timeout = '2s'
as $$
begin
  rows := array(select s from hangar.list_subscriptions() s);
  perform hangar.try_readers(array(select s.user_id from unnest(rows) s where s.user_id is not null limit 1));
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    rows := null;
    problem := sqlerrm;
end
$$;

-- Keeps the alerts about a host that cannot be read (p_problem), and about a table of users that has changed since it was bound. A table or column that was renamed back, retyped or made again is found here:
-- the reading functions and the triggers are written again from the binding. True: read the host again, the functions have been written.
create function hangar.check_host(p_problem text) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_problem text := p_problem;
  v_written boolean := false;
  v_changed boolean;
  v_users text;
  v_source text := (select b.source from hangar.binding b);
begin
  begin
    -- A table that was made again or exchanged for a new one can be read by its name, but it has no triggers.
    v_changed := v_problem is not null or exists (select 1 from hangar.binding b where hangar.find_source(b) is distinct from b.source_oid);
    if v_changed or hangar.explain_unread_emails() is not null
       or exists (select 1 from hangar.alerts a where a.kind = 'host_binding' and a.key = 'users' and a.resolved_at is null) then
      perform hangar.write_host_functions();
    end if;
    if v_changed then
      v_problem := hangar.explain_unreadable_host();
      v_written := v_problem is null;
    end if;
    if v_problem is null then
      perform hangar.ensure_mark_triggers();
      perform hangar.note_json_keys();
      v_users := hangar.explain_changed_users();
    end if;
  exception when others then
    v_problem := sqlerrm;
    v_written := false;
  end;
  if v_problem is null then
    perform hangar.resolve_alert('host_binding', 'subscriptions');
  else
    perform hangar.raise_alert('host_binding', 'subscriptions', format(
      'The host''s data cannot be read from %s: %s. Hangar changes and destroys nothing because of it; failures and health are handled as '
      'usual. Correct what this names, or bind again as the database owner with hangar.bind_subscriptions or hangar.bind_function. See docs/host-binding.md',
      coalesce(v_source, 'the table of users'), v_problem), jsonb_build_object('problem', v_problem));
  end if;
  if v_users is not null then
    perform hangar.raise_alert('host_binding', 'users', v_users || '. See docs/host-binding.md');
  elsif v_problem is null then
    perform hangar.resolve_alert('host_binding', 'users');
  end if;
  return v_written;
end
$$;

-- Values of subscriptions that say nothing: tiers that fly_plans lacks, missing tiers, statuses without a rule, ends that cannot be read.
-- One alert for each value, resolved when no subscription has it any more. p_judged: all subscriptions; null: the host cannot be read.
create function hangar.check_unknown_values(p_judged hangar.subscription_verdict[]) returns text[]
language plpgsql volatile set search_path = ''
as $$
declare
  v_unknown text[];
  v_value record;
  v_seen text[] := '{}'::text[];
begin
  for v_value in
    select case j.why when 'no_status' then 'unknown_status' when 'no_tier' then 'unknown_tier' else j.why end as kind,
           case j.why when 'unknown_tier' then j.tier when 'unknown_status' then lower(hangar.trim_word(j.status)) when 'unreadable_end' then 'ends_at'
                else 'null' end as key,
           count(distinct j.user_id) as users, coalesce((array_agg(j.user_id order by j.user_id))[1]::text, 'one whose id is missing or not a uuid') as example
      from unnest(p_judged) j
     where j.verdict is null
     group by 1, 2 order by 1, 2 limit 100
  loop
    v_seen := v_seen || (v_value.kind || ':' || v_value.key);
    perform hangar.raise_alert(v_value.kind, v_value.key, case v_value.kind
      when 'unknown_tier' then case v_value.key when 'null'
        then format('%s user(s) have an active subscription without a tier, for example %s. Hangar changes nothing for them until the host sets it',
                    v_value.users, v_value.example)
        else format('Tier %L is not in fly_plans. Hangar changes nothing for its %s user(s), for example %s, until you add the plan', v_value.key, v_value.users, v_value.example) end
      when 'unknown_status' then case v_value.key when 'null' then format('%s subscription(s) have no status, for example that of user %s. Hangar changes '
        'nothing for these users until the host sets it', v_value.users, v_value.example) else format(
        'Status %L of %s subscription(s) has no rule, for example of user %s. Hangar changes nothing for these users until you add it to '
        'hangar.status_rules', v_value.key, v_value.users, v_value.example) end
      else format('The end of %s subscription(s) cannot be read as a time, for example of user %s. Hangar changes nothing for these users '
        'until the host corrects it', v_value.users, v_value.example) end, jsonb_build_object('users', v_value.users, 'example', v_value.example));
  end loop;
  -- A tier that only ended subscriptions name matters too: the next sign-up would wait.
  select coalesce(array_agg(t.tier order by t.tier), '{}') into v_unknown
    from (select distinct s.tier from unnest(p_judged) s limit 1000) t
   where t.tier is not null and not exists (select 1 from public.fly_plans p where p.tier = t.tier);
  for v_value in select u as key from unnest(v_unknown) u where 'unknown_tier:' || u <> all (v_seen) loop
    v_seen := v_seen || ('unknown_tier:' || v_value.key);
    perform hangar.raise_alert('unknown_tier', v_value.key,
      format('Tier %L is not in fly_plans. Hangar changes nothing for its users until you add the plan', v_value.key));
  end loop;
  update hangar.alerts a set resolved_at = hangar.now()
   where a.kind in ('unknown_tier', 'unknown_status', 'unreadable_end') and a.resolved_at is null and a.kind || ':' || a.key <> all (v_seen)
     and p_judged is not null;
  return v_unknown;
end
$$;

-- Keeps the alert about subscriptions that entitle an unknown user: the user id is missing, is not a uuid, or is not in the table of users. A binding to
-- the wrong column causes that, and leaves paying users without an app. A user who once had an app is not unknown, but deleted.
create function hangar.check_unknown_users(p_judged hangar.subscription_verdict[], p_existing uuid[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_users text := (select coalesce(b.users ->> 'table', 'auth.users') from hangar.binding b);
  v_unread bigint;
  v_absent bigint;
  v_example uuid;
begin
  if p_judged is null or p_existing is null then
    return;
  end if;
  select count(*) filter (where j.user_id is null), count(distinct j.user_id), min(j.user_id::text)::uuid into v_unread, v_absent, v_example
    from unnest(p_judged) j
    left join (select distinct y as id from unnest(p_existing) y) l on l.id = j.user_id
   where j.verdict and l.id is null and not exists (select 1 from public.user_fly_apps a where a.user_id = j.user_id);
  if v_unread + v_absent = 0 then
    perform hangar.resolve_alert('unknown_user', 'user_id');
    return;
  end if;
  perform hangar.raise_alert('unknown_user', 'user_id', concat_ws('. ',
    case when v_unread > 0 then format('%s subscription(s) entitle a user whose id is missing or not a uuid', v_unread) end,
    case when v_absent > 0 then format('%s user(s) with an entitling subscription are not in %s, for example %s', v_absent, v_users, v_example) end,
    'None of them gets an app. If they are your users, bind the column that holds the user''s id, or name the right table of users: docs/host-binding.md'),
    jsonb_strip_nulls(jsonb_build_object('unreadable_ids', v_unread, 'absent_users', v_absent, 'example', v_example)));
end
$$;

select hangar.restrict_functions();
