"""Access to Redis: generated passwords, and an access list that holds their hashes."""

import hashlib
import secrets
from pathlib import Path

from models.files.whole_file import write_whole

QUEUE_USER, HEALTH_USER = "promptsmooth", "health"
PASSWORD_NAME, HEALTH_PASSWORD_NAME, ACL_NAME = "redis-password", "health-password", "users.acl"

# Nobody is the default user, which is off and has no password. Redis rereads its own append-only
# file with that user's rights; without them it would drop every transaction at a restart. The queue
# changes nothing on the server. Of the commands that Redis calls dangerous it needs only INFO, and
# CLIENT LIST for the addresses of its workers.
_ACL = """\
user default reset off resetpass ~* &* +@all
user {queue_user} reset on #{queue_hash} ~* &* +@all -@admin -@dangerous +info +client|list
user {health_user} reset on #{health_hash} +ping
"""


def make_queue_access(secret_dir: Path, redis_dir: Path) -> None:
    """Creates missing passwords and writes the access list with their hashes.

    Args:
        secret_dir: for the queue's password, which only app and worker may read.
        redis_dir: for the access list and the health check's password, which only Redis may read.
            The health check can do nothing but ping. Redis never sees the queue's password itself.
    """
    # Redis runs under a user id of its own image, so its files are readable to all in its volume.
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
