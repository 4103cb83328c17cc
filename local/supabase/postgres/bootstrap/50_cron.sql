-- pg_cron's tables with cron.schedule and cron.unschedule, as in its version 1.6. The scheduler is
-- local/supabase/extensions/pg_cron.py.
create schema cron;

create table cron.job (
  jobid bigserial primary key,
  schedule text not null,
  command text not null,
  nodename text not null default 'localhost',
  nodeport int not null default inet_server_port(),
  database text not null default current_database(),
  username text not null default current_user,
  active boolean not null default true,
  jobname text,
  constraint jobname_username_uniq unique (jobname, username)
);
alter table cron.job enable row level security;
create policy cron_job_policy on cron.job using (username = current_user);

create table cron.job_run_details (
  jobid bigint,
  runid bigserial primary key,
  job_pid integer,
  database text,
  username text,
  command text,
  status text,
  return_message text,
  start_time timestamptz,
  end_time timestamptz
);
alter table cron.job_run_details enable row level security;
create policy cron_job_run_details_policy on cron.job_run_details using (username = current_user);

create function cron._is_schedule(schedule text) returns boolean language plpgsql immutable as $$
declare
  fields text[];
  lowest constant int[] := array[0, 0, 1, 1, 0];
  highest constant int[] := array[59, 23, 31, 12, 7];
  names constant text[] := array[
    null, null, null, 'jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec', 'sun|mon|tue|wed|thu|fri|sat'
  ];
  item text;
  bounds text[];
begin
  if schedule ~* '^\s*[1-9][0-9]?\s+seconds?\s*$' then
    return substring(schedule from '[0-9]+')::int <= 59;
  end if;
  if lower(schedule) in ('@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly') then
    return true;
  end if;
  fields := regexp_split_to_array(btrim(schedule), '\s+');
  if coalesce(array_length(fields, 1), 0) <> 5 then
    return false;
  end if;
  for field in 1..5 loop
    foreach item in array string_to_array(lower(fields[field]), ',') loop
      continue when item = '$' and field = 3;
      if names[field] is not null then
        item := regexp_replace(item, names[field], lowest[field]::text, 'g');
      end if;
      if item !~ '^(\*|\d{1,2}(-\d{1,2})?)(/[1-9]\d*)?$' then
        return false;
      end if;
      bounds := string_to_array(split_part(item, '/', 1), '-');
      continue when bounds[1] = '*';
      if bounds[1]::int < lowest[field]
        or coalesce(bounds[2], bounds[1])::int not between bounds[1]::int and highest[field]
      then
        return false;
      end if;
    end loop;
  end loop;
  return true;
end
$$;

-- In a SECURITY DEFINER function current_user is the owner, so the public functions pass the caller's name.
create function cron._schedule(caller text, job_name text, job_schedule text, job_command text)
returns bigint language plpgsql security definer set search_path = '' as $$
declare
  made bigint;
begin
  if not pg_catalog.pg_has_role(session_user, caller, 'member') then
    raise exception 'must be a member of role "%"', caller using errcode = 'insufficient_privilege';
  end if;
  if not coalesce(cron._is_schedule(job_schedule), false) then
    raise exception 'invalid schedule: %', job_schedule using
      errcode = 'invalid_parameter_value',
      hint = 'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds''';
  end if;
  insert into cron.job (schedule, command, username, jobname)
  values (job_schedule, job_command, caller, job_name)
  on conflict on constraint jobname_username_uniq do update
  set schedule = excluded.schedule, command = excluded.command
  returning jobid into made;
  return made;
end
$$;

create function cron.schedule(schedule text, command text) returns bigint language sql as $$
  select cron._schedule(current_user::text, null, schedule, command)
$$;

create function cron.schedule(job_name text, schedule text, command text) returns bigint language plpgsql as $$
begin
  if job_name is null then
    raise exception 'job_name can not be NULL' using errcode = 'invalid_parameter_value';
  end if;
  return cron._schedule(current_user::text, job_name, schedule, command);
end
$$;

create function cron._unschedule(caller text, id bigint, name text)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  if not pg_catalog.pg_has_role(session_user, caller, 'member') then
    raise exception 'must be a member of role "%"', caller using errcode = 'insufficient_privilege';
  end if;
  delete from cron.job j where (j.jobid = id or j.jobname = name) and j.username = caller;
  if not found and name is not null then
    raise exception 'could not find valid entry for job ''%''', name;
  elsif not found then
    raise exception 'could not find valid entry for job %', id;
  end if;
  return true;
end
$$;

create function cron.unschedule(job_id bigint) returns boolean language sql as $$
  select cron._unschedule(current_user::text, job_id, null)
$$;

create function cron.unschedule(job_name text) returns boolean language sql as $$
  select cron._unschedule(current_user::text, null, job_name)
$$;

grant usage on schema cron to postgres with grant option;
grant all on all functions in schema cron to postgres;
grant all on cron.job_run_details to postgres with grant option;
grant select on cron.job to postgres with grant option;
