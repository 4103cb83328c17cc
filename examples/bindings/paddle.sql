-- Paddle Billing: a table that the host's webhook fills from the subscription object. fly_plans.tier holds price ids.
-- A cancellation for the end of the period leaves the subscription active with a scheduled_change; `canceled` is final.
-- Run it as the database owner (role postgres).

select hangar.use_status_rules('paddle');
select hangar.bind_subscriptions('public.paddle_subscriptions',
  '{"user_id": "user_id", "tier": "price_id", "status": "status", "ends_at": {"value": null}}');
