-- RevenueCat: a table with the last webhook event of each user and product. fly_plans.tier holds product ids.
-- CANCELLATION and SUBSCRIPTION_PAUSED are valid until expiration_at_ms; EXPIRATION is the only event that ends the access at once. The
-- expiration of a subscription that renews is not its end: RENEWAL may come late, and BILLING_ISSUE comes after it.
-- Run it as the database owner (role postgres).

create schema if not exists private;

create or replace function private.hangar_revenuecat_subscriptions() returns table (user_id text, tier text, status text, ends_at bigint)
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select r.app_user_id::text, r.product_id::text,
         -- A cancellation because a payment failed: RevenueCat tries again, and sends EXPIRATION if it gives up.
         case when r.event_type = 'CANCELLATION' and r.cancel_reason = 'BILLING_ERROR' then 'BILLING_ISSUE' else r.event_type::text end,
         case when r.event_type in ('CANCELLATION', 'SUBSCRIPTION_PAUSED') and r.cancel_reason is distinct from 'BILLING_ERROR'
              then r.expiration_at_ms end
    from public.revenuecat_subscriptions r
   where r.app_user_id not like '$RCAnonymousID:%';  -- bought before signing in: no user of yours yet
end
$$;
revoke all on function private.hangar_revenuecat_subscriptions() from public;

select hangar.use_status_rules('revenuecat');
-- p_watch: a change in this table is followed within a second instead of a minute.
select hangar.bind_function('private.hangar_revenuecat_subscriptions()', p_watch => array['public.revenuecat_subscriptions'::regclass]);
