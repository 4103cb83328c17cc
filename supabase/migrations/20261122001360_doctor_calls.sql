-- What `hangar doctor` checks about the calls from the database to the functions: the schedule, pg_net, Vault, and how calls fared.
-- Builds on: nudge, sweep. Each check is one function `hangar.doctor_<name>()`. It only reads. docs/doctor.md names each.

-- The answer of one check. p_state: ok, warning or wrong. p_remedy: the command that ends the problem.
create function hangar.doctor_says(p_state text, p_found text, p_remedy text default null) returns jsonb
language sql immutable set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('state', p_state, 'found', p_found, 'remedy', p_remedy)
$$;

create function hangar.doctor_sweep() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_ended timestamptz := (select w.completed_at from hangar.sweeps w where w.name = 'fleet');
  v_live boolean := (select g.live and not g.paused from hangar.settings g);
begin
  if v_ended is null then
    return hangar.doctor_says('warning', 'no sweep has completed yet', 'hangar sweep');
  elsif v_ended < v_now - interval '30 minutes' then
    return hangar.doctor_says(case when v_live then 'wrong' else 'warning' end,
      format('the last complete sweep ended %s ago; one should complete every five minutes', date_trunc('second', v_now - v_ended)), 'hangar sweep');
  end if;
  return hangar.doctor_says('ok', format('the last complete sweep ended %s ago', date_trunc('second', v_now - v_ended)));
end
$$;

create function hangar.doctor_changes() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
  v_users bigint;
  v_oldest timestamptz;
begin
  select count(*), min(m.marked_at) into v_users, v_oldest from hangar.marks m;
  if v_oldest < v_now - interval '10 minutes' then
    return hangar.doctor_says('wrong', format('%s change(s) of subscriptions wait, the oldest for %s; a drain should follow them within a minute', v_users,
      date_trunc('second', v_now - v_oldest)), 'hangar sweep --drain');
  end if;
  return hangar.doctor_says('ok', format('%s change(s) of subscriptions wait', v_users));
end
$$;

create function hangar.doctor_pg_cron() returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if to_regprocedure('cron.schedule(text,text,text)') is not null then
    return hangar.doctor_says('ok', 'pg_cron is installed');
  elsif hangar.doctor_sweep() ->> 'state' = 'ok' then
    return hangar.doctor_says('warning', 'pg_cron is not installed; another scheduler calls the health function, because sweeps complete');
  end if;
  return hangar.doctor_says('wrong', 'pg_cron is not installed, and no other scheduler has run a complete sweep lately',
    'create extension pg_cron with schema pg_catalog; then run supabase/migrations/20261122001400_cron.sql again');
end
$$;

-- One job of `cron`. p_age: how old its newest run may be.
create function hangar.doctor_job(p_job text, p_schedule text, p_command text, p_age interval) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job record;
  v_run record;
  v_others text;
  v_schedule text := format('select cron.schedule(%L, %L, %L);', p_job, p_schedule, p_command);
