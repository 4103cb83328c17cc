-- Who is entitled to which app, and why: decided here and nowhere else.
-- Builds on: tables, host_binding, status_rules, alerts, user_spec.

-- One answer about one subscription. `verdict`: true or false, or null if nothing may follow from it.
create type hangar.subscription_verdict as (
  user_id uuid, verdict boolean, why text, tier text, status text, ends_at timestamptz, place bigint
);

-- Judges every subscription on its own, and puts each user's subscriptions in order: an entitling one first, by plan rank, price, memory,
-- later end and tier name; then one that says nothing; then one that denies. A definite no comes before an unknown tier.
create function hangar.judge_subscriptions(p_rows hangar.host_subscription[]) returns setof hangar.subscription_verdict
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  return query
  select j.user_id, case j.verdict when 'yes' then true when 'no' then false end, j.why, j.tier, j.status, j.ends_at,
         row_number() over (partition by j.user_id
           order by case j.verdict when 'yes' then 0 when 'no' then 2 else 1 end, j.rank desc nulls last, j.price_usd desc nulls last,
                    j.memory_mb desc nulls last, j.cpu_count desc nulls last, j.ends_at desc nulls first, j.tier, j.status, j.why)
    from (
      select s.user_id, s.tier, s.status, s.ends_at, p.rank, p.price_usd, p.memory_mb, p.cpu_count,
             judged.answer[1] as verdict, judged.answer[2] as why
        from unnest(p_rows) s
        cross join lateral (select lower(hangar.trim_word(s.status)) as word) w
        left join hangar.status_rules r on r.status = w.word
        left join public.fly_plans p on p.tier = s.tier
        cross join lateral (select case
          when r.rule = 'no' then array['no', 'status_' || w.word]
          when not p.dedicated then array['no', 'plan_not_dedicated']
          when coalesce(w.word, '') = '' then array['unknown', 'no_status']
          when r.rule is null then array['unknown', 'unknown_status']
          when s.problem is not null then array['unknown', 'unreadable_end']
          when r.rule = 'until_end' and coalesce(s.ends_at <= v_now, true) then array['no', w.word]
          when s.ends_at <= v_now then array['no', 'expired']
          when s.tier is null then array['unknown', 'no_tier']
          when p.tier is null then array['unknown', 'unknown_tier']
          when r.rule = 'until_end' or w.word = 'past_due' and s.ends_at is not null then array['yes', w.word || '_until']
          else array['yes', w.word] end as answer) judged
    ) j;
end
$$;

-- The rows of the host for these users; null if the host cannot be read, for whatever reason lies in its tables or functions. A time-out,
-- a lost connection or a conflict with another transaction is no such reason, and ends the caller's transaction.
create function hangar.try_read_subscriptions(p_users uuid[]) returns hangar.host_subscription[]
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return (select coalesce(array_agg(s), '{}') from hangar.read_subscriptions(p_users) s);
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return null;
end
$$;

-- Which of these users exist; null if that cannot be read.
create function hangar.try_existing_users(p_users uuid[]) returns uuid[]
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return hangar.existing_users(p_users);
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return null;
end
$$;

create type hangar.entitlement as (
  user_id uuid, known boolean, user_exists boolean, entitled boolean, why text, tier text, plan text, spec hangar.machine_spec, grace_s integer,
  has_subscription boolean, subscription_status text, subscription_expires_at timestamptz
);

-- The entitlement table of docs/database.md, the first case that applies. `entitled` null: nothing is known for certain, change nothing.
-- p_judged: the judged subscriptions of at least these users; null: the host cannot be read. p_existing: those of them who exist; null: not
-- readable. Reading the host is the caller's part, because a bound function costs about as much for one user as for all.
create function hangar.judge_users(p_users uuid[], p_judged hangar.subscription_verdict[], p_existing uuid[]) returns setof hangar.entitlement
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_bound boolean := exists (select 1 from hangar.binding);
begin
  return query
  select u.id,
         l.id is not null or s.user_id is not null,
         case when p_existing is not null then l.id is not null end,
         case when judged.why in ('override_deny', 'user_deleted', 'no_subscription') then false
              when judged.why = 'override_grant' then true
              when judged.why in ('not_bound', 'unreadable_host') then null
              else s.verdict end,
         judged.why,
         s.tier,
         p.tier,
         hangar.spec_for(p, g, y, n),
         p.grace_s,
         s.user_id is not null, s.status, s.ends_at
    from (select distinct x as id from unnest(p_users) x where x is not null) as u
    cross join hangar.settings g
    left join public.fly_overrides o on o.user_id = u.id and (o.ends_at is null or o.ends_at > v_now)
    left join (select distinct y as id from unnest(p_existing) y) l on l.id = u.id
    left join unnest(p_judged) s on s.user_id = u.id and s.place = 1
    left join public.fly_plans p on p.tier = case when o.override = 'grant' then o.plan else s.tier end
    left join hangar.user_specs y on y.user_id = u.id
    left join hangar.user_pins n on n.user_id = u.id and (n.ends_at is null or n.ends_at > v_now)
    cross join lateral (select case
      when o.override = 'deny' then 'override_deny'
      when o.override = 'grant' then 'override_grant'
      when not v_bound then 'not_bound'
      when p_existing is null or p_judged is null then 'unreadable_host'
      when l.id is null then 'user_deleted'
      when s.user_id is null then 'no_subscription'
      else s.why end as why) judged;
end
$$;

-- Reads the host once, however many users.
create function hangar.entitlements(p_users uuid[]) returns setof hangar.entitlement
language plpgsql stable set search_path = ''
as $$
declare
  v_rows hangar.host_subscription[] := hangar.try_read_subscriptions(p_users);
begin
  return query select e.* from hangar.judge_users(p_users,
    case when v_rows is not null then array(select j from hangar.judge_subscriptions(v_rows) j) end, hangar.try_existing_users(p_users)) e;
end
$$;
comment on function hangar.entitlements(uuid[]) is 'What these users should have now, and why. Set-based; only reads.';

-- Whether this reason says that nothing is known for certain.
create function hangar.is_unknown(p_why text) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return coalesce(p_why in ('unknown_status', 'no_status', 'unreadable_end', 'no_tier', 'unknown_tier', 'not_bound', 'unreadable_host'), true);
end
$$;

select hangar.restrict_functions();
