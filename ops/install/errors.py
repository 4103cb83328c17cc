"""The one error of installing and uninstalling: a message for the operator and an exit code."""

from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE


class InstallError(Exception):
    """Something could not be done. The message says what, what was changed, and what to do; it never holds a password."""

    exit_code = EXIT_SOME_FAILED


class WrongInput(InstallError):  # noqa: N818  says what it is
    """The URL, the role or a folder is wrong. Nothing was changed."""

    exit_code = EXIT_USAGE


class InstallRefused(InstallError):  # noqa: N818  says what happened
    """What was found does not allow it. Nothing was changed."""

    exit_code = EXIT_REFUSED
