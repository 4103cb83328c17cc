"""Bugs planted in the functions: the dashboard's access, forms and exports, and what an operator may ask for."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_ACCESS = "tests/http/test_admin_access.py"
_ACTIONS = "tests/http/test_admin_actions.py"
_PARTS = "tests/unit/test_admin_parts.py"
_ROWS = "tests/postgres/test_dashboard_rpcs.py"

BUGS = (
    PlantedBug(
        "dashboard-for-everybody",
        Python("shared.adapters.procedures_dashboard", "DashboardProcedures.read_frame"),
        exactly('return answer if answer.get("operator") is True else None'),
        "return answer",
        "I9: a user who is not an operator sees nothing",
        (_ACCESS,),
    ),
    PlantedBug(
        "any-form-proof",
        Python("functions.admin.auth.session", "CookieSealer.is_form_proof"),
        exactly('hmac.compare_digest(self.make_form_proof(session).encode(), given.encode("utf-8", "replace"))'),
        "bool(given)",
        "I4: a form proof belongs to one session",
        (_PARTS,),
    ),
    PlantedBug(
        "grant-removed-without-the-name",
        Python("functions.admin.actions.offers", "specialise"),
        exactly('spec.name == "remove-override" and (user["override"] or {}).get("override") == "grant"'),
        "False",
        "I5: a grant that keeps an app is not removed without the app's name",
        (_PARTS,),
    ),
    PlantedBug(
        "formula-in-the-export",
        Python("functions.admin.views.export", "_escape_formula"),
        r"return f\"'\{text\}\" if text\.startswith\(_FORMULA_STARTS\) else text",
        "return text",
        "I9: no cell of an export is a formula",
        (_PARTS,),
    ),
)