begin
  if to_regprocedure('cron.schedule(text,text,text)') is null then
    return hangar.doctor_says('warning', format('not checked: the job %s needs pg_cron, which is not installed', p_job),
      hangar.doctor_pg_cron() ->> 'remedy');
  end if;
  -- Every role may have a job of the same name.
  execute $sql$select j.jobid, j.active, j.schedule, j.command, j.username, exists (select 1 from pg_catalog.pg_roles r where r.rolname = j.username
                   and has_function_privilege(r.oid, 'hangar.call_health(boolean)', 'execute')) as may_run
    from cron.job j where j.jobname = $1 and j.database = current_database() order by may_run desc, j.active desc limit 1$sql$
    into v_job using p_job;
  -- cron.schedule changes the command of a job that exists, and not its database.
  execute 'select min(j.database) from cron.job j where j.jobname = $1 and j.database <> current_database()' into v_others using p_job;
  if v_job.jobid is null and v_others is not null then
    return hangar.doctor_says('wrong', format('the job %s belongs to the database %s', p_job, v_others), format('select cron.unschedule(%L); ', p_job) || v_schedule);
  elsif v_job.jobid is null then
    return hangar.doctor_says('wrong', format('pg_cron has no job %s', p_job), v_schedule);
  elsif not v_job.active then
    return hangar.doctor_says('wrong', format('the job %s is disabled', p_job), format('select cron.unschedule(%L); ', p_job) || v_schedule);
  elsif regexp_replace(btrim(v_job.schedule), '\s+', ' ', 'g') <> p_schedule then
    return hangar.doctor_says('wrong', format('the job %s has the schedule %s, expected %s', p_job, v_job.schedule, p_schedule), v_schedule);
  elsif rtrim(btrim(v_job.command), ';') <> p_command then
    return hangar.doctor_says('wrong', format('the job %s runs another command than %s', p_job, p_command), v_schedule);
  elsif not v_job.may_run then
    return hangar.doctor_says('wrong', format('the job %s runs as the role %s, which may not run its command', p_job, v_job.username),
      v_schedule || '  -- run it as the owner of the database; the job of the other role does no harm');
  end if;
  execute $sql$select string_agg(format('select cron.unschedule(%s);', j.jobid), ' ' order by j.jobid) from cron.job j
    where j.active and j.command ~ 'hangar\.call_health|check-fly-apps-health' and coalesce(j.jobname, '') not in ('hangar-drain', 'check-fly-apps-health')$sql$ into v_others;
  if v_others is not null and p_job = 'check-fly-apps-health' then
    return hangar.doctor_says('warning', 'another job calls the health function too', v_others);
  end if;
  -- cron.job_run_details has no index but its key, so the newest run is searched from the end.
  execute 'select d.status, d.return_message, d.start_time from cron.job_run_details d where d.jobid = $1 order by d.runid desc limit 1'
    into v_run using v_job.jobid;
  if v_run.start_time is null then
    return hangar.doctor_says('warning', format('the job %s is scheduled (%s) and has not run yet', p_job, p_schedule),
      'Wait for its next run. If it never comes, restart the database: the scheduler of pg_cron has ended');
  elsif v_run.start_time < clock_timestamp() - p_age then
    return hangar.doctor_says('wrong', format('the job %s last ran at %s; the scheduler of pg_cron seems to have ended', p_job,
      to_char(v_run.start_time at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')), 'Restart the database in the Supabase dashboard (Project Settings, General)');
  elsif v_run.status = 'failed' then
    return hangar.doctor_says('wrong', format('the last run of the job %s failed: %s', p_job, left(v_run.return_message, 200)),
      'select * from cron.job_run_details order by runid desc limit 5;');
  end if;
  return hangar.doctor_says('ok', format('the job %s runs at %s', p_job, p_schedule));
end
$$;

create function hangar.doctor_cron_sweep() returns jsonb
language sql stable set search_path = ''
as $$ select hangar.doctor_job('check-fly-apps-health', '*/5 * * * *', 'select hangar.call_health(false)', interval '16 minutes') $$;

create function hangar.doctor_cron_drain() returns jsonb
language sql stable set search_path = ''
as $$ select hangar.doctor_job('hangar-drain', '* * * * *', 'select hangar.call_health(true)', interval '5 minutes') $$;

create function hangar.doctor_pg_net() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_oldest timestamptz;
begin
  if to_regprocedure('net.http_post(text,jsonb,jsonb,jsonb,integer)') is null then
    return hangar.doctor_says('wrong', 'pg_net is not installed: the database cannot call the functions', 'create extension pg_net with schema extensions;');
  end if;
  if not has_function_privilege('net.http_post(text,jsonb,jsonb,jsonb,integer)', 'execute') then
    raise insufficient_privilege using message = 'permission denied for function net.http_post';
  end if;
  -- The queue has no time of its own, but our requests carry one.
  execute $sql$select min(to_timestamp((q.headers ->> 'webhook-timestamp')::bigint)) from net.http_request_queue q
                where q.headers ->> 'webhook-timestamp' ~ '^[0-9]{1,12}$'$sql$ into v_oldest;
  if v_oldest < clock_timestamp() - interval '1 minute' then
    return hangar.doctor_says('wrong', format('a call waits in the queue of pg_net, since %s: the worker of pg_net has ended or hangs',
      to_char(v_oldest at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')), 'select net.worker_restart();');
  elsif not exists (select 1 from pg_catalog.pg_stat_activity s where s.backend_type ilike '%pg_net%' or s.application_name ilike 'pg_net%') then
    return hangar.doctor_says('wrong', 'pg_net is installed and its worker does not run, so calls of the database are never sent',
      'select net.worker_restart();');
  end if;
  return hangar.doctor_says('ok', 'the worker of pg_net runs');
end
$$;

-- Null if Vault has no such secret. Raises if Vault cannot be read.
create function hangar.doctor_vault(p_name text) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return (select max(s.decrypted_secret) from vault.decrypted_secrets s where s.name = p_name);
end
$$;

-- How a secret gets into Vault, without its value.
create function hangar.doctor_vault_remedy(p_name text, p_example text, p_exists boolean) returns text
language sql immutable set search_path = ''
as $$
  select case when p_exists then format('select vault.update_secret((select id from vault.secrets where name = %L), %L);', p_name, p_example)
              else format('select vault.create_secret(%L, %L);', p_example, p_name) end
$$;

create function hangar.doctor_vault_functions_url() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_set text := hangar.doctor_vault('hangar_functions_url');
  v_remedy text := hangar.doctor_vault_remedy('hangar_functions_url', 'https://YOUR-FUNCTIONS', v_set is not null);
  v_problem text;
  v_plain text;
begin
  if coalesce(btrim(v_set), '') = '' then
    return hangar.doctor_says('wrong', 'Vault has no hangar_functions_url, so the database does not know where the functions are', v_remedy);
  end if;
  begin
    select string_agg(case when u.url is null then format('it names no URL for %s', u.name)
                           when u.url !~ '^https?://[^/\s@]+(/\S*)?$' then format('the URL for %s does not have the form https://host/path', u.name) end, '; '),
           string_agg(u.name, ', ') filter (where u.url ~ '^http://' and u.url !~ '^http://(127\.|localhost|\[::1\])')
      into v_problem, v_plain
      from (select f as name, hangar.function_url(v_set, f) as url from unnest(array['provision', 'deprovision', 'health']) f) u;
  exception when others then
    v_problem := 'it is neither a URL nor a JSON object of URLs';
  end;
  if v_problem is null and left(btrim(v_set), 1) <> '{' and rtrim(btrim(v_set), '/') ~ '/(health|provision|deprovision)$' then
    v_problem := 'it ends in the name of a function, and the database appends that name itself';
  end if;
  if v_problem is not null then
    return hangar.doctor_says('wrong', 'hangar_functions_url in Vault cannot be used: ' || v_problem, v_remedy);
  elsif v_plain is not null then
    return hangar.doctor_says('warning', format('hangar_functions_url in Vault is not encrypted (http://) for %s', v_plain), v_remedy);
  end if;
  return hangar.doctor_says('ok', 'hangar_functions_url in Vault names a URL for each function');
end
$$;

create function hangar.doctor_vault_webhook_secret() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_secret text := hangar.doctor_vault('hangar_webhook_secret');
  v_bytes integer;
  v_readers text;
begin
  select string_agg(r, ', ') into v_readers from unnest(array['anon', 'authenticated']) r
   where has_schema_privilege(r, 'vault', 'usage')
     and (has_any_column_privilege(r, 'vault.decrypted_secrets', 'select') or has_any_column_privilege(r, 'vault.secrets', 'select'));
  if v_readers is not null then
    return hangar.doctor_says('wrong', format('%s may read Vault, and so the secret with which the database signs its calls', v_readers),
      'revoke all on vault.secrets, vault.decrypted_secrets from public, anon, authenticated;');
  end if;
  if coalesce(v_secret, '') = '' then
    return hangar.doctor_says('wrong', 'Vault has no hangar_webhook_secret, so the database cannot sign its calls',
      hangar.doctor_vault_remedy('hangar_webhook_secret', 'THE VALUE OF HANGAR_WEBHOOK_SECRET', v_secret is not null));
  end if;
  begin
    v_bytes := case when v_secret ~ '^whsec_[A-Za-z0-9+/]+={0,2}$' then length(decode(substr(v_secret, 7), 'base64')) end;
  exception when others then
    v_bytes := null;
  end;
  if v_bytes is null or v_bytes not between 24 and 64 then
    return hangar.doctor_says('wrong', 'hangar_webhook_secret in Vault does not have the form whsec_ + base64 of 24 to 64 bytes',
      hangar.doctor_vault_remedy('hangar_webhook_secret', 'THE VALUE OF HANGAR_WEBHOOK_SECRET', true));
  end if;
  return hangar.doctor_says('ok', 'hangar_webhook_secret in Vault has the right form');
end
$$;

-- How the calls of the last hour fared. Responses of pg_net carry no URL, so ours are recognised by the headers of our endpoint.
create function hangar.doctor_webhook_delivery() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_last record;
  v_failed record;
begin
  if to_regclass('net._http_response') is null then
    return hangar.doctor_says('warning', 'not checked: pg_net is not installed', hangar.doctor_pg_net() ->> 'remedy');
  end if;
  execute $sql$
    select r.status_code, r.created from net._http_response r
     where r.created > clock_timestamp() - interval '1 hour' and r.status_code is not null
       and exists (select 1 from jsonb_object_keys(coalesce(r.headers, '{}')) k where lower(k) = 'x-request-id')
       and exists (select 1 from jsonb_each_text(r.headers) h where lower(h.key) = 'x-content-type-options' and lower(h.value) = 'nosniff')
     order by r.created desc, r.id desc limit 1$sql$ into v_last;
  execute $sql$
    select count(*) as calls, max(r.created) as latest, (array_agg(r.error_msg order by r.created desc))[1] as error from net._http_response r
     where r.created > clock_timestamp() - interval '15 minutes' and r.status_code is null and not coalesce(r.timed_out, false)$sql$ into v_failed;
  if v_last.status_code = 401 then
    return hangar.doctor_says('wrong', 'the functions rejected the signature of the last call of the database (401): the secret in Vault is not theirs',
      hangar.doctor_vault_remedy('hangar_webhook_secret', 'THE VALUE OF HANGAR_WEBHOOK_SECRET', true));
  elsif v_last.status_code >= 400 then
    return hangar.doctor_says('warning', format('the last call of the database was answered %s', v_last.status_code), 'hangar doctor; hangar status');
  elsif v_failed.calls > 0 and (v_last.created is null or v_failed.latest > v_last.created) then
    return hangar.doctor_says('warning', format('%s call(s) of the database found no connection in the last 15 minutes: %s. Calls of other webhooks count too',
      v_failed.calls, left(v_failed.error, 200)), 'Check hangar_functions_url in Vault: the database itself must reach it');
  elsif v_last.created is null then
    return hangar.doctor_says('warning', 'no call of the database was answered in the last hour', 'select hangar.call_health(true);');
  end if;
  return hangar.doctor_says('ok', format('the last answered call of the database got %s', v_last.status_code));
end
$$;

select hangar.restrict_functions();
