"""The table of tasks: rows that change in one transaction each, with fsync."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from app.dicom.rules import Rule
from app.dicom.spool.task import State, Task, read_task

NEEDS_OBJECT = (
    "(state IN ('gathering', 'waiting')"
    " OR state IN ('going-on', 'certifying', 'joining', 'owed', 'dead') AND NOT sourced)"
)
"""Without a source to read from again, the object stays until its results are delivered."""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS rule (digest TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS task (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL DEFAULT 'image', object TEXT NOT NULL,
    study TEXT NOT NULL, series TEXT NOT NULL, uids TEXT, sourced INTEGER NOT NULL DEFAULT 0,
    rule TEXT NOT NULL REFERENCES rule(digest), number INTEGER NOT NULL, frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL, state TEXT NOT NULL, since REAL NOT NULL, next_at REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, submission INTEGER NOT NULL DEFAULT 0,
    further INTEGER NOT NULL DEFAULT 0, alpha_parts INTEGER NOT NULL DEFAULT 1, certification TEXT,
    answer BLOB, documents TEXT NOT NULL DEFAULT '[]', predecessor TEXT,
    owed TEXT NOT NULL DEFAULT '[]', died_in TEXT, reason TEXT, frame INTEGER
);
CREATE INDEX IF NOT EXISTS task_due ON task (state, next_at);
CREATE INDEX IF NOT EXISTS task_object ON task (object);
CREATE INDEX IF NOT EXISTS task_series ON task (series, rule);
CREATE INDEX IF NOT EXISTS task_kept ON task (object, bytes, state, sourced) WHERE {NEEDS_OBJECT};
"""
_RULE_UNREADABLE = "its rule is no longer accepted"


