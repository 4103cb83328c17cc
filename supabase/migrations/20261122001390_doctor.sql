-- `hangar doctor`: every check of the database in one call, and the facts that the command compares with the outside.
-- Builds on: doctor_calls, doctor_rights, doctor_host, doctor_operation. Read only: it runs in a read-only transaction too.

create function hangar.doctor_names() returns text[]
language sql immutable set search_path = ''
as $$
  select array['statement_timeout', 'database_clock', 'installation', 'settings', 'live', 'paused', 'brake', 'caps', 'operators',
    'procedure_rights', 'table_rights', 'row_security', 'own_triggers', 'shape', 'counters', 'advisors',
    'binding', 'host_triggers', 'statuses', 'tiers', 'ends', 'plans', 'plan_prices',
    'pg_cron', 'cron_sweep', 'cron_drain', 'pg_net', 'vault_functions_url', 'vault_webhook_secret', 'webhook_delivery',
    'sweep', 'changes', 'organisation', 'full_regions', 'legacy_apps', 'retention', 'failures', 'alert_delivery', 'open_alerts']
$$;

-- One check. Whatever fails in it is its finding, so that the other checks still run; a time-out is not caught. A right that is missing
-- here is missing for the procedures, too: they have the same owner.
create function hangar.doctor_check(p_name text) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_answer jsonb;
begin
  execute format('select %I.%I()', 'hangar', 'doctor_' || p_name) into v_answer;
  return jsonb_build_object('name', p_name) || coalesce(v_answer, hangar.doctor_says('wrong', 'a row that Hangar needs is missing, such as the one of hangar.settings',
    'Restore the row of hangar.settings or hangar.host_state from a backup'));
exception when insufficient_privilege then
  return jsonb_build_object('name', p_name) || hangar.doctor_says('wrong', format('the functions of Hangar run as %I, which lacks a right: %s', current_user, left(sqlerrm, 300)),
    format('Grant %I this right again, as the owner of what is named; on Supabase, its support does it', current_user));
when others then
  return jsonb_build_object('name', p_name) || hangar.doctor_says('warning', format('not checked: %s (%s)', left(sqlerrm, 300), sqlstate),
    'Read the log of the database, then run `hangar doctor` again');
end
$$;

-- The schema as it is: our functions with a fingerprint of their text, columns, triggers, indexes and policies, each as text.
create function hangar.doctor_schema() returns jsonb
language sql stable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'functions', (select pg_catalog.jsonb_object_agg(x.name, x.digests) from (
      select pg_catalog.format('%s.%s', p.pronamespace::regnamespace, p.proname) as name, pg_catalog.jsonb_agg(pg_catalog.md5(p.prosrc)) as digests
        from hangar.doctor_functions() f join pg_catalog.pg_proc p on p.oid = f.function group by 1) x),
    'relations', (select pg_catalog.jsonb_object_agg(t.name, (select pg_catalog.jsonb_agg(a.attname order by a.attnum) from pg_catalog.pg_attribute a
                    where a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped)) from hangar.doctor_relations() t),
    'triggers', (select pg_catalog.jsonb_agg(pg_catalog.format('%s on %s', g.tgname, t.name)) from hangar.doctor_relations() t
                   join pg_catalog.pg_trigger g on g.tgrelid = t.relation where not g.tgisinternal),
    'indexes', (select pg_catalog.jsonb_agg(pg_catalog.format('%s on %s', c.relname, t.name)) from hangar.doctor_relations() t
                  join pg_catalog.pg_index i on i.indrelid = t.relation join pg_catalog.pg_class c on c.oid = i.indexrelid where i.indisvalid),
    'policies', (select pg_catalog.jsonb_agg(pg_catalog.format('%s on %s', y.polname, t.name)) from hangar.doctor_relations() t
                   join pg_catalog.pg_policy y on y.polrelid = t.relation))
$$;

-- A signed call of each function whose body it refuses before it does anything. The functions' answer shows whether they have the secret
-- that is in Vault; the secret itself is not shown. Null without URL or secret.
create function hangar.doctor_probes() returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_secret text;
  v_urls text;
begin
  v_secret := hangar.doctor_vault('hangar_webhook_secret');
  v_urls := hangar.doctor_vault('hangar_functions_url');
  return (select jsonb_object_agg(f.name, jsonb_build_object('url', hangar.function_url(v_urls, f.name), 'body', b.body::text, 'headers',
            case when v_secret ~ '^whsec_.' then hangar.sign_webhook(v_secret, 'doctor_' || replace(gen_random_uuid()::text, '-', ''), clock_timestamp(), b.body) end))
            from unnest(array['provision', 'deprovision', 'health']) f (name) cross join (select '{"drain_only": "doctor"}'::jsonb as body) b);
exception when others then
  return null;
end
$$;

create function public.fly_doctor(p_only text[] default null, p_facts boolean default true) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_unknown text := (select string_agg(n, ', ') from unnest(p_only) n where n <> all (hangar.doctor_names()));
  v_checks jsonb := '[]'::jsonb;
  v_name text;
begin
  if v_unknown is not null then
    raise exception 'p_only names checks that do not exist: %', v_unknown using errcode = 'invalid_parameter_value';
  end if;
  foreach v_name in array hangar.doctor_names() loop
    if p_only is null or v_name = any (p_only) then
      v_checks := v_checks || hangar.doctor_check(v_name);
    end if;
  end loop;
  return jsonb_build_object('checks', v_checks) || case when not coalesce(p_facts, false) then '{}'::jsonb else jsonb_build_object(
    'now', clock_timestamp(),
    'settings', hangar.settings_json(),
    'read_only', current_setting('transaction_read_only') = 'on',
    'images', (select jsonb_agg(distinct i.image order by i.image) from (
                 select g.default_image as image from hangar.settings g
                 union all select p.docker_image from public.fly_plans p where p.dedicated and p.docker_image is not null) i),
    'regions', (select jsonb_agg(distinct r.word order by r.word) from (
                  select regexp_split_to_table(coalesce(p.region, g.default_region), ',') as word from hangar.settings g left join public.fly_plans p on p.dedicated) r
                 where r.word <> ''),
    'closed_originals', hangar.doctor_closed_originals(),
    'signing_key', (select to_jsonb(k) from hangar.read_signing_keys() k where k.signing is not null),
    'probes', hangar.doctor_probes(),
    'schema', hangar.doctor_schema()) end;
end
$$;
comment on function public.fly_doctor(text[], boolean) is 'Every check of the database, each with its state, what was found and the command that ends the problem. Reads only. docs/database.md, docs/doctor.md.';

select hangar.restrict_functions();
