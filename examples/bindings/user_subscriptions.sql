-- The default binding: public.user_subscriptions (user_id, tier, status, expires_at), users in auth.users, e-mail addresses in
-- public.user_profiles or auth.users. The migrations bind these tables when they exist; run this file to return to them.
-- Run it as the database owner (role postgres).

select hangar.bind_subscriptions('public.user_subscriptions');
select hangar.use_status_rules('default');
