"""Bugs planted in the functions: the dashboard's access, forms and exports, and what an operator may ask for."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_ACCESS = "tests/http/test_admin_access.py"
_ACTIONS = "tests/http/test_admin_actions.py"
_PARTS = "tests/unit/test_admin_parts.py"
_RELEASES = "tests/unit/test_release_pages.py"
_RELEASE_ROWS = "tests/postgres/test_dashboard_releases.py"
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
        Python("shared.domain.csv_text", "_escape_formula"),
        r"return f\"'\{text\}\" if text\.startswith\(_FORMULA_STARTS\) else text",
        "return text",
        "I9: no cell of an export is a formula",
        (_PARTS,),
    ),
    PlantedBug(
        "old-form-steps-a-release",
        Python("functions.admin.actions.release_offers", "explain_stale_form"),
        exactly("if is_offered and seen in (None, mark_state(release)):"),
        "if is_offered:",
        "I4: a form about a release that has changed meanwhile does nothing",
        (_RELEASES,),
    ),
    PlantedBug(
        "second-pause-looks-like-the-first",
        Python("functions.admin.actions.release_offers", "mark_state"),
        exactly(
            """return f"paused {log[0]['id']}" if release["state"] == "paused" and log else str(release["state"])"""
        ),
        'return str(release["state"])',
        "I4: a release that has paused again is not resumed by a form of the first pause",
        (_RELEASES,),
    ),
    PlantedBug(
        "resume-while-apps-go-back",
        Python("functions.admin.actions.release_offers", "offer_release_actions"),
        exactly('(counts.get("going_back") or counts.get("failed"))'),
        "False",
        "I4: a button is offered only where it can work",
        (_RELEASES,),
    ),
    PlantedBug(
        "environment-in-every-answer",
        Sql("function hangar.row_json"),
        exactly("when p_with_token and p_row.env_version is not null"),
        "when p_row.env_version is not null",
        "I9: values of an environment go only to the worker that writes them",
        (_RELEASE_ROWS,),
    ),
    PlantedBug(
        "draft-planned-as-it-was",
        Sql("function hangar.release_parts"),
        exactly("if p_release.state = 'draft' then"),
        "if false then",
        "a draft shows what its start would do now",
        (_RELEASE_ROWS,),
    ),
)
