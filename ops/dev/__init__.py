"""`hangar dev` and `make psql`: the local cloud in a terminal, with its sample fleet."""
