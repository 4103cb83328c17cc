"""Bugs planted in the dashboard: who is let in, what a form must carry, what is asked before something is destroyed."""

from tests.mutants.mutant import Mutant

ACCESS = ("tests/http/test_admin_access.py",)
ACTIONS = ("tests/http/test_admin_actions.py",)
PAGES = ("tests/http/test_admin_pages.py",)
PARTS = ("tests/unit/test_admin_parts.py",)
ROWS = ("tests/postgres/test_dashboard_rpcs.py",)

SERVING, SQL = "functions/admin/app.py", "supabase/migrations/20261122000880_dashboard_fleet.sql"

MUTANTS = (
    Mutant(
        "dashboard-anybody-signed-in",
        SERVING,
        'if frame.get("operator") is not True:',
        'if frame.get("operator") is None:',
        "who is no operator sees nothing",
        ACCESS,
    ),
    Mutant(
        "dashboard-other-sites",
        SERVING,
        "        raise _OtherSite\n",
        "        pass\n",
        "what another site sends goes no further",
        ACCESS,
    ),
    Mutant(
        "dashboard-any-form",
        "functions/admin/auth/session.py",
        'return hmac.compare_digest(self.make_form_proof(session).encode(), given.encode("utf-8", "replace"))',
        "return bool(given)",
        "a form proof belongs to one session",
        PARTS,
    ),
    Mutant(
        "dashboard-any-name-typed",
        "functions/admin/action_views.py",
        'wish.form.get("typed", "").strip() != wish.app',
        'not wish.form.get("typed")',
        "what is destroyed is named exactly",
        ACTIONS,
    ),
    Mutant(
        "dashboard-grant-removed-unasked",
        "functions/admin/action_views.py",
        'if deed.name == "remove-override" and (told["override"] or {}).get("override") == "grant":',
        "if False:",
        "a grant that carries an app is not removed without the app's name",
        PARTS,
    ),
    Mutant(
        "dashboard-keeps-what-is-gone",
        "functions/admin/action_views.py",
        'if deed.name == "keep" and wish.told["row"] is None:',
        "if False:",
        "keeping an app that is gone makes no new one",
        ACTIONS,
    ),
    Mutant(
        "dashboard-no-reason",
        "functions/admin/action_views.py",
        "if deed.needs_reason and not wish.reason:",
        "if False:",
        "what holds back or destroys has a reason in the log",
        ACTIONS,
    ),
    Mutant(
        "dashboard-leads-away",
        "functions/admin/auth/sign_in.py",
        '(after if _NEXT.fullmatch(after) else "")',
        "after",
        "after signing in nobody is sent away from here",
        ACCESS,
    ),
    Mutant(
        "dashboard-formulas",
        "functions/admin/views/export.py",
        'return f"\'{text}" if text.startswith(_BEGINS_FORMULA) else text',
        "return text",
        "no cell of a CSV is a formula",
        PARTS,
    ),
    Mutant(
        "dashboard-markup",
        "functions/admin/views/render.py",
        "autoescape=True,",
        "autoescape=False,",
        "what users call themselves is text on every page",
        PAGES,
    ),
    Mutant(
        "dashboard-wildcards",
        SQL,
        "replace(replace(replace(v_query, '\\', '\\\\'), '%', '\\%'), '_', '\\_') || '%'",
        "v_query || '%'",
        "a search takes every letter as it is",
        ROWS,
    ),
    Mutant(
        "dashboard-keyset",
        SQL,
        "case when p_descending then '<' else '>' end",
        "case when p_descending then '<=' else '>=' end",
        "pages hold every app once",
        ROWS,
    ),
)
