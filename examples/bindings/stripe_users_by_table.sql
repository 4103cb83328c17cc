-- Which user is which Stripe customer: the host's table public.customers (id uuid, stripe_customer_id text).
-- Run this file or stripe_users_by_metadata.sql, then stripe_sync_engine.sql, as the database owner (role postgres).

create schema if not exists private;

create or replace function private.hangar_stripe_users(p_users uuid[]) returns table (user_id uuid, customer text)
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select c.id, c.stripe_customer_id::text
    from public.customers c
   where c.id = any (p_users) and c.stripe_customer_id is not null;
end
$$;
revoke all on function private.hangar_stripe_users(uuid[]) from public;
