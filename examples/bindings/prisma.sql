-- A host whose tables Prisma or Drizzle makes: quoted camelCase names, an enum status, "timestamp(3)" without a time zone (read as UTC),
-- and a table of users of its own. Ids may be uuid, or text that holds uuids.
-- Run it as the database owner (role postgres).

select hangar.bind_subscriptions('public."Subscription"',
  '{"user_id": "userId", "tier": "planId", "status": "status", "ends_at": "currentPeriodEnd"}',
  '{"table": "public.\"User\"", "id": "id", "email": "email"}');
