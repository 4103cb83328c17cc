"""The HTTP function `admin`: the operator's dashboard; docs/dashboard.md."""

from functools import cache

import flask

from functions.admin.app import make_app, serve
from functions.admin.request_context import make_admin_context
from functions.bootstrap import read_settings

_config = read_settings("admin")


@cache
def _get_app() -> flask.Flask:
    """Made at the first request, so that a cold start does not pay for it."""
    return make_app(make_admin_context(_config))


def admin(request: flask.Request) -> flask.Response:
    """Answer one request for the dashboard."""
    return serve(_get_app(), request)
