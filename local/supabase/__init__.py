"""A local Supabase project: Postgres, its extensions, and the gateway with REST and sign-in."""
