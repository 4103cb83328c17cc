"""The check `signing_key`: whether the project accepts the signatures of the key that signs the tokens of machines."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from shared.adapters.signing_keys import SigningKeys, read_signing_keys
from shared.doctor.checks import Check, not_checked, ok, wrong
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import TransientError

_NAME = "signing_key"
_REMEDY = (
    "Import the key in HANGAR_USER_TOKEN_KEY into the project (Settings, JWT Keys, Create Standby Key), or put a key of the "
    'project into it and run `hangar deploy`; docs/credentials.md, "A new signing key"'
)

Read = Callable[[str, SecretStr], SigningKeys]


def check_signing_key(here: Surroundings, recorded: Mapping[str, Any] | None, read: Read = read_signing_keys) -> Check:
    """`recorded` is what the functions' last sweep says of their own key; None if it is not known."""
    if not here.user_token_key:
        return not_checked(_NAME, "HANGAR_USER_TOKEN_KEY is not set here", "Set it to the value of the functions")
    try:
        keys = read(f"{here.supabase_url.rstrip('/')}/auth/v1", SecretStr(here.user_token_key))
    except TransientError as error:
        return not_checked(_NAME, str(error), "Run `hangar doctor` again")
    except ValueError as error:
        return wrong(_NAME, str(error), _REMEDY)
    functions = (recorded or {}).get("signing")
    lost = [
        f"{whose} with the key {kid}, which the project does not publish"
        for whose, kid in (
            ("HANGAR_USER_TOKEN_KEY of this shell signs", keys.signing),
            ("the functions sign", functions),
        )
        if kid and kid not in keys.published
    ]
    if lost:
        return wrong(
            _NAME,
            f"{'; '.join(lost)}. The project refuses tokens of it, so no machine that has one can read its user's data. "
            "If the key was imported within the last 20 minutes, Supabase may still show an older list",
            _REMEDY,
        )
    if functions and functions != keys.signing:
        return wrong(
            _NAME,
            f"the functions sign with the key {functions}, and HANGAR_USER_TOKEN_KEY here is {keys.signing}. The project "
            "accepts both",
            "Run `hangar deploy` if the key here is the newer one, else correct it; a sweep records the change",
        )
    return ok(_NAME, f"the project accepts the key {keys.signing}, which signs the tokens of machines")
