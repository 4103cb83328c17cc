"""Bugs planted in who is let in: operators' tokens, their rows, and what only they may have done."""

from tests.mutants.mutant import Mutant

TOKENS = ("tests/unit/test_operators.py",)
ROWS = ("tests/postgres/test_operators.py",)
RESTARTS = ("tests/simulation/test_restart.py",)

PROOF, CALLERS, SQL = "shared/operators.py", "shared/auth.py", "supabase/migrations/20261122000870_operators.sql"

MUTANTS = (
    Mutant(
        "operator-any-algorithm",
        PROOF,
        "if key.key_id and key.algorithm_name in ALGORITHMS:",
        "if key.key_id:",
        "a token is verified with ES256 or RS256, never with a shared secret",
        TOKENS,
    ),
    Mutant(
        "operator-any-issuer",
        PROOF,
        "issuer=self.issuer,\n                # The times",
        "# The times",
        "a token of another project is no proof",
        TOKENS,
    ),
    Mutant(
        "operator-any-audience",
        PROOF,
        "audience=AUDIENCE,",
        'audience=[AUDIENCE, "anon"],',
        "a token for another audience is no proof",
        TOKENS,
    ),
    Mutant(
        "operator-any-role",
        PROOF,
        'claims.get("role") == AUDIENCE',
        'claims.get("role") is not None',
        "a token of another role is no proof",
        TOKENS,
    ),
    Mutant(
        "operator-without-session",
        PROOF,
        'and parse_uuid(claims.get("session_id")) is not None',
        "",
        "a token without a session is nobody's sign-in",
        TOKENS,
    ),
    Mutant(
        "operator-by-machine-token",
        PROOF,
        'and "app_id" not in claims',
        "",
        "an operator's own machine is no operator",
        TOKENS,
    ),
    Mutant(
        "operator-anonymous",
        PROOF,
        'and claims.get("is_anonymous", False) is False',
        "",
        "an anonymous user is no operator",
        TOKENS,
    ),
    Mutant(
        "operator-for-ever",
        PROOF,
        "now_unix_s < ends_at + LEEWAY_S",
        "ends_at > 0",
        "a token that is over is no proof",
        TOKENS,
    ),
    Mutant(
        "operator-end-optional",
        PROOF,
        "and not isinstance(each, bool) for each in times",
        "or True for each in times",
        "the end of a token is a number",
        TOKENS,
    ),
    Mutant(
        "operator-row-not-asked",
        PROOF,
        'Caller("operator" if told.get("operator") is True else "user", name)',
        'Caller("operator", name)',
        "only who has a row is an operator, at every call",
        TOKENS,
    ),
    Mutant(
        "operator-unknown-key-refetches-at-will",
        PROOF,
        "LOOK_AGAIN_S = 30",
        "LOOK_AGAIN_S = 0",
        "a stranger's made-up key ids do not make us ask the project at will",
        TOKENS,
    ),
    Mutant(
        "operator-unjudged-is-401",
        CALLERS,
        "            unjudged = error\n",
        "",
        "a proof that cannot be judged is 503, not 401",
        TOKENS,
    ),
    Mutant(
        "operator-row-of-the-banned",
        SQL,
        "and v_user is not null and coalesce((v_user ->> 'banned_until')::timestamptz <= hangar.now(), true)",
        "",
        "who is deleted or banned is no operator",
        ROWS,
    ),
    Mutant(
        "operators-changed-without-a-trail",
        SQL,
        "where c.who is not null and old.user_id is distinct from new.user_id",
        "where false",
        "I11: every change of who may operate is an event",
        ROWS,
    ),
    Mutant(
        "restarted-twice",
        "supabase/migrations/20261122000600_intents.sql",
        "elsif v_meta ->> 'action' = 'restart_machine' and hangar.was_restarted(p_row.id) then",
        "elsif false then",
        "a restart pressed twice is done once",
        (*RESTARTS, *ROWS),
    ),
    Mutant(
        "restart-repeated-after-a-lost-answer",
        "shared/fly.py",
        "app, params, read_timeout_s=timeout_s + 10.0, is_repeatable=False)",
        "app, params, read_timeout_s=timeout_s + 10.0)",
        "a restart that may have happened is not made again",
        RESTARTS,
    ),
    Mutant(
        "restart-under-the-workers-name",
        "shared/work.py",
        "actor = self.asked.actor if self.asked else self.by.holder",
        "actor = self.by.holder",
        "I11: what an operator has done is signed with the operator's name",
        RESTARTS,
    ),
)
