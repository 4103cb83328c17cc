"""What a registry's answer about an image means for a release: its digest, a refusal, or that the canary decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from shared.domain.errors import Refused
from shared.domain.models import Json

# Fly's machines are x86-64.
PLATFORM = "amd64/linux"

Outcome = Literal["resolved", "missing", "wrong_architecture", "not_readable", "not_looked_up"]


@dataclass(frozen=True)
class ImageLookup:
    """What the registry says about one image. `digest` is set if it is resolved; `said` is its answer in words.

    `digest` is what Fly shows for a machine that runs the image: of the manifest for Fly's platform. `index` is the digest
    of the index (a list of images for several platforms) that the name leads to, if it leads to one.

    `not_looked_up`: the settings of this installation do not allow the question.
    """

    outcome: Outcome
    registry: str = ""
    digest: str | None = None
    platforms: tuple[str, ...] = ()
    said: str = ""
    index: str | None = None


@dataclass(frozen=True)
class CheckedImage:
    """A release after its image was looked up. `notice` is a sentence for the operator; it is empty if all is known."""

    release: Json
    found: ImageLookup
    notice: str = ""


def check_release_image(release: Json, look_up: Callable[[str], ImageLookup]) -> CheckedImage:
    """Look up the image of a release before it is planned, and add the digest that its tag has now as `image_digest`.

    Raises Refused with the code "invalid_value" for an image that does not exist or cannot run on Fly. A registry that cannot
    be read refuses nothing: the digest that Fly reports for the canary becomes the release's.
    """
    image = release.get("image")
    if not isinstance(image, str) or not image:
        return CheckedImage(release, ImageLookup("not_looked_up"))
    found = look_up(image)
    if found.outcome == "missing":
        raise Refused(
            f"the image {image} does not exist: {found.said}. Push it, or correct the name, tag or digest",
            code="invalid_value",
        )
    if found.outcome == "wrong_architecture":
        raise Refused(
            f"the image {image} cannot run on Fly, whose machines need {PLATFORM}: {found.said}. "
            f"Build it for that platform (docker build --platform linux/amd64) and push it again",
            code="invalid_value",
        )
    if found.outcome == "not_readable":
        notice = f"the registry {found.registry} could not be read ({found.said}); the canary decides the digest"
        return CheckedImage(release, found, notice)
    if found.digest is None:
        return CheckedImage(release, found)
    name, _, given = image.partition("@")
    if given and given == found.index:
        # Fly never shows the digest of an index, so a machine that is right would look wrong.
        notice = f"{given} is an index for several platforms; the release has its image for {PLATFORM}, {found.digest}"
        return CheckedImage({**release, "image": f"{name}@{found.digest}", "image_digest": found.digest}, found, notice)
    return CheckedImage({**release, "image_digest": found.digest}, found)
