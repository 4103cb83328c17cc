-- Who is who, for the command line: users by id or by e-mail address, read where the host binding says that users are. Read only.
-- Builds on: host_readers, dashboard_search.

-- At most two users are looked for at each address: one is the answer, and two make it ambiguous.
create function public.fly_find_users(p_users uuid[] default '{}', p_emails text[] default '{}') returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_users uuid[] := coalesce(p_users, '{}');
  v_email text;
begin
  perform hangar.check_limit('users and e-mails in one call', greatest(cardinality(v_users) + cardinality(coalesce(p_emails, '{}')), 1), 500);
  foreach v_email in array coalesce(p_emails, '{}') loop
    v_users := v_users || hangar.search_emails(hangar.escape_like(lower(btrim(v_email))), 2);
  end loop;
  return jsonb_build_object('users', (select coalesce(jsonb_agg(jsonb_build_object('user_id', e.user_id, 'email', e.email) order by e.email, e.user_id), '[]')
    from hangar.emails(array(select distinct u from unnest(v_users) u)) e));
end
$$;
comment on function public.fly_find_users(uuid[], text[]) is 'Users by id or by e-mail address, from the bound table of users. docs/database.md.';

select hangar.restrict_functions();
