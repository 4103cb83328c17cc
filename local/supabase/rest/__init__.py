"""`/rest/v1`: the part of PostgREST that Hangar, its backend and their tests use."""
