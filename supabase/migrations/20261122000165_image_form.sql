-- What the name of an image looks like, for plans, settings and releases.
-- Builds on: schema.

-- Lower case except for the tag, no scheme, and a tag or a digest. Grammar: distribution/reference (Docker, OCI).
create function hangar.image_pattern() returns text
language sql immutable set search_path = ''
as $$
  select '^[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]{1,5}/[a-z0-9]+([._-]+[a-z0-9]+)*)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*'
    || '(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}|(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?@[a-z0-9+._-]+:[a-f0-9]+)$'
$$;

select hangar.restrict_functions();
