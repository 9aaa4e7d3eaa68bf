"""Fetching from the Hub: from one that answers on this machine, and where there is none."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from published_vlms import write_vocabulary

from models.catalogue import load_catalogue

REPOSITORY = Path(__file__).parents[3]
GUIDE = REPOSITORY / "docs" / "models.md"
COMMIT, OTHER_COMMIT = "5" * 40, "6" * 40

PROGRAM = """
import sys
from app.cli.__main__ import main
sys.argv = ["promptsmooth", "models", "pull", *sys.argv[1:]]
main()
"""
BLOCKED = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no socket is opened here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


class Hub(BaseHTTPRequestHandler):
    """What the Hub's client asks for: facts about a repository, and files of a commit."""

    folder: Path  # of the repository that no other folder is named for
    others: dict[str, Path]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        owner, name = path.removeprefix("/api/models").split("/")[1:3]
        repository = f"{owner}/{name}"
        folder = self.others.get(repository, self.folder)
        commit = OTHER_COMMIT if repository in self.others else COMMIT
        if path.startswith(f"/api/models/{repository}/tree/"):
            self.answer(json.dumps(self.list_files(folder)).encode())
        elif path.startswith(f"/api/models/{repository}"):
            files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
            fields = {"id": repository, "sha": commit, "siblings": files}
            self.answer(json.dumps(fields).encode())
        elif path.startswith(f"/{repository}/resolve/{commit}/"):
            self.answer((folder / Path(path).name).read_bytes())
        else:
            self.send_error(404)

    def list_files(self, folder: Path) -> list[dict]:
        return [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in sorted(folder.iterdir())
        ]

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.path.split("/")[4])
        self.send_header("ETag", '"' + str(len(content)) * 8 + '"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(tmp_path) -> Iterator[tuple[str, type[Hub]]]:
    """A Hub on this machine, with the files of the folder `hub`."""
    (tmp_path / "hub").mkdir()
    handler = type("Handler", (Hub,), {"folder": tmp_path / "hub", "others": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def pull(
    tmp_path: Path, endpoint: str, program: str = PROGRAM, model: str = "plip"
) -> subprocess.CompletedProcess:
    """In a process of its own: the Hub's client reads its settings when it is imported."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PROMPTSMOOTH_MODELS": str(tmp_path / "models"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", program, model],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_pull_without_a_network_is_one_sentence(tmp_path):
    ended = pull(tmp_path, "https://huggingface.co", BLOCKED + PROGRAM)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(
        "promptsmooth: vinid/plip could not be downloaded from the Hugging"
    )
    assert "run: promptsmooth models add plip PATH" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.long
def test_pull_fetches_what_the_form_reads_of_one_commit(tmp_path, hub, hf_clip):
    """These weights are refused, being smaller than PLIP's; what was fetched is kept, and the same
    command does not fetch it again.
    """
    endpoint, handler = hub
    hf_clip.write(handler.folder)
    (handler.folder / "pytorch_model.bin").write_bytes(b"not wanted")
    (handler.folder / "README.md").write_text("not wanted")
    ended = pull(tmp_path, endpoint)
    assert ended.returncode == 2
    assert ended.stderr.endswith("The configuration's embed_dim: expected 512, found 24.\n")
    kept = tmp_path / "models" / ".fetched-plip"
    names = {path.name for path in kept.iterdir() if path.is_file()}
    assert names == {"config.json", "model.safetensors"}
    fetched = (kept / "model.safetensors").read_bytes()
    assert fetched == (handler.folder / "model.safetensors").read_bytes()
    assert pull(tmp_path, endpoint).returncode == 2
    assert handler.asked.count(f"GET /vinid/plip/resolve/{COMMIT}/model.safetensors") == 1


@pytest.mark.long
def test_weights_of_a_name_of_their_own_and_a_tokenizer_of_another_repository(tmp_path, hub):
    """UniMed-CLIP's checkpoint lies alone; its card says where the vocabulary is."""
    endpoint, handler = hub
    published = load_catalogue().describe("unimed-clip-b16").published
    torch.save({"state_dict": {"a": torch.ones(2)}}, handler.folder / published.weights)
    bert = tmp_path / "bert"
    bert.mkdir()
    write_vocabulary(bert, 30522)
    (bert / "pytorch_model.bin").write_bytes(b"not wanted")
    handler.others = {published.tokenizer: bert}
    ended = pull(tmp_path, endpoint, model="unimed-clip-b16")
    assert ended.returncode == 2
    assert "The tensor a does not fit the model" in ended.stderr
    kept = tmp_path / "models" / ".fetched-unimed-clip-b16"
    names = {path.name for path in kept.iterdir() if path.is_file()}
    assert names == {published.weights, "vocab.txt"}


def run_guide(marked: str, work: Path, models: Path, **environment: str) -> str:
    """Runs the lines of the guide's blocks that have these words, where its folder is `work`."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.search(marked, line)]
    assert lines, marked
    ended = subprocess.run(
        ["bash", "-euc", "\n".join(lines).replace("/media/usb/plip", str(work / "hub"))],
        cwd=work,
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(work),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            "COLUMNS": "100",
            "PROMPTSMOOTH_MODELS": str(models),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.real_size
def test_every_way_of_the_guide_brings_the_same_plip(tmp_path, hub, real_hf_clip):
    """From files, from an archive and from the Hub: its commands, as they stand."""
    endpoint, handler = hub
    real_hf_clip.write(handler.folder, weights="pytorch_model.bin")
    added = run_guide(r"add plip /media", tmp_path, tmp_path / "added")
    sys.stdout.write(run_guide(r"check plip", tmp_path, tmp_path / "added"))
    run_guide(r"bundle plip", tmp_path, tmp_path / "added")
    shutil.rmtree(tmp_path / "added")  # so that the disk holds fewer copies
    carried = run_guide(r"add plip plip\.tar", tmp_path, tmp_path / "carried")
    pulled = run_guide(r"pull plip", tmp_path, tmp_path / "pulled", HF_ENDPOINT=endpoint)
    digests = {re.search(r"digest ([0-9a-f]{64})", shown)[1] for shown in (added, carried, pulled)}
    assert len(digests) == 1
    card = (tmp_path / "pulled" / "plip" / "card.toml").read_text()
    assert f'revision = "{COMMIT}"' in card
    assert not (tmp_path / "pulled" / ".fetched-plip").exists()
