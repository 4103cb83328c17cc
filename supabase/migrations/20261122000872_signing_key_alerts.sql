-- What each sweep reads about the signing keys, and the alert about tokens that the project refuses.
-- Builds on: signing_keys, token_renewal, alerts.

-- One alert while Hangar signs with a key that the project does not accept, or while apps have tokens of such a key.
create function hangar.check_signing_key() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_keys hangar.signing_keys := hangar.read_signing_keys();
  v_hold text;
  v_some text;
begin
  if v_keys.signing is null then
    return;  -- the project's keys could not be read for an hour: nothing is known, and an open alert stays
  elsif v_keys.signing = any (v_keys.published) and v_keys.refused_apps = 0 then
    perform hangar.resolve_alert('signing_key', 'fleet');
    return;
  end if;
  select string_agg(format('%s (user %s)', e.fly_app_name, e.user_id), ', ' order by e.fly_app_name) into v_some
    from (select a.fly_app_name, a.user_id from public.user_fly_apps a
           where a.deleted_at is null and a.desired_state = 'present' and hangar.is_token_refused(a) order by a.fly_app_name limit 3) e;
  v_hold := hangar.find_renewal_hold();
  perform hangar.raise_alert('signing_key', 'fleet', concat_ws(' ',
    case when v_keys.refused_apps > 0 then
      format('The project refuses the tokens of %s app(s), because it does not accept the key that signed them (any more): %s%s. They cannot read their users'' data.',
             v_keys.refused_apps, v_some, case when v_keys.refused_apps > 3 then ', …' else '' end) end,
    case
      when v_keys.signing <> all (v_keys.published) then
        format('Hangar signs tokens with the key %s, which the project does not publish, so every new token is refused too. Hangar renews no token '
               'until it signs with a key that is published. Import the key in HANGAR_USER_TOKEN_KEY into the project, or put a key of the project '
               'into it and run `hangar deploy`. If the key was imported within the last 20 minutes, wait: Supabase caches its list of keys.',
               v_keys.signing)
      when v_hold is not null then format('Hangar gives them no new tokens now (%s). See `hangar credentials`.', v_hold)
      else format('Hangar gives them new tokens of the key %s, up to %s apps in five minutes, and their machines restart.',
                  v_keys.signing, hangar.count_refused_room()) end,
    'See `hangar credentials`; the steps are in docs/credentials.md, "A new signing key"'),
    jsonb_build_object('signing', v_keys.signing, 'published', v_keys.signing = any (v_keys.published), 'refused_apps', v_keys.refused_apps));
end
$$;

create function public.fly_record_signing_keys(p_signing text, p_published jsonb, p_installation uuid default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_published text[];
  v_refused integer;
  v_back uuid[];
begin
  if coalesce(p_signing, '') = '' or jsonb_typeof(p_published) is distinct from 'array'
    or jsonb_path_exists(p_published, '$[*] ? (@.type() != "string")') then
    raise exception 'p_signing must be the id of a key and p_published a JSON array of the ids of published keys'
      using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_limit('p_published', greatest(jsonb_array_length(p_published), 1), 100);
  v_published := array(select jsonb_array_elements_text(p_published));
  if p_installation <> (select g.installation_id from hangar.settings g) then
    -- The key of another installation's functions signs no token of this fleet.
    return jsonb_build_object('published', p_signing = any (v_published), 'refused_apps', null);
  end if;
  -- A key that is accepted again: what was wrong with the apps is over, and their health is judged from the beginning.
  v_back := array(
    select a.id from public.user_fly_apps a cross join hangar.signing_keys k
     where a.deleted_at is null and a.desired_state = 'present' and a.health_status = 'unhealthy'
       and a.token_key_id <> all (k.published) and a.token_key_id = any (v_published));
  if cardinality(v_back) > 0 then
    -- In the order of every procedure that changes rows and targets: the lock of the releases, the rows by id, the targets.
    perform pg_advisory_xact_lock(hashtextextended('hangar.releases', 0));
    perform from public.user_fly_apps a where a.id = any (v_back) order by a.id for no key update;
    update public.user_fly_apps a set health_status = 'unknown', bad_samples = 0, health_step = null where a.id = any (v_back);
    delete from hangar.app_health h where h.fly_app_id = any (v_back);
    update hangar.release_targets t set good_since = null where t.row_id = any (v_back) and t.state = 'done';
  end if;
  select count(*) into v_refused from public.user_fly_apps a
   where a.deleted_at is null and a.desired_state = 'present' and a.token_key_id <> all (v_published);
  insert into hangar.signing_keys as k (signing, published, refused_apps, read_at) values (p_signing, v_published, v_refused, hangar.now())
  on conflict (only_row) do update
     set signing = excluded.signing, published = excluded.published, refused_apps = excluded.refused_apps, read_at = excluded.read_at;
  return jsonb_build_object('published', p_signing = any (v_published), 'refused_apps', v_refused);
end
$$;
comment on function public.fly_record_signing_keys(text, jsonb, uuid) is 'The key that signs the tokens of machines, and the keys that the project publishes. docs/database.md.';

select hangar.restrict_functions();
