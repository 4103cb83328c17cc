"""The form of a release and the registry of its image: refused, stored as a digest, or left to the canary."""

import pytest

from local.http_server import Response
from tests.http.admin_visitor import notice, text_of
from tests.support.registry import LoopbackRegistry

NAME = "team/backend:v2"


@pytest.fixture
def registry():
    with LoopbackRegistry() as registry:
        yield registry


@pytest.mark.parametrize(
    ("platform", "sentence"),
    [(None, "does not exist"), ("arm64/linux", "cannot run on Fly, whose machines need amd64/linux")],
)
def test_an_image_that_cannot_run_is_refused_on_the_form(operator, release_apps, registry, sql, platform, sentence):
    if platform:
        registry.push(NAME, platform)
    image = f"{registry.host}/{NAME}"
    answer = operator.submit("actions/create-release", image=image, reason="because")
    assert answer.status_code == 400
    assert f"The image {image} {sentence}" in text_of(answer)
    assert sql("select count(*) from hangar.releases") == [(0,)]


def test_the_draft_has_the_digest_of_the_registry(operator, draft, registry, sql):
    digest = registry.push(NAME)
    release = draft(image=f"{registry.host}/{NAME}")
    assert sql("select image_digest from hangar.releases where id = %s", release) == [(digest,)]
    assert digest in text_of(operator.get(f"releases/{release}"))


def test_a_registry_that_cannot_be_read_is_said_on_the_draft(operator, release_apps, registry, sql):
    registry.answer_all = Response(429)
    page = operator.follow(operator.submit("actions/create-release", image=f"{registry.host}/{NAME}", reason="because"))
    assert "was created as a draft" in notice(page)
    assert f"The registry {registry.host} could not be read (it answered 429); the canary decides" in notice(page)
    assert sql("select image_digest from hangar.releases") == [(None,)]


def test_the_same_form_makes_one_draft_although_the_tag_has_moved(operator, draft, registry, sql):
    """The second press would find another digest; it is still the same request."""
    fields = {"image": f"{registry.host}/{NAME}", "request": "7d6f0f3e-51a0-4f51-8a4f-3f3d0b0b7a11"}
    registry.push(NAME)
    first = draft(**fields)
    registry.push_index(NAME, "amd64/linux")
    assert draft(**fields) == first
    assert sql("select count(*) from hangar.releases") == [(1,)]
