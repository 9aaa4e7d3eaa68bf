"""Certify two real DICOM images over HTTP, from start to stop. `make demo` runs it.

The demo starts the whole service on this machine (promptsmooth up) and posts the CT and the MR
image that pydicom installs, under three promptings at three noise levels. It prints the
certificates and what each one covers, writes each certification as a JSON file, and stops the
service. What it does with `Client` is all that an integrator needs.
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
from pydicom.data import get_testdata_file
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

IMAGES = ("CT_small.dcm", "MR_small.dcm")
SIGMAS = ("0.1", "0.25", "0.5")
PROMPTINGS = ("template", "few-shot", "zero-shot")
PROMPT = "bundled-2-mednist"  # learned from 16 images of each class; it ships with the service
COVERS = {
    "global_prompt": "everything from the image on",
    "frozen_prompt": "this prompt, not tuning it again",
    "routed_pipeline": "choosing the prompt too",
}
console = Console() if sys.stdout.isatty() else Console(width=110)


class Client:
    """The service as an integrator calls it."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=60, trust_env=False)

    def is_ready(self) -> bool:
        """Whether the service can certify now."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def submit(self, image: bytes, *, n: int) -> str:
        """Posts one image with all noise levels and promptings, which share one pass of the model.

        Returns the path of the certification.
        """
        fields = {"sigma": SIGMAS, "prompting": PROMPTINGS, "prompt": PROMPT, "n_max": str(n)}
        answer = self._http.post("/certify", files={"image": image}, data=fields)
        if answer.status_code != 202:
            raise SystemExit(f"refused: {answer.status_code} {answer.text}")
        return answer.headers["location"]

    def get(self, location: str) -> dict[str, Any]:
        """A certification as it stands: queued, running, finished or failed.

        A 503 answer means that the service is busy for a moment; its Retry-After says when to try
        again.
        """
        while (answer := self._http.get(location)).status_code == 503:
            time.sleep(float(answer.headers.get("retry-after", "1")))
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_service(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """Starts the service; its log goes to a file."""
    promptsmooth = Path(sys.executable).with_name("promptsmooth")
    command = [promptsmooth, "up", "--port", str(port), "--data-dir", folder / "data"]
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_until_ready(client: Client, service: subprocess.Popen[bytes], log: Path) -> None:
    while not client.is_ready():
        if service.poll() is not None:
            raise SystemExit(f"the service ended; from {log}:\n{log.read_text()}")
        time.sleep(0.2)


def certify(client: Client, name: str, *, n: int) -> dict[str, Any]:
    """Posts one of pydicom's own files and follows the job to its end."""
    path = get_testdata_file(name)
    assert isinstance(path, str), f"pydicom does not install {name}"
    started = time.monotonic()
    location = client.submit(Path(path).read_bytes(), n=n)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"certifying {name}", total=None)
        while (found := client.get(location))["status"] in ("queued", "running"):
            if "progress" in found:
                done, total = (found["progress"][f"samples_{part}"] for part in ("done", "total"))
                progress.update(task, completed=done, total=total)
            time.sleep(0.2)
    if found["status"] != "finished":
        raise SystemExit(f"{name} failed: {json.dumps(found, indent=2)}")
    return found | {"seconds": time.monotonic() - started}


def print_table(results: dict[str, dict[str, Any]]) -> None:
    table = Table(title="certificates (l2 radius, pixels scaled to [0, 1]; research use only)")
    for column in ("image", "sigma", "prompting", "class", "radius", "samples", "covers"):
        table.add_column(column)
    for name, found in results.items():
        for place, entry in enumerate(found["certificates"]):
            table.add_row(
                name if place == 0 else "",
                str(entry["sigma"]),
                entry["prompting"],
                entry.get("prediction", "(abstained)"),
                f"{entry['radius']:.6f}" if "radius" in entry else "",
                str(entry["n_used"]),
                COVERS[entry["guarantee_scope"]],
                end_section=place + 1 == len(found["certificates"]),
            )
    console.print(table)
    for name, found in results.items():
        certificates = len(found["certificates"])
        console.print(f"{name}: {certificates} certificates in {found['seconds']:.1f} s")


def write_certificates(results: dict[str, dict[str, Any]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in results.items():
        path = folder / f"{Path(name).stem}.json"
        path.write_text(json.dumps({k: v for k, v in found.items() if k != "seconds"}, indent=2))
        console.print(f"written: {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="output folder")
    parser.add_argument("--n", type=int, default=2000, help="samples per noise level")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder / "data", ignore_errors=True)  # else answers are stored ones
    arguments.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    console.print(f"starting the service at http://127.0.0.1:{port}")
    service = start_service(port, arguments.folder)
    try:
        wait_until_ready(client, service, arguments.folder / "service.log")
        console.print("ready")
        results = {name: certify(client, name, n=arguments.n) for name in IMAGES}
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(timeout=60)
    print_table(results)
    write_certificates(results, arguments.folder / "certificates")
    console.print(f"service stopped, exit status {service.returncode}")
    return service.returncode


if __name__ == "__main__":
    sys.exit(main())
