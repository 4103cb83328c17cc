"""Bugs planted in who may do what: callers of the functions, rights and policies of the database."""

from tests.mutants.mutant import Mutant

MATRIX = ("tests/http/test_auth_matrix.py",)
RIGHTS = ("tests/postgres/test_rights.py",)
TOLD = ("tests/unit/test_fly_errors.py",)

AUTH, EDGE = "shared/http/webhook_auth.py", "shared/http/endpoint.py"
TABLES, SAVE = "supabase/migrations/20261122000200_tables.sql", "supabase/migrations/20261122000650_save.sql"

MUTANTS = (
    Mutant(
        "signature-of-any-version",
        AUTH,
        "hmac.compare_digest(expected, given.encode(",
        'hmac.compare_digest(expected.split(b",")[-1], given.split(",")[-1].encode(',
        "only v1 signatures are known",
        MATRIX,
    ),
    Mutant(
        "signatures-without-end",
        AUTH,
        "or len(signatures) > SIGNATURES_MAX:",
        "or len(signatures) > 1000:",
        "a request cannot make us compare without end",
        MATRIX,
    ),
    Mutant(
        "id-not-signed",
        AUTH,
        'signed = b".".join((delivery.encode(), sent_at.encode(), body))',
        'signed = b".".join((b"msg", sent_at.encode(), body))',
        "a signature holds for one delivery's id",
        MATRIX,
    ),
    Mutant(
        "static-secret-by-its-beginning",
        AUTH,
        'given = headers.get("x-hangar-secret", "").encode("utf-8", "replace")',
        'given = headers.get("x-hangar-secret", "").encode("utf-8", "replace")[: len(self.secret.reveal())]',
        "the whole static secret is compared",
        MATRIX,
    ),
    Mutant(
        "any-method-works",
        EDGE,
        'if request.method != "POST":',
        'if request.method == "GET":',
        "only POST does something",
        MATRIX,
    ),
    Mutant(
        "users-may-call-a-procedure",
        SAVE,
        "revoke all on function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) from public, anon, authenticated;",
        "",
        "no user calls a procedure",
        RIGHTS,
    ),
    Mutant(
        "users-may-read-plans",
        TABLES,
        "grant select on public.user_fly_apps, public.user_fly_app_events to authenticated;",
        "grant select on public.user_fly_apps, public.user_fly_app_events, public.fly_plans to authenticated;",
        "a user reads what is theirs, and no plan",
        RIGHTS,
    ),
    Mutant(
        "service-role-writes-rows",
        TABLES,
        "grant select, insert, update, delete on public.fly_plans to service_role;",
        "grant select, insert, update, delete on public.fly_plans, public.user_fly_apps to service_role;",
        "I6, I11: rows change through procedures alone",
        RIGHTS,
    ),
    Mutant(
        "a-column-opened",
        TABLES,
        "grant select on public.user_fly_apps, public.user_fly_app_events to authenticated;",
        "grant select on public.user_fly_apps, public.user_fly_app_events to authenticated;"
        "grant select (tier) on public.fly_plans to anon;",
        "a right on a column is a right",
        RIGHTS,
    ),
    Mutant(
        "credentials-of-answers-told",
        "shared/domain/errors.py",
        'line = " ".join(mask_credentials(text).split())',
        'line = " ".join(text.split())',
        "I9: what an answer from outside echoes is stored, sent and shown",
        TOLD,
    ),
    Mutant(
        "request-id-as-it-comes",
        "shared/fly/errors.py",
        "request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,",
        "request_id=request_id or None,",
        "I9: a request id is stored and shown, whatever a proxy put there",
        TOLD,
    ),
    Mutant(
        "hidden-only-where-sent",
        "shared/fly/errors.py",
        "told = cut_excerpt(hide_secrets(answer.error, (*hidden, *call.secrets)))",
        "told = cut_excerpt(hide_secrets(answer.error, call.secrets))",
        "I9: a machine's secrets are hidden in every call's answer",
        TOLD,
    ),
    Mutant(
        "gunicorn-speaks-freely",
        "shared/observability/logging.py",
        'logging.getLogger("gunicorn.error").addFilter(Redaction(redactor))',
        "pass",
        "I9: what the server says of broken requests is cleaned too",
        ("tests/unit/test_logs.py",),
    ),
)
