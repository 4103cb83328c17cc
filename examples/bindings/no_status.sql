-- A host without a status: a row with a plan means paid, until its end. Deleting the row ends it.
-- Run it as the database owner (role postgres).

select hangar.bind_subscriptions('public.memberships',
  '{"user_id": "member_id", "tier": "plan", "status": {"value": "active"}, "ends_at": "valid_until"}');
