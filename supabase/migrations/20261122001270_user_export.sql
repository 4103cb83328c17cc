-- Everything that Hangar holds about one person, for `hangar user export`. Read only.
-- Builds on: dashboard_user, release_tables, archive, host_tables.

-- Without the events, which the caller reads page by page, and without the values of an environment, which may be secrets.
create function public.fly_user_export(p_user uuid) returns jsonb
language plpgsql volatile security definer set search_path = '' set timezone = 'UTC'
as $$
begin
  return jsonb_build_object(
    'user_id', p_user,
    'email', hangar.user_email(p_user),
    'apps', (select coalesce(jsonb_agg(hangar.row_json(a) order by a.created_at, a.name_seq), '[]')
               from public.user_fly_apps a where a.user_id = p_user),
    'cost_intervals', (select coalesce(jsonb_agg(to_jsonb(c) order by c.seq), '[]') from public.fly_cost_intervals c where c.user_id = p_user),
    'override', (select to_jsonb(o) from public.fly_overrides o where o.user_id = p_user),
    'loss', (select to_jsonb(l) from hangar.host_losses l where l.user_id = p_user),
    'pin', (select hangar.pin_json(n) from hangar.user_pins n where n.user_id = p_user),
    'given_by_release', (select to_jsonb(s) - 'env' || jsonb_build_object('env', (select jsonb_agg(k) from jsonb_object_keys(s.env) k))
                           from hangar.user_specs s where s.user_id = p_user),
    'secrets', hangar.user_secrets_json(p_user),
    'revocation', (select to_jsonb(r) from hangar.token_revocations r where r.user_id = p_user),
    'releases', (select coalesce(jsonb_agg(to_jsonb(t) - 'previous' order by t.release_id), '[]') from hangar.release_targets t where t.user_id = p_user),
    'orphans', (select coalesce(jsonb_agg(to_jsonb(o) order by o.app), '[]') from public.fly_orphans o where o.user_id = p_user),
    'alerts', (select coalesce(jsonb_agg(to_jsonb(l) order by l.seq), '[]') from hangar.alerts l where strpos(to_jsonb(l)::text, p_user::text) > 0),
    'operator', (select to_jsonb(p) from hangar.operators p where p.user_id = p_user),
    'original_apps', (select coalesce(jsonb_agg(to_jsonb(o) order by o.upgraded_at), '[]') from hangar.original_apps o
                       where strpos(o.original::text, p_user::text) > 0),
    'archived_events', (select coalesce(sum(b.rows), 0)::text from hangar.archive_batches b where b.source = 'events' and b.state = 'deleted'));
end
$$;
comment on function public.fly_user_export(uuid) is 'Everything that Hangar holds about one user, without the events. docs/database.md.';

select hangar.restrict_functions();
