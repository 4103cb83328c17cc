-- A host without end dates: the status alone decides. A cancelled subscription then ends at once, because it has no end to wait for.
-- Run it as the database owner (role postgres).

select hangar.bind_subscriptions('public.accounts',
  '{"user_id": "owner_id", "tier": "plan", "status": "billing_status", "ends_at": {"value": null}}');
