"""Bugs planted in who may call and what may be shown: callers of the functions, operators, tokens, logs, alerts."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_WEBHOOK, _OPERATOR = "shared.http.webhook_auth", "shared.http.operator_auth"
_SIGNATURES = "tests/unit/test_auth.py"
_TOKENS = "tests/unit/test_operators.py"

BUGS = (
    PlantedBug(
        "signature-not-compared",
        Python(_WEBHOOK, "SignedWebhook.verify"),
        exactly("if any(matches) else None"),
        "",
        "I4: an unsigned nudge is refused",
        (_SIGNATURES,),
    ),
    PlantedBug(
        "old-signature-accepted",
        Python(_WEBHOOK, "SignedWebhook.verify"),
        exactly("not abs(now_unix_s - int(sent_at)) <= WINDOW_S or"),
        "",
        "I4: a nudge is accepted only in its time window",
        (_SIGNATURES,),
    ),
    PlantedBug(
        "any-kind-of-caller",
        Python(_WEBHOOK, "authenticate"),
        exactly("if caller is not None and caller.kind in allowed:"),
        "if caller is not None:",
        "I4: a function accepts the kinds of caller that it declares",
        (_SIGNATURES,),
    ),
    PlantedBug(
        "operator-any-algorithm",
        Python(_OPERATOR, "_parse_keys"),
        exactly("if key.key_id and key.algorithm_name in ALGORITHMS:"),
        "if key.key_id:",
        "I4: a token is verified with a public key, never with a shared secret",
        (_TOKENS,),
    ),
    PlantedBug(
        "operator-by-machine-token",
        Python(_OPERATOR, "_is_session"),
        exactly('and "app_id" not in claims'),
        "",
        "I4: the machine of an operator is not an operator",
        (_TOKENS,),
    ),
    PlantedBug(
        "operator-for-ever",
        Python(_OPERATOR, "_is_now"),
        exactly("now_unix_s < ends_at + LEEWAY_S"),
        "ends_at > 0",
        "I4: an expired token authenticates nobody",
        (_TOKENS,),
    ),
    PlantedBug(
        "operator-row-not-asked",
        Python(_OPERATOR, "OperatorToken.check"),
        exactly('"operator" if row.get("operator") is True else "user"'),
        '"operator"',
        "I4: a user is an operator only while the database says so, at every call",
        (_TOKENS,),
    ),
    PlantedBug(
        "machine-token-without-a-session",
        Python("shared.adapters.user_tokens", "mint_user_token"),
        exactly('"session_id": str(app_id),'),
        "",
        "I9: a stolen machine token cannot change the user's password",
        ("tests/unit/test_tokens.py",),
    ),
    PlantedBug(
        "credentials-in-excerpts",
        Python("shared.observability.redaction", "cut_excerpt"),
        exactly("mask_credentials(text)"),
        "text",
        "I9: a credential that an answer from outside echoes is not stored, sent or shown",
        ("tests/unit/test_planted_excerpts.py::test_an_excerpt_shows_no_credential",),
    ),
    PlantedBug(
        "known-secrets-not-redacted",
        Python("shared.observability.redaction", "Redactor.clean"),
        exactly("if self._known is not None:"),
        "if False:",
        "I9: no log line contains a secret of this process",
        ("tests/unit/test_logs.py",),
    ),
    PlantedBug(
        "hangars-secrets-in-machines",
        Python("shared.settings.config", "Config._check_machine_extras"),
        exactly("if text.strip() in own_secrets"),
        "if False",
        "I9: no machine receives a secret of Hangar's own",
        ("tests/unit/test_config.py",),
    ),
)
