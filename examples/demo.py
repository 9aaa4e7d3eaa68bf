"""Shows what PromptSmooth does, on real images with known answers. `make demo` runs it.

The demo starts the whole service on this machine (promptsmooth up) and posts the images of
app/web/examples under four promptings at three noise levels. It prints which answers are right, and
how far each one is proved to hold. It draws the same as a picture, writes each certification as a
JSON file, and stops the service. What it does with `app.client` is all that an integrator needs.
"""

import argparse
import json
import math
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from demo_picture import draw
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.client import Certificate, Certification, Client, ClientError

IMAGES = Path(__file__).parents[1] / "app" / "web" / "examples"
SIGMAS = ("0.25", "0.5", "1")
PROMPTINGS = ("template", "few-shot", "zero-shot", "few-shot+zero-shot")
BEFORE = """\
One small model, trained without noise, classifies {count} images that it has never seen. Somebody \
may have tampered with them. So the service asks the model about {n:,} noisy copies of each image, \
and proves how far the answer holds: no change of the pixels shorter than the radius (l2, pixels \
in \\[0, 1]) changes it. More noise can prove more, but hides more of the image.

Each image gets the same noisy copies under four promptings:
  template            a sentence with the class name in it
  few-shot            a prompt learned once, under noise, from a few labelled images of each class
  zero-shot           the sentence, tuned on this image without a label
  few-shot+zero-shot  the learned prompt, tuned on this image\
"""
AFTER = """\
The model is the same in all columns; only the prompt differs. A zero-shot certificate covers the \
prompt that was tuned on this image, not tuning it again on a changed image. These images were \
chosen to show what can happen; docs/promptings.md says how often it happens. \
Research use only.\
"""
console = Console() if sys.stdout.isatty() else Console(width=120)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One certificate, beside the class that the image really shows."""

    sigma: float
    prompting: str
    truth: str
    certificate: Certificate

    @property
    def prediction(self) -> str | None:
        """None if the certificate abstains."""
        return self.certificate.prediction

    @property
    def is_right(self) -> bool:
        """Whether the proved answer is the true class."""
        return self.prediction == self.truth

    @property
    def radius(self) -> float:
        """How far the answer is proved to hold; 0 if it is not."""
        return float(self.certificate.radius or 0)


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


def is_ready(url: str) -> bool:
    """Whether the service can certify now."""
    with Client(url, patience_s=0) as client, suppress(ClientError):
        client.ready()
        return True
    return False


def wait_until_ready(url: str, service: subprocess.Popen[bytes], log: Path) -> None:
    while not is_ready(url):
        if service.poll() is not None:
            raise SystemExit(f"the service ended; from {log}:\n{log.read_text()}")
        time.sleep(0.2)


def certify(client: Client, example: dict[str, str], *, n: int) -> Certification:
    """Posts one image with all noise levels and promptings, and follows the job to its end.

    They share one pass of the model. The prompt also names the classes.
    """
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"certifying {example['file']}", total=None)
        ended = client.certify(
            IMAGES / example["file"],
            sigma=SIGMAS,
            prompting=PROMPTINGS,
            prompt=example["prompt"],
            template=example["template"],
            n_max=n,
            on_progress=lambda now: progress.update(
                task, completed=now.samples_done, total=now.samples_total or None
            ),
        )
    if ended.status != "finished":
        raise SystemExit(f"{example['file']} {ended.status}: {ended.failure}")
    return ended


def list_answers(found: Certification, truth: str) -> list[Answer]:
    """The certificates of one image, each beside the truth."""
    return [
        Answer(sigma=float(one.sigma), prompting=one.prompting, truth=truth, certificate=one)
        for one in found.certificates
    ]


def print_table(examples: list[dict[str, str]], answers: list[list[Answer]]) -> None:
    table = Table(title="Is the true class proved, and up to which radius?")
    for column in ("image", "σ", *PROMPTINGS):
        table.add_column(column.replace("+", "\n+ "))
    for example, all_of_it in zip(examples, answers, strict=True):
        names = [example["class"], example["about"], *[""] * (len(SIGMAS) - 2)]
        for name, level in zip(names, map(float, SIGMAS), strict=True):
            cells = [say(one) for one in all_of_it if one.sigma == level]
            table.add_row(name, f"{level:g}", *cells, end_section=level == float(SIGMAS[-1]))
    table.add_row("right", "", *count_right(answers))
    console.print(table)


def say(answer: Answer) -> str:
    if answer.prediction is None:
        return "[yellow]abstains[/]"
    if answer.is_right:
        return f"[green]right, {math.floor(1000 * answer.radius) / 1000:.3f}[/]"  # rounded down
    return f"[red]wrong: {answer.prediction.partition(',')[0]}[/]"


def count_right(answers: list[list[Answer]]) -> Iterator[str]:
    for prompting in PROMPTINGS:
        asked = [one for all_of_it in answers for one in all_of_it if one.prompting == prompting]
        yield f"{sum(one.is_right for one in asked)} of {len(asked)}"


def write_certificates(
    examples: list[dict[str, str]], results: list[Certification], folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for example, found in zip(examples, results, strict=True):
        path = folder / f"{Path(example['file']).stem}.json"
        path.write_bytes(found.content)
    console.print(f"certificates: {folder}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="output folder")
    parser.add_argument("--n", type=int, default=500, help="samples per noise level")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder / "data", ignore_errors=True)  # else answers are stored ones
    arguments.folder.mkdir(parents=True, exist_ok=True)
    every = json.loads((IMAGES / "examples.json").read_text("utf-8"))
    examples = [one for one in every if "levels" not in one]  # an abstention is for the page
    console.print(BEFORE.format(count=len(examples), n=arguments.n), highlight=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    console.print(f"\nstarting the service at {url}")
    started = time.monotonic()
    service = start_service(port, arguments.folder)
    try:
        wait_until_ready(url, service, arguments.folder / "service.log")
        console.print(f"ready after {time.monotonic() - started:.0f} s\n")
        with Client(url) as client:
            results = [certify(client, example, n=arguments.n) for example in examples]
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(timeout=60)
    answers = [
        list_answers(found, example["class"])
        for found, example in zip(results, examples, strict=True)
    ]
    print_table(examples, answers)
    console.print(AFTER, highlight=False)
    picture = arguments.folder / "promptings.png"
    draw(examples, answers, IMAGES, picture)
    console.print(f"\npicture: {picture}")
    write_certificates(examples, results, arguments.folder / "certificates")
    console.print(
        f"{sum(map(len, answers))} certificates in {time.monotonic() - started:.0f} s, service "
        f"stopped with exit status {service.returncode}"
    )
    return service.returncode


if __name__ == "__main__":
    sys.exit(main())
