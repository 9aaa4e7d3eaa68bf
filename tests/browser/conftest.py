"""The page in Debian's Chromium, before the whole service as `promptsmooth up` runs it.

Every request to another address, every violation of the content policy and every error of a script
fails the test that it happened in.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from command import PROMPTSMOOTH
from PIL import Image
from ports import find_free_port
from same_noise import with_secret
from waiting import HANG_S, wait_until

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (make setup)"
)

NAMES = ("chromium", "chromium-browser", "google-chrome")  # Debian, Ubuntu, Google's own
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
WATCHER = Path(__file__).parent / "watch.js"
SCREENSHOTS = os.environ.get("PROMPTSMOOTH_SCREENSHOTS")  # a folder: each state is kept there
_EXPECTED = "Failed to load resource: the server responded with a status of"


@dataclass(kw_only=True)
class Service:
    """A running service that can be stopped and started again on the same data and port."""

    folder: Path
    port: int
    models: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        return httpx2.get(f"{self.url}/{path}", trust_env=False, timeout=HANG_S).json()

    def delete(self, path: str) -> None:
        httpx2.delete(f"{self.url}/{path}", trust_env=False, timeout=HANG_S).raise_for_status()

    def start(self) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
            "PROMPTSMOOTH_MODELS": str(self.models),
            "PROMPTSMOOTH_SERVE_MODELS": '["bundled-2", "linear"]',
            "PROMPTSMOOTH_RQ_WORKERS": "3",
            **self.settings,
        }
        data = str(with_secret(self.folder / "data"))
        command = [str(PROMPTSMOOTH), "up", "--port", str(self.port), "--data-dir", data]
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._wait_until_ready()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(HANG_S)

    def run(self, *arguments: str) -> str:
        """A command of promptsmooth on this service's data folder; what it printed."""
        environment = {**os.environ, "PROMPTSMOOTH_DATA_DIR": str(self.folder / "data")}
        done = subprocess.run(
            [str(PROMPTSMOOTH), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def _wait_until_ready(self) -> None:
        def is_ready() -> bool:
            with suppress(httpx2.TransportError):
                return httpx2.get(f"{self.url}/readyz", trust_env=False).status_code == 200
            return False

        wait_until(is_ready, say=(self.folder / "service.log").read_text)


def _require_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH (apt-get install chromium)")


@pytest.fixture(scope="session")
def create_service() -> type[Service]:
    """Makes a service of a test's own, which it starts and stops."""
    return Service


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets with one in it, `bones`: four pictures of two classes."""
    folder, rng = tmp_path_factory.mktemp("datasets"), np.random.default_rng(8)
    for name in ("hand", "skull"):
        (folder / "bones" / "test" / name).mkdir(parents=True)
        for place in range(2):
            pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "bones" / "test" / name / f"{place}.png")
    return folder


@pytest.fixture(scope="session")
def service(
    models_folder: Path, datasets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    _require_chromium()
    port, folder = find_free_port(), tmp_path_factory.mktemp("page")
    settings = {"PROMPTSMOOTH_DATASETS": str(datasets)}
    running = Service(folder=folder, port=port, models=models_folder, settings=settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    _require_chromium()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass(kw_only=True)
class Tabs:
    """Opens tabs of the page and remembers what went wrong in any of them."""

    browser: Any
    service: Service
    faults: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def open(
        self, address: str = "", *, dark: bool = False, width: int = 1280, locale: str = "en-US"
    ) -> Any:
        """A tab of its own session, at an address after #."""
        context = self.browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 900},
            locale=locale,
        )
        self.contexts.append(context)
        context.add_init_script(path=AXE)
        context.add_init_script(path=WATCHER)
        context.route("**/*", self._only_local)
        page = context.new_page()
        page.set_default_timeout(1000 * HANG_S)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"error of a script: {error}"))
        page.goto(f"{self.service.url}/#/{address}")
        return page

    def _only_local(self, route: Any) -> None:
        url = route.request.url
        if url.startswith((f"{self.service.url}/", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"a request that is not local: {url}")
            route.abort()

    def _on_console(self, message: Any) -> None:
        refused = message.type == "error" and not message.text.startswith(_EXPECTED)
        if refused and "net::ERR_" not in message.text:
            self.faults.append(f"console: {message.text}")


@pytest.fixture
def tabs(chromium: Any, service: Service) -> Iterator[Tabs]:
    opened = Tabs(browser=chromium, service=service)
    yield opened
    for context in opened.contexts:
        context.close()
    assert opened.faults == []


@pytest.fixture(scope="session")
def check() -> Callable[[Any, str], None]:
    """Whoever cannot see or use a mouse: axe-core finds nothing in a state, of any impact."""

    def check_state(page: Any, state: str) -> None:
        page.wait_for_timeout(300)  # transitions of bars end
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{state}.png", full_page=True)
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        violations = [
            (one["id"], one["impact"], node["target"], node["failureSummary"])
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert violations == [], state

    return check_state


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[np.ndarray], str]:
    """A file of a prepared image (3, H, W), which the service decodes to the same integers."""
    folder = tmp_path_factory.mktemp("pictures")

    def write(image: np.ndarray) -> str:
        file = BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
        path = folder / f"{len(list(folder.iterdir()))}.png"
        path.write_bytes(file.getvalue())
        return str(path)

    return write


@pytest.fixture(scope="session")
def xray(data_folder: Path) -> str:
    return str(min((data_folder / "mednist" / "test" / "chest_xray").iterdir()))


@pytest.fixture(scope="session")
def head(data_folder: Path) -> str:
    return str(min((data_folder / "mednist" / "test" / "head_ct").iterdir()))
