"""Images of a series in the table: chosen when it is complete, and answered together."""

import json
import sqlite3
from typing import Literal

from app.dicom.instance import Instance
from app.dicom.rules import Rule
from app.dicom.spool.table import TaskTable
from app.dicom.spool.task import Member, Task, Uids, digest, read_frame, read_uids, write


class SeriesTable(TaskTable):
    """Tasks of images, and of the series that they belong to."""

    def _insert_image(self, instance: Instance, rule: Rule, size: int) -> None:
        """A task for the image, or one for each of its frames that the rule chooses."""
        self._keep_rule(rule)
        series = digest(instance.series_uid)
        state = "gathering" if rule.needs_series else "waiting"
        if rule.chooses_once and self._is_chosen(series, rule.digest):
            state = "left"  # a straggler: the choice was made without it
        named = rule.joint or rule.source is not None
        columns: dict[str, object] = {
            "object": digest(instance.sop_instance_uid),
            "study": digest(instance.study_uid),
            "series": series,
            "uids": write(Uids.of(instance)) if named else None,
            "sourced": rule.source is not None,
            "rule": rule.digest,
            "number": instance.number,
            "frames": instance.frames,
            "bytes": size,
            "state": state,
            "owed": json.dumps(rule.send_to),
        }
        for frame in rule.choose_frames(instance.frames):
            about = [] if frame is None else [str(frame)]
            key = digest(instance.sop_instance_uid, rule.digest, *about)
            self._insert({**columns, "key": key, "frame": frame})

    def _is_chosen(self, series: str, rule: str) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM task WHERE series = ? AND rule = ? AND state != 'gathering' LIMIT 1",
            (series, rule),
        )
        return found.fetchone() is not None

    def _choose_quiet(self, settle_s: float) -> list[str]:
        """Makes the choice where no image came for so long; returns the objects left out."""
        with self._transaction():
            quiet = self._db.execute(
                "SELECT series, rule FROM task WHERE state = 'gathering' GROUP BY series, rule"
                " HAVING max(since) <= ?",
                (self.clock() - settle_s,),
            ).fetchall()
            return [name for series, rule in quiet for name in self._choose(series, rule)]

    def _choose(self, series: str, rule_digest: str) -> list[str]:
        """Chooses among the objects of a series; returns those that are left out.

        All frames of an object are chosen or left with it.
        """
        rows = self._db.execute(
            "SELECT key, number, object FROM task WHERE series = ? AND rule = ?"
            " AND state = 'gathering' ORDER BY number, key",
            (series, rule_digest),
        ).fetchall()
        rule = self._find_rule_or_bury(rule_digest, [row["key"] for row in rows])
        if rule is None:
            return []
        numbers = {row["object"]: row["number"] for row in rows}
        objects = list(numbers)
        chosen = {objects[place] for place in rule.choose(list(numbers.values()))}
        parts = sum(row["object"] in chosen for row in rows) if rule.joint else 1
        for row in rows:
            state = "waiting" if row["object"] in chosen else "left"
            columns = {"state": state, "since": self.clock(), "alpha_parts": parts}
            self._update(row["key"], columns)
        return [name for name in objects if name not in chosen]

    def _list_done(self, name: str, rule: str) -> list[str]:
        """What is delivered of an object under a rule: one task, or one for each of its frames."""
        found = self._db.execute(
            "SELECT key FROM task WHERE object = ? AND rule = ? AND kind = 'image'"
            " AND state = 'done'",
            (name, rule),
        )
        return [key for (key,) in found.fetchall()]

    def _renew(self, key: str, how: Literal["again", "continue"]) -> None:
        """Sets a delivered image going once more."""
        row = self._db.execute("SELECT * FROM task WHERE key = ?", (key,)).fetchone()
        rule = self._find_rule_or_bury(row["rule"], [key])
        if rule is None:
            return
        columns = {"predecessor": _first_document(row), "owed": json.dumps(rule.send_to)}
        if how == "continue":
            self._advance(key, "going-on", **columns)
            return
        columns |= {"certification": None, "submission": row["submission"] + 1}
        self._advance(key, "waiting", **columns, further=row["further"] + 1)

    def _find_answer(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT answer FROM task WHERE key = ?", (key,)).fetchone()
        return None if row is None else row["answer"]

    def _ask_for_joint(self, task: Task) -> None:
        """A task for the joint answer of an image's series, unless one waits to be made."""
        rows = self._db.execute(
            "SELECT * FROM task WHERE kind = 'series' AND series = ? AND rule = ? ORDER BY number",
            (task.series, task.rule.digest),
        ).fetchall()
        if any("joining" in (row["state"], row["died_in"]) for row in rows):
            return
        image = self._db.execute("SELECT * FROM task WHERE key = ?", (task.key,)).fetchone()
        copied = ("object", "study", "series", "uids", "sourced", "rule", "frames", "bytes")
        self._insert(
            {name: image[name] for name in copied}
            | {
                "key": digest("series", task.series, task.rule.digest, str(len(rows))),
                "kind": "series",
                "number": len(rows),
                "state": "joining",
                "predecessor": _first_document(rows[-1]) if rows else None,
                "owed": json.dumps(task.rule.send_to),
            }
        )

    def list_members(self, task: Task) -> list[Member] | None:
        """The chosen images of a series; None while one of them has neither answer nor end."""
        of_series = (task.series, task.rule.digest)
        goes_on = self._db.execute(
            "SELECT 1 FROM task WHERE kind = 'image' AND series = ? AND rule = ?"
            " AND state IN ('gathering', 'waiting', 'going-on', 'certifying') LIMIT 1",
            of_series,
        )
        if goes_on.fetchone() is not None:
            return None
        rows = self._db.execute(
            "SELECT uids, frame, frames, answer FROM task WHERE kind = 'image' AND series = ?"
            " AND rule = ? AND state != 'left' ORDER BY number, frame, key",
            of_series,
        )
        found = [(read_uids(r["uids"]), read_frame(r, task.rule), r["answer"]) for r in rows]
        return [Member(uids, *other) for uids, *other in found if uids is not None]


def _first_document(row: sqlite3.Row) -> str | None:
    """The report among the documents of a task, as a row keeps it."""
    documents = json.loads(row["documents"])
    return json.dumps(documents[0]) if documents else row["predecessor"]
