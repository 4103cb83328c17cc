-- Which user is which Stripe customer: the host writes the user's id into the metadata of the Stripe customer, as user_id.
-- Run this file or stripe_users_by_table.sql, then stripe_sync_engine.sql, as the database owner (role postgres).

create schema if not exists private;

create or replace function private.hangar_stripe_users(p_users uuid[]) returns table (user_id uuid, customer text)
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select u.form::uuid, c.id::text
    from stripe.customers c
    join unnest(hangar.uuid_texts(p_users)) u (form) on u.form = btrim(c.metadata ->> 'user_id', E' \t\r\n');
end
$$;
revoke all on function private.hangar_stripe_users(uuid[]) from public;
