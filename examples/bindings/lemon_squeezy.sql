-- Lemon Squeezy: a table that the host's webhook fills from the subscription object. fly_plans.tier holds variant ids.
-- ends_at is set only when a subscription ends; renews_at is not an end. `cancelled` is valid until ends_at.
-- Run it as the database owner (role postgres).

select hangar.use_status_rules('lemon_squeezy');
select hangar.bind_subscriptions('public.lemon_squeezy_subscriptions',
  '{"user_id": "user_id", "tier": "variant_id", "status": "status", "ends_at": "ends_at"}');
