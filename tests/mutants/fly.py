"""Bugs planted in the Fly client: what an answer means, what is repeated, and Fly's rate limits."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_ANSWERS = "tests/unit/test_fly_errors.py"
_CLIENT = "tests/unit/test_fly_client.py"
_LIMITS = "tests/unit/test_fly_rate_limits.py"

BUGS = (
    PlantedBug(
        "forbidden-is-gone",
        Python("shared.fly.errors", "RULES"),
        exactly('errors.NotOwned, "not_owned"'),
        'errors.NotFound, "gone"',
        "I4: a 403 means that the app belongs to somebody else",
        (f"{_ANSWERS}::test_each_answer_leads_to_one_reaction",),
    ),
    PlantedBug(
        "unknown-403-is-a-strangers-app",
        Python("shared.fly.errors", "RULES"),
        exactly("words=refusals.NOT_OWNED, org_wide=False"),
        "org_wide=False",
        "C1: only Fly's own words say that an app is not ours",
        (f"{_ANSWERS}::test_a_403_that_nobody_knows_is_not_a_strangers_app",),
    ),
    PlantedBug(
        "server-error-had-no-effect",
        Python("shared.fly.errors", "RULES"),
        exactly("Rule(frozenset(range(500, 600)), errors.OutcomeUnknown,"),
        "Rule(frozenset(range(500, 600)), errors.TransientError,",
        "I11: after a 5xx nobody knows whether the call had its effect",
        (f"{_ANSWERS}::test_each_answer_leads_to_one_reaction",),
    ),
    PlantedBug(
        "proxy-404-is-absence",
        Python("shared.fly.messages", "Response.proves_absence"),
        exactly("return isinstance(self.data, dict) or (not self.text.strip() and self.request_id is not None)"),
        "return True",
        "I5: only Fly's own 404 says that something is gone",
        (f"{_CLIENT}::test_a_404_that_is_not_flys_own_proves_nothing", _ANSWERS),
    ),
    PlantedBug(
        "secrets-shown-in-other-calls",
        Python("shared.fly.errors", "classify_answer"),
        exactly("(*hidden, *call.secrets)"),
        "call.secrets",
        "I9: a machine's secrets are hidden in the answer to every call",
        (f"{_ANSWERS}::test_a_known_secret_is_hidden_in_every_call",),
    ),
    PlantedBug(
        "unsafe-call-repeated",
        Python("shared.fly.transport", "FlyLink._attempt"),
        exactly("call.is_repeatable or not isinstance(error, OutcomeUnknown)"),
        "True",
        "I2: a call that may have happened is repeated only if that is safe",
        (f"{_CLIENT}::test_exec_is_not_repeated_after_an_unknown_outcome",),
    ),
    PlantedBug(
        "restart-repeated",
        Python("shared.fly.machines", "MachineCalls.restart_machine"),
        exactly(", is_repeatable=False"),
        "",
        "I7: a restart that may have happened is not made again",
        ("tests/simulation/test_restart.py::test_a_lost_answer_does_not_restart_twice",),
    ),
    PlantedBug(
        "throttling-hides-an-unknown-outcome",
        Python("shared.fly.retry", "RetryState.run_attempt"),
        exactly("raise (self.last_error or throttled)"),
        "raise throttled",
        "I11: what may have happened is unknown, whatever held back the next attempt",
        (f"{_LIMITS}::test_an_unknown_outcome_is_not_hidden_by_holding_back",),
    ),
    PlantedBug(
        "deletions-unlimited",
        Python("shared.fly.rate_limits", "RateLimits._limits_of"),
        exactly("[pace, self._deletions] if deletes_app else [pace]"),
        "[pace]",
        "I7: a process deletes at most as many apps a minute as Fly accepts",
        (f"{_LIMITS}::test_no_minute_has_more_than_a_hundred_app_deletions",),
    ),
    PlantedBug(
        "token-in-repr",
        Python("shared.fly.transport", "FlyLink.__repr__"),
        exactly("{self.base_url!r}"),
        "{self.base_url!r}, {self._token}",
        "I9: no repr shows a token",
        (f"{_CLIENT}::test_the_token_is_in_no_error_no_repr_and_no_log",),
    ),
)
