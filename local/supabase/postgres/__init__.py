"""A real Postgres with the roles, schemas and host tables of a Supabase project."""
