-- Regions: the words that a plan or the settings may name, and which regions had no room a while ago.
-- Builds on: schema.

-- Fly's regions and aliases. The owner is shared/domain/data/fly_regions.json; a test compares both.
create function hangar.region_words() returns text[]
language sql immutable set search_path = ''
as $$
  select array['ams', 'any', 'apac', 'arn', 'cdg', 'dfw', 'eu', 'ewr', 'fra', 'gru', 'hkg', 'iad', 'jnb', 'lax', 'lhr', 'na', 'nrt', 'ord',
               'sa', 'sin', 'sjc', 'syd', 'us', 'usa', 'yyz']
$$;

create function hangar.normalise_region(p_preference text) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return (select case when p_preference is not null then coalesce(string_agg(w.word, ',' order by w.nr), '') end
            from (select btrim(t.word, E' \t\n\r\f\v') as word, min(t.nr) as nr
                    from regexp_split_to_table(lower(p_preference), ',') with ordinality t (word, nr) group by 1) w
           where w.word <> '');
end
$$;
comment on function hangar.normalise_region(text) is 'The list as it is stored: lower case, without space, each word once. Python does the same; a test compares both.';

create function hangar.explain_refused_region(p_preference text) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return (select format('region ''%s'' does not exist on Fly: use one or several of %s, separated by commas', w.word,
                        array_to_string(hangar.region_words(), ', '))
            from regexp_split_to_table(hangar.normalise_region(p_preference), ',') with ordinality w (word, nr)
           where w.word <> all (hangar.region_words()) order by w.nr limit 1);
end
$$;
comment on function hangar.explain_refused_region(text) is 'Why this list of regions is refused, as a sentence; null if it is accepted. Python answers the same; a test compares both.';

-- The regions that a word stands for. The owner is the same file; a test compares both.
create function hangar.expand_region(p_word text) returns text[]
language sql immutable set search_path = ''
as $$
  select case p_word
      when 'any' then array['ams', 'arn', 'cdg', 'dfw', 'ewr', 'fra', 'gru', 'hkg', 'iad', 'jnb', 'lax',
        'lhr', 'nrt', 'ord', 'sin', 'sjc', 'syd', 'yyz']
      when 'apac' then array['hkg', 'nrt', 'sin', 'syd']
      when 'eu' then array['ams', 'arn', 'cdg', 'fra', 'lhr']
      when 'na' then array['dfw', 'ewr', 'iad', 'lax', 'ord', 'sjc', 'yyz']
      when 'sa' then array['gru']
      when 'us' then array['dfw', 'ewr', 'iad', 'lax', 'ord', 'sjc']
      when 'usa' then array['dfw', 'ewr', 'iad', 'lax', 'ord', 'sjc']
      else array[p_word] end
$$;

-- Whether a machine in this region is where this list wants it.
create function hangar.region_allows(p_preference text, p_region text) returns boolean
language sql immutable set search_path = ''
as $$
  select exists (select 1 from pg_catalog.string_to_table(hangar.normalise_region(p_preference), ',') w (word)
                  where p_region = any (hangar.expand_region(w.word)))
$$;

create table hangar.region_capacity (
  region text not null,
  size_kind text not null check (size_kind in ('shared', 'performance')),
  full_since timestamptz not null default hangar.now(),
  until timestamptz not null,
  message text,
  primary key (region, size_kind)
);
comment on table hangar.region_capacity is 'Regions (or aliases) in which Fly had no room for this kind of size. Until `until` they are skipped; then Fly is asked again.';
alter table hangar.region_capacity enable row level security;
revoke all on hangar.region_capacity from public, anon, authenticated, service_role;
grant select on hangar.region_capacity to service_role;
create policy service_role_all on hangar.region_capacity for all to service_role using (true) with check (true);

-- What a create of a machine has shown: {"region", "full", "message"}. A full region is remembered for 15 minutes, one with room forgotten.
create function hangar.record_region_capacity(p_size_kind text, p_found jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_found -> 'full' = 'true' then
    insert into hangar.region_capacity as c (region, size_kind, full_since, until, message)
    values (p_found ->> 'region', p_size_kind, v_now, v_now + interval '15 minutes', p_found ->> 'message')
    on conflict (region, size_kind) do update
      set full_since = case when c.until > v_now then c.full_since else excluded.full_since end, until = excluded.until,
          message = excluded.message;
  elsif p_found -> 'full' = 'false' then
    delete from hangar.region_capacity c where c.region = p_found ->> 'region' and c.size_kind = p_size_kind;
  end if;
end
$$;

create function hangar.full_regions_json(p_size_kind text) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (select coalesce(jsonb_agg(jsonb_build_object('region', c.region, 'full_since', c.full_since, 'until', c.until) order by c.region), '[]')
            from hangar.region_capacity c where c.size_kind = p_size_kind and c.until > hangar.now());
end
$$;

select hangar.restrict_functions();
