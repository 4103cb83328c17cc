-- The binding of a host with the original system's tables. Without them Hangar is installed, changes nobody, and `hangar status` says so.
-- Builds on: marks (hangar.bind_subscriptions).

do $$
begin
  if to_regclass('public.user_subscriptions') is null then
    raise notice 'Hangar: there is no table public.user_subscriptions, so nothing is bound yet. See docs/host-binding.md';
  elsif not exists (select 1 from hangar.binding) then
    perform hangar.bind_subscriptions('public.user_subscriptions');
  end if;
exception when others then
  raise warning 'Hangar: public.user_subscriptions could not be bound: %. See docs/host-binding.md', sqlerrm;
end
$$;

select hangar.restrict_functions();