class TaskTable:
    """The tasks of a spool. A connection belongs to its thread.

    Args:
        path: of the database; made with mode 0600 where it is not there.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        _create_private(path)
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        if not self._has_frames():
            with self._transaction():  # another thread or process may be at it too
                if not self._has_frames():
                    self._db.execute("ALTER TABLE task ADD COLUMN frame INTEGER")

    def _has_frames(self) -> bool:
        """Whether the table is of a release that certifies several frames of an object."""
        columns = self._db.execute("SELECT name FROM pragma_table_info('task')")
        return "frame" in {name for (name,) in columns}

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    def find_due(self, *states: State) -> Task | None:
        """The task in one of these states that has waited longest past its time, if any has.

        One whose rule this release does not accept becomes a dead letter.
        """
        while (row := self._find_due_row(states)) is not None:
            try:
                return read_task(row, self._find_rule(row["rule"]))
            except ValidationError:
                self._bury(row["key"], row["state"], _RULE_UNREADABLE)
        return None

    def _find_due_row(self, states: Sequence[State]) -> sqlite3.Row | None:
        marks = ", ".join("?" * len(states))
        found: sqlite3.Row | None = self._db.execute(
            f"SELECT * FROM task WHERE state IN ({marks}) AND next_at <= ?"  # noqa: S608  # marks
            " ORDER BY next_at, since, number, frame LIMIT 1",
            (*states, self.clock()),
        ).fetchone()
        return found

    def _find_rule(self, rule_digest: str) -> Rule:
        """A rule as it was stored. ValidationError: this release does not accept it."""
        (content,) = self._db.execute(
            "SELECT content FROM rule WHERE digest = ?", (rule_digest,)
        ).fetchone()
        return Rule.model_validate_json(content)

    def _find_rule_or_bury(self, rule_digest: str, keys: Sequence[str]) -> Rule | None:
        """A rule; None if this release does not accept it: its tasks are dead letters then."""
        try:
            return self._find_rule(rule_digest)
        except ValidationError:
            for key in keys:
                self._bury(key, "gathering", _RULE_UNREADABLE)
            return None

    def _has(self, name: str, rule: str) -> bool:
        """Whether a rule had an object; its frames come together."""
        found = self._db.execute(
            "SELECT 1 FROM task WHERE object = ? AND rule = ? AND kind = 'image' LIMIT 1",
            (name, rule),
        )
        return found.fetchone() is not None

    def _insert(self, columns: dict[str, object]) -> None:
        """A new task, unless there is one of that key."""
        now = self.clock()
        columns = {"since": now, "next_at": now, **columns}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        query = f"INSERT OR IGNORE INTO task ({names}) VALUES ({marks})"  # noqa: S608  # our names
        self._db.execute(query, tuple(columns.values()))

    def _advance(self, key: str, state: State, **columns: object) -> bool:
        now = self.clock()
        columns |= {"state": state, "since": now, "next_at": now, "tries": 0, "reason": None}
        return self._update(key, columns)

    def _update(self, key: str, columns: dict[str, object]) -> bool:
        """False if there is no such task: its study was erased."""
        names = ", ".join(f"{name} = ?" for name in columns)
        query = f"UPDATE task SET {names} WHERE key = ?"  # noqa: S608  # our names
        return self._db.execute(query, (*columns.values(), key)).rowcount > 0

    def put_off(self, task: Task, pause_s: float, reason: str | None = None) -> None:
        """Looks at the task again after a pause; with a reason, something failed.

        `tries` counts failures in a row, and `since` becomes the moment of the first of them.
        """
        now = self.clock()
        columns: dict[str, object] = {"next_at": now + pause_s, "tries": 0, "reason": reason}
        if reason is not None:
            columns["tries"] = task.tries + 1
            columns["since"] = task.since if task.tries else now
        self._update(task.key, columns)

    def _bury(self, key: str, died_in: State, reason: str, **columns: object) -> None:
        self._update(key, columns | {"state": "dead", "died_in": died_in, "reason": reason})

    def retry_dead(self) -> int:
        """Sets all dead letters going again where they died; says how many."""
        done = self._db.execute(
            "UPDATE task SET state = died_in, died_in = NULL, reason = NULL, tries = 0, since = ?,"
            " next_at = ? WHERE state = 'dead'",
            (self.clock(), self.clock()),
        )
        return done.rowcount

    def _keys(self, *states: State) -> Iterator[str]:
        for state in states:
            for (key,) in self._db.execute("SELECT key FROM task WHERE state = ?", (state,)):
                yield key

    def count_bytes(self) -> int:
        """Bytes of the objects that are kept."""
        query = (
            "SELECT coalesce(sum(bytes), 0) FROM (SELECT max(bytes) AS bytes"  # noqa: S608  # ours
            f" FROM task INDEXED BY task_kept WHERE {NEEDS_OBJECT} GROUP BY object)"
        )
        (found,) = self._db.execute(query).fetchone()
        return int(found)

    def count_states(self) -> dict[str, int]:
        """How many tasks are in each state."""
        rows = self._db.execute("SELECT state, count(*) FROM task GROUP BY state")
        return dict(rows.fetchall())

    def find_oldest_age(self) -> float:
        """Seconds since the oldest task that has not ended came to its state; 0 without one."""
        (since,) = self._db.execute(
            "SELECT min(since) FROM task WHERE state NOT IN ('done', 'dead', 'left')"
        ).fetchone()
        return 0.0 if since is None else max(0.0, self.clock() - since)

    def list_troubled(self) -> list[tuple[str, str, str, int, str]]:
        """Key, rule's name, state, tries and reason of what failed and is not done."""
        rows = self._db.execute(
            "SELECT key, content ->> 'name', state, tries, reason FROM task"
            " JOIN rule ON rule.digest = task.rule WHERE reason IS NOT NULL ORDER BY since"
        )
        return [tuple(row) for row in rows.fetchall()]

    def _keep_rule(self, rule: Rule) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO rule VALUES (?, ?)", (rule.digest, rule.model_dump_json())
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # after some faults SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
            raise


def _create_private(path: Path) -> None:
    """Makes an empty file that only its owner can read, unless it is there.

    One that is there is not even opened: to close it would drop the locks of SQLite's connections
    in this process (sqlite.org/howtocorrupt.html, 2.2), and another process would remove the log.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
