"""`/auth/v1`: the part of Supabase Auth that the dashboard's sign-in uses."""
