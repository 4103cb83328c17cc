"""The caller's token: the Authorization header, and `GET /v1/tokens/current`."""

import hashlib
import hmac
from functools import lru_cache

from local.fly.api.calls import Call
from local.fly.errors import FlyError, answer
from local.fly.state.state import World
from local.http_server import Request, Response


def authenticate(world: World, request: Request) -> str:
    """The caller's name in leases, made from its token; 401 without a token or with a wrong one.

    `Bearer x` and `FlyV1 x[,y…]` are accepted, as on Fly. A simulator without a token accepts every token.
    """
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() not in ("bearer", "flyv1") or not token:
        raise FlyError(401, "Authenticate: token validation error")
    wanted = world.settings.token
    if wanted is not None:
        bare = wanted.removeprefix("FlyV1 ").removeprefix("Bearer ").encode()
        # A whole Fly token behind Bearer is `Bearer FlyV1 fm2_…`, which Fly's parser accepts.
        given = [token.removeprefix("FlyV1 ").strip(), *token.split(",")]
        if not any(hmac.compare_digest(each.encode(), bare) for each in given):
            raise FlyError(401, "invalid token")
    return _name_caller(token)


@lru_cache(256)
def _name_caller(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def show_token(world: World, call: Call) -> Response:
    """`GET /v1/tokens/current`."""
    org = world.settings.org or "personal"
    token = {"token_id": call.owner, "organization": org, "org_slug": org, "apps": [], "user": call.owner}
    return answer({"tokens": [token]})
