-- What the original's three tiers buy. Edit fly_plans later; a second run changes nothing.
insert into public.fly_plans (tier, dedicated, cpu_kind, cpu_count, memory_mb, power, grace_s) values
  ('free', false, 'shared', 2, 512, 'always_on', 0),
  ('pro', true, 'shared', 2, 512, 'always_on', 0),
  ('elite', true, 'shared', 2, 512, 'always_on', 0)
on conflict do nothing;
