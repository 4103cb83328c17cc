-- The real pg_cron, used instead of ../50_cron.sql when the server preloads it for this database.
create extension pg_cron;
grant usage on schema cron to postgres with grant option;
grant all on all functions in schema cron to postgres;
grant all on cron.job_run_details to postgres with grant option;
grant select on cron.job to postgres with grant option;
