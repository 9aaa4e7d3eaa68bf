"""The secret of a run: on the machine that runs it, and never in the folder that one publishes.

The noise keys of a run come from its secret. Whoever had it could tailor images to noise that is
still to come. Secrets lie in a folder of their own, each under the commitment that the header of
its run states, so a run may be moved and copied.
"""

import secrets as random
from pathlib import Path

from pydantic import BaseModel, ValidationError

from models.files.whole_file import write_whole
from worker.key_secret import SECRET_BYTES, SecretUnusable, commitment, load_secret

OLD_FILE = "run-secret"  # in the folder of the run: where versions before kept it


class _Header(BaseModel):
    """The one field of a run's header that is needed here."""

    key_commitment: str


def find_run_secret(run_file: Path, secrets: Path) -> bytes:
    """The secret of the run in a file; of a file that is not there yet, a new one, which is kept.

    A secret that a version before left beside the file is moved to the others.

    Raises:
        SecretUnusable: the run began under a secret that is not in the folder.
        OSError: it cannot be written.
    """
    old = run_file.with_name(OLD_FILE)
    if old.exists():
        secret = load_secret(old)
        _keep(secret, secrets)
        old.unlink()
        return secret
    stated = _read_commitment(run_file)
    if stated is None:
        secret = random.token_bytes(SECRET_BYTES)
        _keep(secret, secrets)
        return secret
    if not (secrets / stated).exists():
        raise SecretUnusable(
            f"The secret of the run in {run_file.parent} is not in {secrets}. Continue the run on "
            "the machine that began it, copy the secret from there, or choose another --out."
        )
    return load_secret(secrets / stated)


def _keep(secret: bytes, secrets: Path) -> None:
    secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(secrets / commitment(secret), secret, mode=0o600)


def _read_commitment(run_file: Path) -> str | None:
    """What the header states; None if there is none yet. A file that is no run is refused later."""
    try:
        with run_file.open("rb") as file:
            header = file.readline()
        return _Header.model_validate_json(header).key_commitment
    except (FileNotFoundError, ValidationError):
        return None
