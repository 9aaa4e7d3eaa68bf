"""A node between a real Orthanc and the service: objects a second, seconds to the result, memory.

    python benchmarks/service/pacs_node.py --write benchmarks/results/pacs-node

Needs Debian's orthanc, orthanc-dicomweb and dcmtk. Slices are of 512 x 512 pixels of 16 bits.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from pydicom import dcmread
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2]))  # before tests, which has a folder app too

from command import PROMPTSMOOTH
from dicom_node import NodeProcess, write_series
from orthanc import Orthanc, name_pacs, storescu
from ports import find_free_ports
from waiting import wait_until

_RULES = """
[[rules]]
name = "certify"
match = { calling_ae = ["SENDER"] }
request = { sigma = ["0.1"], n_max = 200 }
joint = true
send_to = ["web"]

[[rules]]
name = "keep"
match = { calling_ae = ["KEEPER"] }
request = { sigma = ["0.1"], n_max = 64 }
middle = true
send_to = ["web"]
"""


def enlarge(paths: list[Path]) -> None:
    """Makes slices of a usual size out of small ones, as another series."""
    series = generate_uid()
    for path in paths:
        dataset = dcmread(path)
        pixels = np.kron(dataset.pixel_array, np.ones((4, 4), np.int16))
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SeriesInstanceUID = series
        dataset.PixelData = pixels.astype(np.int16).tobytes()
        dataset.save_as(path)


@contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """The whole service; yields its address."""
    command = [PROMPTSMOOTH, "up", "--port", str(port), "--data-dir", folder / "data"]
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603  # ours
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    wait_until(is_ready, pause_s=0.2)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def find_memory(node: NodeProcess) -> dict[str, float]:
    """MiB of the node: now, and the most so far."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        name: round(int(fields[key].split()[0]) / 1024, 1)
        for name, key in (("now", "VmRSS"), ("most", "VmHWM"))
    }


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Runs node, PACS and service, and measures one after another."""
    port, http_port, dicom_port, node_port = find_free_ports(4)
    orthanc = Orthanc(folder / "orthanc", (http_port, dicom_port), node_port)
    rules = name_pacs(http_port, dicom_port) + _RULES
    with serving(folder, port) as url:
        callers = '["SENDER", "KEEPER"]'
        node = NodeProcess(folder / "node", url, node_port, rules, settle_s="2", calling_ae=callers)
        orthanc.start()
        node.start()
        found: dict[str, Any] = {"memory_idle": find_memory(node)}
        paths = write_series(folder / "many", count, seed=1)
        enlarge(paths)
        began = time.monotonic()
        assert storescu(node.port, *paths, calling="KEEPER") == 0
        found["taken_per_second"] = round(count / (time.monotonic() - began), 1)
        found["object_bytes"] = paths[0].stat().st_size
        node.wait_for("done", 1)
        found["memory_after"] = find_memory(node)
        for images in (1, 20):
            paths = write_series(folder / f"few-{images}", images, seed=images)
            enlarge(paths)
            before = len(orthanc.find("SR"))
            assert storescu(node.port, *paths) == 0
            last = time.monotonic()
            wait_until(lambda: len(orthanc.find("SR")) > before, pause_s=0.05)  # noqa: B023
            first = time.monotonic() - last
            wait_until(  # each image has a report, and the series has one
                lambda: len(orthanc.find("SR")) >= before + images + 1,  # noqa: B023
                pause_s=0.05,
            )
            seconds = {"first": round(first, 1), "all": round(time.monotonic() - last, 1)}
            found[f"seconds_of_{images}"] = seconds
        found["memory_end"] = find_memory(node)
        node.stop()
        orthanc.stop()
    return found


def write(path: Path, found: dict[str, Any], count: int, load: float) -> None:
    """Writes the figures as JSON and as a page."""
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    busy = "with other work on the machine" if load > 1 else "on an idle machine"
    memory = [found[f"memory_{when}"] for when in ("idle", "after", "end")]
    one, few = found["seconds_of_1"], found["seconds_of_20"]
    lines = [
        "# The node beside the PACS",
        "",
        "Written by `benchmarks/service/pacs_node.py`: Orthanc, node and service on one machine,",
        f"the bundled model, 200 samples at most. {datetime.now(UTC):%Y-%m-%d}, {where},",
        f"{busy} (load {load:.1f} before it began).",
        "",
        "| what | figure |",
        "|---|---:|",
        f"| objects of {found['object_bytes']:,} bytes taken in, a second; each with fsync |"
        f" {found['taken_per_second']} |",
        f"| seconds from the last slice to the report, series of 1 (2 s of them quiet time) |"
        f" {one['first']} |",
        f"| … to the joint report | {one['all']} |",
        f"| seconds from the last slice to the first report, series of 20 | {few['first']} |",
        f"| … to all 20 and the joint report | {few['all']} |",
        f"| memory of the node, idle, MiB | {memory[0]['now']} |",
        f"| … after {count} objects, and the most until then |"
        f" {memory[1]['now']}, {memory[1]['most']} |",
        f"| … at the end, and the most | {memory[2]['now']}, {memory[2]['most']} |",
        "",
    ]
    path.with_suffix(".md").write_text("\n".join(lines))


def main() -> None:
    """Measures, prints, and writes where it is told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="objects that are taken in")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.count)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if arguments.write is not None:
        write(arguments.write, found, arguments.count, load)


if __name__ == "__main__":
    main()
