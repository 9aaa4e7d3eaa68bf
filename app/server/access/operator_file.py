"""TOML files that an operator writes, by hand or by our commands, and that a running app reads."""

import fcntl
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from models.files.untrusted_text import explain_invalid, parse_toml
from models.files.whole_file import write_whole

Content = TypeVar("Content", bound=BaseModel)


def load_file(path: Path, schema: type[Content], name: str, unusable: type[ValueError]) -> Content:
    """Reads a file. No error repeats what it holds, for that may be a secret.

    Args:
        path: the file.
        schema: what it must hold.
        name: what such a file is called, as in "a keys file".
        unusable: the error to raise.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: `unusable`: it cannot be read or is malformed.
    """
    try:
        return schema.model_validate(parse_toml(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unusable(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        said = explain_invalid(error, "the file")
        raise unusable(f"{path} is not {name}: {said}.") from None
    except ValueError:  # not TOML or not UTF-8; the parser's text could quote a secret
        raise unusable(f"{path} is not {name}: expected TOML in UTF-8.") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file that is about to change, so that changes come one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_file(path: Path, head: str, content: Mapping[str, Any]) -> None:
    """Replaces a file atomically.

    A new file is readable by its owner and group only; an existing file keeps its mode.
    """
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o640
    write_whole(path, (head + tomli_w.dumps(content)).encode(), mode=mode)


def look(path: Path) -> tuple[int, ...] | None:
    """A value that changes whenever the file does; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def now_utc() -> datetime:
    """The current time in UTC, to the second, as such a file states it."""
    return datetime.now(UTC).replace(microsecond=0)
