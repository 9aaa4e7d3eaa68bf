"""Kills a node's spool at every line of its code: a program, started by test_spool.

For k = 1, 1 + stride, ... a child takes an object, of one frame or of two, through its whole life
and is killed at the k-th line that it runs in the spool's room. Then another opens the spool, as
the next start of a node does, and finishes the work. Prints one JSON object: how many kills there
were, and what went wrong.
"""

import inspect
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from app.dicom.instance import read_instance
from app.dicom.rules import Rule
from app.dicom.spool import Document, Spool, Task

RULE = Rule(name="ct", request={"sigma": ["0.25"]}, send_to=("one", "two"), joint=True, frame="all")
ROOM = str(Path(inspect.getfile(Spool)).parent)
RESULTS = {Document("1", "2", "3"): b"report", Document("1", "2", "4"): b"pdf"}
JOINT = {Document("1", "3", "5"): b"joint report"}
DELIVERIES = {1: set("otOT"), 2: set("otpuOT")}
"""By frames: of the first and the second to destinations one and two, and of their series."""


def live(spool: Spool, sent: Path, folder: Path, say: int) -> None:
    """The life of an object; `say` is told each thing that somebody else may rely on."""
    received = folder / "spool" / "incoming" / "received.dcm"
    shutil.copy(sent, received)
    spool.accept(received, read_instance(received), [RULE])
    os.write(say, b"a")
    finish(spool, say)


def finish(spool: Spool, say: int) -> None:
    """What the workers do with whatever is in the spool."""
    spool.choose_complete_series(0)
    while (task := spool.find_due("waiting", "certifying", "joining", "owed")) is not None:
        match task.state:
            case "waiting":
                assert spool.object_path(task.object).read_bytes()
                spool.submitted(task, "1" * 32)
            case "certifying":
                assert spool.object_path(task.object).read_bytes()
                spool.put_results(task, RESULTS, answer=b"answer")
            case "joining":
                members = spool.list_members(task)
                assert members is not None, "all frames have their answer"
                assert {member.answer for member in members} == {b"answer"}
                assert spool.object_path(task.object).exists()
                spool.put_results(task, JOINT)
            case "owed":
                deliver(spool, task, say)


def deliver(spool: Spool, task: Task, say: int) -> None:
    """Says the first letter of the destination, or the next for a second frame; a capital for a
    series."""
    written = RESULTS if task.kind == "image" else JOINT
    assert [p.read_bytes() for p in spool.result_paths(task)] == list(written.values())
    letter = chr(ord(task.owed[0][0]) + (task.frame or 0))
    os.write(say, (letter if task.kind == "image" else letter.upper()).encode())
    spool.delivered(task, task.owed[1:])


def run_and_kill(line: int, sent: Path, folder: Path, say: int) -> None:
    """Runs in a child of its own, and ends by SIGKILL at that line unless it ends before."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    live(Spool(folder / "spool", most_bytes=10**6), sent, folder, say)
    sys.settrace(None)
    os._exit(0)


def check(line: int, sent: Path, folder: Path, frames: int) -> tuple[bool, list[str]]:
    """Whether the child was killed, and what was lost, left behind or delivered wrongly."""
    (folder / "spool" / "incoming").mkdir(parents=True)
    read, say = os.pipe()
    child = os.fork()
    if child == 0:
        run_and_kill(line, sent, folder, say)
    _, status = os.waitpid(child, 0)
    said = read_all(read, say)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    faults = [] if killed or status == 0 else [f"line {line}: the child ended with {status}"]
    spool = Spool(folder / "spool", most_bytes=10**6)
    spool.sweep()
    if "a" in said and not spool.count_states():
        faults.append(f"line {line}: what was accepted is lost")
    read, say = os.pipe()
    live(spool, sent, folder, say)  # the sender had no answer, or sends twice: the same
    after = read_all(read, say)
    faults += [f"line {line}: {fault}" for fault in judge(said, after, DELIVERIES[frames])]
    spool.sweep()
    if spool.count_states() != {"done": frames + 1}:
        faults.append(f"line {line}: {spool.count_states()} at the end")
    left = [
        p.name
        for name in ("objects", "results", "incoming")
        for p in (folder / "spool" / name).iterdir()
    ]
    if left:
        faults.append(f"line {line}: {left} left behind")
    spool.close()
    return killed, faults


def read_all(read: int, say: int) -> str:
    """What was said into a pipe, which is closed at both ends."""
    os.close(say)
    said = os.read(read, 1000).decode()
    os.close(read)
    return said


def judge(said: str, after: str, deliveries: set[str]) -> Iterator[str]:
    """What is wrong with the deliveries of a life that was killed and of the one after it.

    Each destination has the results at least once. Only a delivery during which the spool was
    killed, the last thing that was said, is made again.
    """
    if lost := deliveries - set(said + after):
        yield f"never delivered to {sorted(lost)}"
    for letter in deliveries:
        again = letter in said and letter in after and not said.endswith(letter)
        if said.count(letter) > 1 or after.count(letter) > 1 or again:
            yield f"delivered {said!r}, then {after!r}"


def main() -> None:
    sent, folder, stride = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    frames = read_instance(sent).frames
    faults, line, kills, killed = [], 1 - stride, -1, True
    while killed:
        line, kills = line + stride, kills + 1
        killed, found = check(line, sent, folder / str(line), frames)
        shutil.rmtree(folder / str(line))
        faults += found
    json.dump({"kills": kills, "faults": faults}, sys.stdout)


if __name__ == "__main__":
    main()
