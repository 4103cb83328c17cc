-- Reads of the host that must not fail with it, and why it cannot be read.
-- Builds on: host_readers.

-- Reads that must not fail with the host, or wait for a table that it holds locked: what is unknown is null or absent.
create function hangar.emails(p_users uuid[]) returns table (user_id uuid, email text)
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return query select e.* from hangar.read_emails(p_users) e;
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return;
end
$$;

create function hangar.search_emails(p_like text, p_limit integer) returns uuid[]
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return coalesce((select array_agg(y) from unnest(hangar.find_by_email(p_like, p_limit)) y where y is not null), '{}');
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return '{}'::uuid[];
end
$$;

-- All subscriptions; none if the host cannot be read (hangar.explain_unreadable_host says why).
create function hangar.list_known_subscriptions() returns setof hangar.host_subscription
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  return query select s.* from hangar.list_subscriptions() s where s.user_id is not null;
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return;
end
$$;

create function hangar.user_email(p_user uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select e.email from hangar.emails(array[p_user]) e limit 1);
end
$$;
comment on function hangar.user_email(uuid) is 'The user''s e-mail address, from the bound table of users, user_profiles or auth.users; null if none has it.';

-- Calls each function on which a decision about a user depends, and which reads the host in its own way: one that fails must not do so in silence.
-- p_users: a user whom the host knows, or nobody. The caller has read all subscriptions.
create function hangar.try_readers(p_users uuid[]) returns void
language plpgsql stable set search_path = ''
as $$
begin
  perform 1 from hangar.read_subscriptions(p_users) limit 1;
  perform hangar.existing_users(p_users), hangar.has_no_users();
  -- A bound function is called in one way for this and for all subscriptions.
  if exists (select 1 from hangar.binding b where b.kind = 'table') then
    perform hangar.has_no_subscriptions();
  end if;
end
$$;

-- What cannot be read, in the words of the database; null if the host can be read.
create function hangar.explain_unreadable_host() returns text
language plpgsql stable set search_path = ''
as $$
begin
  perform hangar.try_readers(array(select s.user_id from hangar.list_subscriptions() s where s.user_id is not null limit 1));
  return null;
exception
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return sqlerrm;
end
$$;

-- Why the addresses of users cannot be read; null if they can, or if the host holds their table locked for now.
create function hangar.explain_unread_emails() returns text
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
begin
  perform 1 from hangar.read_emails('{}'::uuid[]);
  perform hangar.find_by_email('', 0);
  return null;
exception
  when lock_not_available then
    return null;
  when others or assert_failure then
    if not hangar.is_host_fault(sqlstate) then
      raise;
    end if;
    return sqlerrm;
end
$$;

-- What has changed about the table of users and keeps nobody from being read: a column deleted_at that Hangar does not obey, and addresses that
-- cannot be read. Null if nothing has.
create function hangar.explain_changed_users() returns text
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
declare
  v_binding hangar.binding;
  v_table text;
  v_deleted text;
  v_email text;
begin
  select b.* into v_binding from hangar.binding b;
  v_table := coalesce(v_binding.users ->> 'table', 'auth.users');
  if v_binding.kind is null or to_regclass(v_table) is null then
    return null;
  elsif not v_binding.users ? 'deleted_at' and hangar.has_column(to_regclass(v_table), 'deleted_at') then
    v_deleted := format('%s has a column deleted_at that it did not have when Hangar was bound. Hangar does not obey it: a user whom it marks as deleted '
                        'keeps the app. Bind again to obey it, or with {"deleted_at": null} in p_users to ignore it', v_table);
  end if;
  v_email := case when not hangar.has_column(to_regclass(v_table), hangar.mapped_column(v_binding.users -> 'email'))
                  then format('%s has no column %s for email any more', v_table, hangar.mapped_column(v_binding.users -> 'email'))
                  else hangar.explain_unread_emails() end;
  if v_email is not null then
    v_email := format('The e-mail addresses of users cannot be read: %s. Operators see ids in place of addresses; nothing else changes. Bind again '
                      'with the new column, or with {"email": null} in p_users', v_email);
  end if;
  return nullif(concat_ws('. ', v_deleted, v_email), '');
end
$$;

select hangar.restrict_functions();
