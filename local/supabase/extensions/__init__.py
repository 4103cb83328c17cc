"""The workers of pg_net and pg_cron, outside the database."""
