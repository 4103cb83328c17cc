-- Stripe Sync Engine: the subscriptions that it keeps in schema stripe, in both generations of its tables (typed columns; or _raw_data
-- with generated columns). Check the names first: some releases and hosts use schema public, or singular names of tables.
-- Run stripe_users_by_table.sql or stripe_users_by_metadata.sql before it, both as the database owner.
--
-- fly_plans.tier may hold a Stripe price id, a product id or a lookup key. A subscription without a known one returns its price id, so
-- that Hangar's alert names it. Add-ons need no plan: they are ignored beside an item that fly_plans knows.
--
-- The function is PL/pgSQL, which depends on nothing that it names: the engine's own migrations may rename, drop and create its columns
-- and tables at any time. While it cannot read them, Hangar changes nothing and raises an alert.

create or replace function private.hangar_stripe_subscriptions(p_users uuid[])
returns table (user_id uuid, tier text, status text, ends_at timestamptz)
-- Compiling the statement would take longer than running it.
language plpgsql stable set search_path = '' set jit = off
as $$
declare
  v_livemode constant boolean := true;  -- false in a project that uses Stripe's test mode
begin
  -- Stripe has no subscription without a customer. An upgrade of the engine empties the column until its next full synchronisation.
  if exists (select 1 from stripe.subscriptions s where s.customer is null) then
    raise exception 'stripe.subscriptions has rows without a customer. The Stripe Sync Engine must synchronise them again';
  end if;
  return query
  with mine as materialized (
    select u.user_id, s.id::text as subscription, case when jsonb_typeof(s.items -> 'data') = 'array' then s.items -> 'data' else '[]' end as items,
           -- Stripe ends the subscriptions of a deleted customer.
           case when c.deleted then 'canceled' else s.status::text end as status,
           s.ended_at::bigint as ended_at, s.cancel_at::bigint as cancel_at,
           s.cancel_at_period_end as at_period_end, s.current_period_end::bigint as period_end
      from private.hangar_stripe_users(p_users) u
      join stripe.subscriptions s on s.customer = u.customer
      left join stripe.customers c on c.id = s.customer
     where coalesce(s.livemode, v_livemode) = v_livemode
  ), item as (
    -- The items as the subscription carries them; older API versions and partial synchronisations have them only in their own table.
    select m.user_id, m.subscription, i.nr, coalesce(i.item -> 'price' ->> 'id', i.item ->> 'price', i.item -> 'plan' ->> 'id') as price,
           coalesce(i.item -> 'price' -> 'product' ->> 'id', i.item -> 'price' ->> 'product') as product,
           i.item -> 'price' ->> 'lookup_key' as lookup_key, (i.item ->> 'current_period_end')::numeric as period_end
      from mine m cross join lateral jsonb_array_elements(m.items) with ordinality i (item, nr)
     where coalesce(i.item ->> 'deleted', 'false') <> 'true'
    union all
    select m.user_id, m.subscription, row_number() over (partition by m.user_id, m.subscription order by t.id), t.price::text, null, null,
           t.current_period_end::bigint
      from mine m join stripe.subscription_items t on t.subscription = m.subscription and t.deleted is not true
     where m.items = '[]'
  ), named as (
    select i.*, array[i.price, i.product, p.product, i.lookup_key, p.lookup_key] as names from item i left join stripe.prices p on p.id = i.price
  ), known as (
    select n.*, (select f.tier from public.fly_plans f where f.tier = any (n.names) order by array_position(n.names, f.tier) limit 1) as plan
      from named n
  ), ranked as (
    select k.*, max(k.period_end) over (partition by k.user_id, k.subscription) as last_period_end,
           row_number() over (partition by k.user_id, k.subscription order by k.plan is null, k.nr) as place
      from known k
  )
  select m.user_id, coalesce(i.plan, i.price), m.status,
         -- An active subscription that nobody cancelled has no end: its period is over for a moment at each renewal.
         to_timestamp(coalesce(m.ended_at, m.cancel_at, case when m.at_period_end then coalesce(m.period_end, i.last_period_end) end))
    from mine m
    left join ranked i on i.user_id = m.user_id and i.subscription = m.subscription and (i.plan is not null or i.place = 1);
end
$$;
revoke all on function private.hangar_stripe_subscriptions(uuid[]) from public;

select hangar.use_status_rules('stripe');
-- p_watch: a change in these tables is followed within a second instead of a minute.
select hangar.bind_function('private.hangar_stripe_subscriptions(uuid[])', p_watch => array['stripe.subscriptions'::regclass, 'stripe.customers']);
