"""The caller's token: the Authorization header, what it is (`tokens/current`) and what it may do (`tokens/authorize`)."""

import hashlib
import hmac
from functools import lru_cache

from local.fly.api.calls import Call
from local.fly.errors import FlyError, answer, read_text
from local.fly.state.state import World
from local.http_server import Request, Response

_ACTIONS = frozenset("rwcdC")
_AUTHORIZE = "/v1/tokens/authorize"


def authenticate(world: World, request: Request) -> str:
    """The caller's name in leases, made from its token; 401 without a token or with a wrong one, 403 if it may only read.

    `Bearer x` and `FlyV1 x[,y…]` are accepted, as on Fly. A simulator without a token accepts every token.
    """
    token = _accept(world, request.headers.get("authorization", ""))
    if request.method != "GET" and request.path != _AUTHORIZE and _is_read_only(world, token):
        raise FlyError(403, "unauthorized")
    return _name_caller(token)


def _accept(world: World, header: str) -> str:
    """The token in an Authorization header; 401 if there is none that Fly knows."""
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() not in ("bearer", "flyv1") or not token:
        raise FlyError(401, "Authenticate: token validation error")
    wanted = world.settings.token
    if wanted is not None and not any(_matches(token, each) for each in (wanted, *world.read_only_tokens)):
        raise FlyError(401, "invalid token")
    return token


def _matches(token: str, known: str) -> bool:
    bare = known.removeprefix("FlyV1 ").removeprefix("Bearer ").encode()
    # A whole Fly token behind Bearer is `Bearer FlyV1 fm2_…`, which Fly's parser accepts.
    given = [token.removeprefix("FlyV1 ").strip(), *token.split(",")]
    return any(hmac.compare_digest(each.encode(), bare) for each in given)


def _is_read_only(world: World, token: str) -> bool:
    return any(_matches(token, each) for each in world.read_only_tokens)


@lru_cache(256)
def _name_caller(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def show_token(world: World, call: Call) -> Response:
    """`GET /v1/tokens/current`."""
    org = world.settings.org or "personal"
    token = {"token_id": call.owner, "organization": org, "org_slug": org, "apps": [], "user": call.owner}
    return answer({"tokens": [token]})


def authorize_token(world: World, call: Call) -> Response:
    """`POST /v1/tokens/authorize`: whether the token in `header` may do `action` in an organisation. It changes nothing.

    400 if it may not: Fly's description has no other answer for that.
    """
    body = call.body(required=True)
    access = body.get("access")
    if not isinstance(access, dict):
        raise FlyError(400, "invalid_argument: access is required")
    org, action = read_text(access, "org_slug"), read_text(access, "action") or ""
    try:
        token = _accept(world, read_text(body, "header") or "")
    except FlyError as refused:
        raise FlyError(400, refused.error) from refused
    if org is None or (world.settings.org is not None and org != world.settings.org):
        raise FlyError(400, "unauthorized for org")
    if not action or not set(action) <= _ACTIONS:
        raise FlyError(400, "invalid_argument: action must consist of r, w, c, d, C")
    if action != "r" and _is_read_only(world, token):
        raise FlyError(400, f"unauthorized for action access {action} ({action.replace('r', '')} not allowed)")
    return answer({"access": {"action": action, "orgid": 1}, "verified_token": {}})
