-- The real pg_cron, used in place of the stand-in where the server has it preloaded for this database.
create extension pg_cron;
grant usage on schema cron to postgres with grant option;
grant all on all functions in schema cron to postgres;
grant all on cron.job_run_details to postgres with grant option;
grant select on cron.job to postgres with grant option;
