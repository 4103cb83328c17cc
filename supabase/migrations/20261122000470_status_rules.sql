-- What the status words of subscriptions mean. Payment providers use the same word for opposite things, so the rules are data.
-- Builds on: tables, host_values.
-- entitled: until the end date, or without end if there is none. until_end: until the end date, and not at all without one. no: never.

create function hangar.guard_status_rule() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.status := lower(hangar.trim_word(new.status));
  if coalesce(new.status, '') = '' then
    raise exception 'a status rule needs a status, the word that the host writes' using errcode = 'invalid_parameter_value';
  elsif new.rule is null or new.rule not in ('entitled', 'until_end', 'no') then
    raise exception 'the rule of status % must be entitled, until_end or no, not %', new.status, coalesce(new.rule, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
  return new;
end
$$;
create trigger guard_status_rule before insert or update on hangar.status_rules
  for each row execute function hangar.guard_status_rule();

-- The presets. Sources: Stripe "How subscriptions work", Paddle Billing, Lemon Squeezy and RevenueCat, see docs/host-binding.md.
create function hangar.status_rules_of(p_provider text) returns table (status text, rule text)
language sql immutable set search_path = ''
as $$
  select r.status, r.rule
    from (values
      ('default', 'active', 'entitled'), ('default', 'trialing', 'entitled'), ('default', 'past_due', 'entitled'),
      ('default', 'cancelled', 'until_end'), ('default', 'canceled', 'until_end'),
      ('default', 'unpaid', 'no'), ('default', 'paused', 'no'), ('default', 'expired', 'no'),
      ('default', 'incomplete', 'no'), ('default', 'incomplete_expired', 'no'),
      ('stripe', 'active', 'entitled'), ('stripe', 'trialing', 'entitled'), ('stripe', 'past_due', 'entitled'),
      ('stripe', 'canceled', 'no'), ('stripe', 'cancelled', 'no'), ('stripe', 'unpaid', 'no'), ('stripe', 'paused', 'no'),
      ('stripe', 'incomplete', 'no'), ('stripe', 'incomplete_expired', 'no'),
      ('paddle', 'active', 'entitled'), ('paddle', 'trialing', 'entitled'), ('paddle', 'past_due', 'entitled'),
      ('paddle', 'canceled', 'no'), ('paddle', 'paused', 'no'),
      ('lemon_squeezy', 'active', 'entitled'), ('lemon_squeezy', 'on_trial', 'entitled'), ('lemon_squeezy', 'past_due', 'entitled'),
      ('lemon_squeezy', 'cancelled', 'until_end'), ('lemon_squeezy', 'unpaid', 'no'), ('lemon_squeezy', 'paused', 'no'),
      ('lemon_squeezy', 'expired', 'no'),
      ('revenuecat', 'initial_purchase', 'entitled'), ('revenuecat', 'renewal', 'entitled'), ('revenuecat', 'uncancellation', 'entitled'),
      ('revenuecat', 'product_change', 'entitled'), ('revenuecat', 'billing_issue', 'entitled'),
      ('revenuecat', 'subscription_paused', 'until_end'), ('revenuecat', 'cancellation', 'until_end'), ('revenuecat', 'expiration', 'no'),
      ('revenuecat', 'active', 'entitled'), ('revenuecat', 'cancelled', 'until_end'), ('revenuecat', 'canceled', 'until_end'),
      ('revenuecat', 'expired', 'no')
    ) as r (provider, status, rule)
   where r.provider = p_provider
$$;

-- Replaces all rules by those of one provider. Run it as the database owner, before or after binding.
create function hangar.use_status_rules(p_provider text) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_count integer;
begin
  if p_provider is null or p_provider not in ('default', 'stripe', 'paddle', 'lemon_squeezy', 'revenuecat') then
    raise exception 'there are no status rules for %', coalesce(p_provider, 'null')
      using errcode = 'invalid_parameter_value', hint = 'Use default, stripe, paddle, lemon_squeezy or revenuecat, or edit hangar.status_rules.';
  end if;
  delete from hangar.status_rules where true;
  insert into hangar.status_rules (status, rule, note) select r.status, r.rule, p_provider from hangar.status_rules_of(p_provider) r;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function hangar.use_status_rules(text) is 'Replaces hangar.status_rules by a preset: default, stripe, paddle, lemon_squeezy or revenuecat. Returns the number of rules.';
select hangar.use_status_rules('default');

select hangar.restrict_functions();
