-- The credentials of machines: which secrets an operator has set for one user, and since when a user's tokens are refused.
-- Builds on: tables, access. docs/credentials.md.

create table hangar.user_secrets (
  user_id uuid not null,
  -- The value is at Fly only. Fly's digest of it says whether it is still the same.
  name text not null check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,127}$'),
  -- 'setting' and 'removing' are intents: the call to Fly has begun, and its outcome is not recorded yet.
  state text not null default 'setting' check (state in ('setting', 'set', 'removing')),
  -- The app that got it. With another app, or after this one was made again, Fly has it no more.
  row_id uuid not null references public.user_fly_apps (id),
  request uuid not null,
  digest text check (digest <> ''),
  version bigint,
  reason text,
  actor text not null,
  requested_at timestamptz not null default hangar.now(),
  set_at timestamptz,
  lost_at timestamptz,
  -- An earlier call may have changed what Fly has, and no later one has succeeded. So a refusal does not say that all is as before.
  doubtful boolean not null default false,
  primary key (user_id, name)
);
comment on table hangar.user_secrets is 'Secrets that an operator has set for one user: name, digest, version, who, when and why. Never a value.';
create index user_secrets_row on hangar.user_secrets (row_id);

create table hangar.token_revocations (
  user_id uuid primary key,
  -- Tokens that were issued up to this moment are refused.
  revoked_at timestamptz not null,
  reason text,
  actor text not null
);
comment on table hangar.token_revocations is 'Users whose machine tokens are refused although they have not expired, and up to which moment of issue.';

alter table hangar.user_secrets enable row level security;
alter table hangar.token_revocations enable row level security;
revoke all on hangar.user_secrets, hangar.token_revocations from public, anon, authenticated, service_role;
grant select on hangar.user_secrets, hangar.token_revocations to service_role;
create policy service_role_all on hangar.user_secrets for all to service_role using (true) with check (true);
create policy service_role_all on hangar.token_revocations for all to service_role using (true) with check (true);

create index user_fly_apps_token on public.user_fly_apps (token_expires_at) where deleted_at is null and desired_state = 'present';
create index user_fly_apps_token_renewal on public.user_fly_apps (token_renewal_at) where deleted_at is null and token_renewal_at is not null;

-- For the policies of the host's tables: false for a machine's token that was revoked, true for every other token and without one.
-- A machine's token carries app_id; a person who signs in has another one, which this does not touch. A token without a readable time of
-- issue is refused, because it cannot be judged. So is every token that was issued before its user was erased.
create function hangar.token_is_valid() returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
begin
  if v_claims ->> 'app_id' is null then
    return true;
  end if;
  return coalesce((v_claims ->> 'iat')::numeric > floor(extract(epoch from greatest(r.revoked_at, u.erased_at))), r.user_id is null and u.erased_at is null)
    from (select 1) one left join hangar.token_revocations r on r.user_id::text = v_claims ->> 'sub'
    left join hangar.erased_users u on u.user_hash = hangar.user_hash(v_claims ->> 'sub');
exception
  when invalid_text_representation then
    return false;
end
$$;
comment on function hangar.token_is_valid() is 'Whether the token of this request is not revoked; for the policies of the host''s tables: using ((select hangar.token_is_valid()) and …).';

-- The tokens of this user that were issued up to this moment are refused. It may lie ahead, if the clock was set back since.
create function hangar.tokens_refused_up_to(p_user uuid) returns timestamptz
language sql stable set search_path = ''
as $$
  select greatest((select r.revoked_at from hangar.token_revocations r where r.user_id = p_user),
                  (select u.erased_at from hangar.erased_users u where u.user_hash = hangar.user_hash(p_user::text)))
$$;

-- A revoked token of a machine reads nothing of Hangar's either.
create policy not_revoked on public.user_fly_apps as restrictive for select to authenticated using ((select hangar.token_is_valid()));
create policy not_revoked on public.user_fly_app_events as restrictive for select to authenticated using ((select hangar.token_is_valid()));

-- The secrets of this app that Fly has for certain, or may have.
create function hangar.list_own_secrets(p_row public.user_fly_apps) returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_agg(s.name order by s.name) from hangar.user_secrets s
   where s.user_id = p_row.user_id and s.row_id = p_row.id and s.lost_at is null
$$;

-- Fly has lost the secrets of this app: it was made again, or it has another name. Hangar has no value that it could set again.
create function hangar.mark_secrets_lost(p_row public.user_fly_apps) returns void
language sql volatile set search_path = ''
as $$
  update hangar.user_secrets s set lost_at = hangar.now() where s.row_id = p_row.id and s.lost_at is null
$$;

select hangar.restrict_functions();
