-- The host's tables refuse the token of a machine that an operator has revoked (`hangar user revoke`). docs/credentials.md describes it.
-- A restrictive policy only takes away: the host's own policies stay as they are. `(select …)` asks once for each statement, not for each row.
create policy not_revoked on public.user_profiles as restrictive to authenticated using ((select hangar.token_is_valid()));
create policy not_revoked on public.user_subscriptions as restrictive to authenticated using ((select hangar.token_is_valid()));
create policy not_revoked on public.traders as restrictive to authenticated using ((select hangar.token_is_valid()));
create policy not_revoked on public.signals as restrictive to authenticated using ((select hangar.token_is_valid()));
