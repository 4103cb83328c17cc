"""The dashboard's Take a new name, for an app whose name another organisation has."""

import pytest

from tests.http.admin_visitor import notice, text_of
from tests.http.test_admin_offers import offered


def test_it_is_offered_only_when_fly_says_that_the_name_is_not_ours(operator, make_app, make_user, sql):
    lost = make_app(status="error", error_code="not_owned", error_message="not ours")
    assert "new-name" in offered(operator, lost)
    page = operator.get(f"users/{lost}")
    assert "Take a new name" in text_of(page)
    well = make_app()
    assert "new-name" not in offered(operator, well)
    assert "nothing says that somebody else has the name" in notice(
        operator.follow(operator.get(f"actions/new-name?user={well}"))
    )
    assert "no app whose name" in notice(operator.follow(operator.get(f"actions/new-name?user={make_user()}")))


@pytest.mark.slow
def test_it_needs_a_reason_and_records_the_decision(operator, make_app, sql):
    """The row of this test has no app on Fly and no name that is taken: Fly answers 404, so it keeps its name."""
    lost = make_app(status="error", error_code="not_owned", error_message="not ours", machine_id="m1")
    assert operator.submit(f"actions/new-name?user={lost}", reason="").status_code == 400
    asked = "select metadata ->> 'reason' from user_fly_app_events where user_id = %s and metadata ->> 'source' = 'new_name'"
    assert sql(asked, lost) == []
    operator.act("new-name", lost, reason="deleted by hand")
    assert sql(asked, lost) == [("deleted by hand",)]
