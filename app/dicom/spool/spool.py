"""A spool in one folder: the life of a task, step by step."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Literal

from app.dicom.instance import Instance
from app.dicom.rules import Rule
from app.dicom.spool.series import SeriesTable
from app.dicom.spool.table import NEEDS_OBJECT
from app.dicom.spool.task import Results, Task, digest, write
from models.files.whole_file import sync, write_whole

Record = Callable[[int], None]
"""Writes down so many tasks before they stand."""


class SpoolFull(Exception):
    """There is no room for another object now."""


class SpoolDraining(Exception):
    """Nothing more is accepted until an operator resumes."""


class Spool(SeriesTable):
    """A spool in one folder. A connection belongs to its thread: `open_again` makes another.

    Args:
        folder: made with mode 0700 where it is not there.
        most_bytes: of objects; a further one is refused.
        clock: seconds since 1970.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("incoming", "objects", "results"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        super().__init__(folder / "tasks.sqlite", clock=clock)

    def open_again(self) -> "Spool":
        """The same spool, for another thread."""
        return Spool(self.folder, most_bytes=self.most_bytes, clock=self.clock)

    def accept(
        self,
        received: Path,
        instance: Instance,
        rules: Sequence[Rule],
        *,
        record: Record = lambda _count: None,
    ) -> int:
        """Takes a received file into the spool for each rule; returns how many tasks are new.

        A rule that takes several frames of an object has a task for each. When it returns, the
        object and its tasks are on disk. An image that a rule has had is not taken again for it.

        Args:
            record: is told how many tasks are new before any of them stands. Whatever it raises
                keeps the object from being taken.

        Raises:
            SpoolFull: there is no room.
            SpoolDraining: nothing is accepted now.
            OSError, sqlite3.Error: the disk cannot be written.
        """
        name = digest(instance.sop_instance_uid)
        missing = [rule for rule in rules if not self._has(name, rule.digest)]
        new = sum(len(rule.choose_frames(instance.frames)) for rule in missing)

        def insert(size: int) -> None:
            for rule in missing:
                self._insert_image(instance, rule, size)
            record(new)

        if missing:
            self._keep(received, name, insert)
        else:
            record(0)
        return new

    def renew(
        self,
        received: Path,
        instance: Instance,
        rules: Sequence[Rule],
        how: Literal["again", "continue"],
        *,
        record: Record = lambda _count: None,
    ) -> int:
        """Certifies a delivered image once more: by another attempt, or with more samples.

        Of an object of several frames, those that are delivered. New results name the report that
        they follow. Returns how many tasks go on.

        Args:
            record: is told how many tasks go on, if any, before they do. Whatever it raises keeps
                them from it.

        Raises:
            SpoolFull: there is no room.
            SpoolDraining: nothing is accepted now.
            OSError, sqlite3.Error: the disk cannot be written.
        """
        rules = [rule for rule in rules if how == "again" or "n_cap" in rule.request]
        name = digest(instance.sop_instance_uid)
        renewed = [key for rule in rules for key in self._list_done(name, rule.digest)]

        def change(_size: int) -> None:
            for key in renewed:
                self._renew(key, how)
            record(len(renewed))

        if renewed:
            self._keep(received, name, change)
        return len(renewed)

    def _keep(self, received: Path, name: str, change: Callable[[int], None]) -> None:
        """Gives a received file its name, and changes the rows that need it, in one transaction."""
        size, path = received.stat().st_size, self.object_path(name)
        try:
            with self._transaction():  # one writer at a time: no two take the last room
                if self.is_draining():
                    raise SpoolDraining
                if not path.exists():
                    if self.count_bytes() + size > self.most_bytes:
                        raise SpoolFull
                    _move(received, path)
                sync(path.parent)  # also for a name that another may have failed to sync
                change(path.stat().st_size)
        finally:
            self._erase_unneeded([name])  # where every choice was made without it, or on failure

    def choose_complete_series(self, settle_s: float) -> None:
        """Makes the choice for each series in which no image came for so many seconds."""
        if next(self._keys("gathering"), None) is not None:  # mostly none: no need for a lock
            self._erase_unneeded(self._choose_quiet(settle_s))

    def submitted(self, task: Task, certification: str) -> None:
        """The service has the image; its certification is followed from now on."""
        self._advance(task.key, "certifying", certification=certification)
        if task.rule.source is not None:
            self._erase_unneeded([task.object])

    def lost(self, task: Task) -> None:
        """The service knows the certification no longer: the image is sent again."""
        again = {"certification": None, "submission": task.submission + 1}
        self._advance(task.key, "waiting", **again)

    def put_results(self, task: Task, results: Results, *, answer: bytes | None = None) -> None:
        """Keeps what the study gets; it is owed from now on, unless its study was erased.

        With the service's `answer`, which a rule for whole series keeps, the joint answer of the
        series is asked for too.
        """
        for place, content in enumerate(results.values()):
            write_whole(self._result_path(task.key, place), content, mode=0o600)
        sync(self.folder / "results")
        documents = json.dumps([astuple(one) for one in results])
        with self._transaction():
            is_new = answer is not None and self._find_answer(task.key) != answer
            stands = self._advance(task.key, "owed", documents=documents, answer=answer)
            if stands and is_new:
                self._ask_for_joint(task)
        if not stands:
            self._erase_results([task.key])

    def make_again(self, task: Task) -> None:
        """Results went missing. They are made from the same certificates, so they are the same."""
        self._advance(task.key, "joining" if task.kind == "series" else "certifying")

    def delivered(self, task: Task, still_owed: Sequence[str]) -> None:
        """Some destinations have the results. When all have, the object is erased."""
        if still_owed:
            self._update(task.key, {"owed": json.dumps(list(still_owed))})
            return
        kept = task.uids if task.rule.joint else None
        uids = None if kept is None else write(kept)
        self._advance(task.key, "done", owed="[]", uids=uids)
        self._erase_results([task.key])
        self._erase_unneeded([task.object])

    def give_up(self, task: Task, reason: str, *, anew: bool = False) -> None:
        """Makes the task a dead letter. Its object stays until a person retries or erases it.

        With `anew` a retry sends the image again; else it goes on where the task died.
        """
        if anew:
            again = {"certification": None, "submission": task.submission + 1}
            self._bury(task.key, "waiting", reason, **again)
        else:
            self._bury(task.key, task.state, reason)

    def erase_study(self, study_uid: str) -> int:
        """Removes all of a study, what is owed too; says how many tasks that were."""
        study = (digest(study_uid),)
        with self._transaction():
            rows = self._db.execute(
                "SELECT key, object FROM task WHERE study = ?", study
            ).fetchall()
            self._db.execute("DELETE FROM task WHERE study = ?", study)
        self._erase_unneeded({row["object"] for row in rows})
        self._erase_results(row["key"] for row in rows)
        return len(rows)

    def sweep(self) -> None:
        """Removes files that no task needs. Nothing may be received meanwhile: call it first."""
        for file in (self.folder / "incoming").iterdir():
            file.unlink()
        needed = set(self._keys("owed", "dead"))
        for file in (self.folder / "results").iterdir():
            if file.name.partition(".")[0] not in needed:
                file.unlink()
        self._erase_unneeded([file.stem for file in (self.folder / "objects").iterdir()])

    def drain(self, *, on: bool) -> None:
        """Once it returns nothing more is accepted, or something again. What is there goes on."""
        with self._transaction():  # an object that is on its way in is there, or comes too late
            if on:
                write_whole(self.folder / "draining", b"", mode=0o600)
            else:
                (self.folder / "draining").unlink(missing_ok=True)

    def is_draining(self) -> bool:
        """Whether nothing more is to be accepted."""
        return (self.folder / "draining").exists()

    def _erase_unneeded(self, names: Iterable[str]) -> None:
        """Removes those of these objects that no task needs."""
        query = f"SELECT 1 FROM task WHERE object = ? AND {NEEDS_OBJECT}"  # noqa: S608  # ours
        for name in names:
            with self._transaction():  # no task for it comes between the question and the answer
                if self._db.execute(query, (name,)).fetchone() is None:
                    self.object_path(name).unlink(missing_ok=True)

    def _erase_results(self, keys: Iterable[str]) -> None:
        for key in keys:
            for path in (self.folder / "results").glob(f"{key}.*.dcm"):
                path.unlink(missing_ok=True)

    def object_path(self, name: str) -> Path:
        """Where an object lies."""
        return self.folder / "objects" / f"{name}.dcm"

    def result_paths(self, task: Task) -> list[Path]:
        """Where a task's results lie, its structured report first."""
        return [self._result_path(task.key, place) for place in range(task.documents)]

    def _result_path(self, key: str, place: int) -> Path:
        return self.folder / "results" / f"{key}.{place}.dcm"


def _move(received: Path, path: Path) -> None:
    """Gives a file its name. It is whole and on disk when it has it."""
    received.chmod(0o600)
    sync(received)
    received.replace(path)
