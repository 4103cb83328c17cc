"""The HTTP function `admin`: the operator's dashboard; docs/dashboard.md."""

from functools import cache

import flask

from functions.admin.app import serve
from functions.admin.request_context import AdminContext, make_desk
from functions.bootstrap import read_settings

_config = read_settings("admin")


@cache
def _get_desk() -> AdminContext:
    """Made at the first request; a start pays for no connection."""
    return make_desk(_config)


def admin(request: flask.Request) -> flask.Response:
    """Answer one request for the dashboard; never raises."""
    return serve(_get_desk(), request)
