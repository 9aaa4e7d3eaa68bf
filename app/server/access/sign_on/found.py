"""Finds sign-on where it is configured; what it needs is imported only then (the extra `oidc`)."""

from pathlib import Path
from typing import TYPE_CHECKING

from app.server.access.sign_on.configuration import SignOnUnusable, load_sign_on_settings

if TYPE_CHECKING:
    from app.server.access.sign_on.sign_on import SignOn


def find_sign_on(path: Path | None) -> "SignOn | None":
    """Sign-on as a file describes it; None where no file is named.

    Raises:
        SignOnUnusable: the file cannot be used, or joserfc is not installed.
    """
    if path is None:
        return None
    settings = load_sign_on_settings(path)
    try:
        from app.server.access.sign_on.sign_on import SignOn
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("joserfc"):
            raise
        raise SignOnUnusable(
            "PROMPTSMOOTH_SIGN_ON_FILE is set, but joserfc is not installed: "
            "pip install 'promptsmooth-service[oidc]'."
        ) from None
    return SignOn(settings)
