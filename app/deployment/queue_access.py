"""Who may use Redis: passwords that are made here, and an access list that holds their hashes."""

import hashlib
import secrets
from pathlib import Path

from models.files.whole_file import write_whole

QUEUE_USER, HEALTH_USER = "promptsmooth", "health"
PASSWORD_NAME, HEALTH_PASSWORD_NAME, ACL_NAME = "redis-password", "health-password", "users.acl"

# Nobody is the default user: it is off and has no password. Its rights are those under which Redis
# reads its own append-only file again; without them it would drop every transaction at a restart.
# The queue changes nothing of the server; of what Redis calls dangerous it needs INFO, and CLIENT
# LIST for the addresses of its workers.
_ACL = """\
user default reset off resetpass ~* &* +@all
user {queue_user} reset on #{queue_hash} ~* &* +@all -@admin -@dangerous +info +client|list
user {health_user} reset on #{health_hash} +ping
"""


def make_queue_access(secret_dir: Path, redis_dir: Path) -> None:
    """Makes the passwords that are missing, and writes the access list that belongs to them.

    Args:
        secret_dir: the queue's password, for app and worker alone.
        redis_dir: the access list and the password of the health check, which can do nothing but
            ping, for Redis alone. Redis never sees the queue's password itself.
    """
    # Redis runs under an id of its own image, so its files are readable to all in its volume.
    queue = _find_or_make(secret_dir / PASSWORD_NAME, mode=0o400)
    health = _find_or_make(redis_dir / HEALTH_PASSWORD_NAME, mode=0o444)
    text = _ACL.format(
        queue_user=QUEUE_USER,
        queue_hash=_hash(queue),
        health_user=HEALTH_USER,
        health_hash=_hash(health),
    )
    write_whole(redis_dir / ACL_NAME, text.encode(), mode=0o444)


def _find_or_make(path: Path, *, mode: int) -> str:
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32).encode() + b"\n", mode=mode)
    return path.read_text(encoding="ascii").strip()


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
