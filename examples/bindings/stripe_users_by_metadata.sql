-- Which user is which Stripe customer: the host writes the user's id into the metadata of the Stripe customer, as user_id.
-- Run this file or stripe_users_by_table.sql, then stripe_sync_engine.sql, as the database owner (role postgres).

create schema if not exists private;

create or replace function private.hangar_stripe_users(p_users uuid[]) returns table (user_id uuid, customer text)
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select u.id, c.id::text
    from stripe.customers c
    join unnest(p_users) u (id) on u.id::text = lower(btrim(c.metadata ->> 'user_id'));
end
$$;
revoke all on function private.hangar_stripe_users(uuid[]) from public;
