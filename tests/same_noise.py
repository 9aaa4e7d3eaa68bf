"""The secret of what tests start, so that it draws the same noise in every run.

With a random secret the counts are random too, and a test of them would fail now and then.
"""

from pathlib import Path

_SECRET = b"the tests' own, known to all: no certificate under it is worth anything"
_NAMES = ("key-secret", "command-line-secret")  # of a service, and of commands without one


def with_secret(data_dir: Path) -> Path:
    """The data folder, made if it is not there, with the secret in it unless it has one."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (data_dir / name for name in _NAMES):
        if not path.exists():
            path.write_bytes(_SECRET)
            path.chmod(0o600)
    return data_dir
