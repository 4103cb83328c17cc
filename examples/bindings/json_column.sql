-- A host that keeps its subscriptions as one JSON document for each user.
-- Run it as the database owner (role postgres).

select hangar.bind_subscriptions('public.billing_accounts',
  '{"user_id": "user_id",
    "tier": {"column": "data", "path": ["subscription", "plan"]},
    "status": {"column": "data", "path": ["subscription", "status"]},
    "ends_at": {"column": "data", "path": ["subscription", "ends_at"]}}');
