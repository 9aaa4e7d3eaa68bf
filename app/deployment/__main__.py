"""python -m app.deployment: makes what is missing, and says so; runs before every start.

Exit status 0, or 1 and what to do.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.deployment.proxy import write_proxy_settings
from app.deployment.queue_access import make_queue_access
from app.deployment.settings import DeploymentSettings
from app.deployment.tls import CERTIFICATE_NAME, TlsUnusable, make_tls
from app.server.access.api_keys import KEYS_FILE_NAME, KeysFileUnusable, change_keys
from app.settings import AppSettings
from models.files.whole_file import write_whole
from worker.settings import SETTINGS_ERRORS, WorkerSettings, explain_settings


def prepare(root: Path, *, own_tls: Path, renew: bool, now: datetime) -> str:
    """Makes passwords, certificates and the proxy's settings below `root`; one line about it.

    Raises:
        TlsUnusable, KeysFileUnusable, ValidationError, SettingsError: a setting or a file is not
            usable; nothing that ran is broken.
    """
    deployment, app = DeploymentSettings(), AppSettings()
    WorkerSettings()  # checked here too: nothing starts with a setting that a part cannot use
    queue_names = [*deployment.server_names, "redis"]
    with change_keys(root / "app" / KEYS_FILE_NAME):
        pass  # one without keys, where there is none: then nobody gets in before a key is made
    make_queue_access(root / "queue", root / "redis")
    make_tls(root / "redis", own=None, names=queue_names, now=now, renew=renew, key_mode=0o444)
    chain = (root / "redis" / CERTIFICATE_NAME).read_bytes()
    write_whole(root / "queue" / "redis.crt", chain, mode=0o444)
    pair = make_tls(
        root / "proxy", own=own_tls, names=deployment.server_names, now=now, renew=renew
    )
    write_proxy_settings(root / "proxy", deployment, app, trusted=not pair.is_ours)
    kind = "self-signed certificate" if pair.is_ours else "certificate of your own"
    return f"{kind}, valid until {pair.leaf.not_valid_after_utc:%Y-%m-%d}"


def main() -> int:
    """Prepares a deployment."""
    parser = argparse.ArgumentParser(prog="python -m app.deployment", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/setup"), help="where the volumes are")
    parser.add_argument("--own-tls", type=Path, default=Path("/own-tls"), help="your own files")
    parser.add_argument("--renew", action="store_true", help="make a new self-signed certificate")
    arguments = parser.parse_args()
    try:
        said = prepare(
            arguments.root,
            own_tls=arguments.own_tls,
            renew=arguments.renew,
            now=datetime.now(UTC),
        )
    except SETTINGS_ERRORS as error:
        return _refuse(explain_settings(error))
    except (TlsUnusable, KeysFileUnusable, OSError) as error:
        return _refuse(str(error))
    sys.stdout.write(f"deployment: ready; {said}\n")
    return 0


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"deployment: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
