"""A real PACS beside a node: Orthanc, and the programs that send to it and judge what it has."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest
from pydicom import dcmread
from waiting import HANG_S, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = ("Orthanc", "storescu", "echoscu", "findscu", "dsrdump", "dciodvfy")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
MISSING += [] if PLUGIN.exists() else ["orthanc-dicomweb"]
needs_orthanc = pytest.mark.skipif(
    bool(MISSING),
    reason=f"not installed: {', '.join(MISSING)} "
    "(apt-get install orthanc orthanc-dicomweb dcmtk dicom3tools)",
)


class Orthanc:
    """A real PACS, which a test may kill and start again."""

    def __init__(
        self, folder: Path, ports: tuple[int, int], node_port: int, **more: object
    ) -> None:
        folder.mkdir()
        self.http_port, self.dicom_port = ports
        self._configuration, self._log = folder / "orthanc.json", folder / "orthanc.log"
        self._configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self.http_port,
                    "DicomPort": self.dicom_port,
                    "DicomAet": "ORTHANC",
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAlwaysAllowStore": True,
                    "DicomAlwaysAllowFind": True,
                    "OverwriteInstances": False,
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    "DicomModalities": {"node": ["PROMPTSMOOTH", "127.0.0.1", node_port]},
                    **more,
                }
            )
        )
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.http_port}", timeout=HANG_S, trust_env=False
        )

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["Orthanc", self._configuration], stdout=log, stderr=log
            )
        wait_until(self._answers, pause_s=0.1, say=self._log.read_text)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self.http.get("/system").is_success
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=HANG_S)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=HANG_S)
        self.http.close()

    def find(self, modality: str) -> list[dict]:
        """Instances of a modality, by QIDO-RS."""
        answer = self.http.get("/dicom-web/instances", params={"Modality": modality})
        return answer.raise_for_status().json()

    def files(self, modality: str, folder: Path) -> list[Path]:
        """These instances as files."""
        folder.mkdir()
        for place, found in enumerate(self.find(modality)):
            uid = found["00080018"]["Value"][0]
            (name,) = self.http.post("/tools/lookup", content=uid).json()
            content = self.http.get(f"/instances/{name['ID']}/file").content
            (folder / f"{place}.dcm").write_bytes(content)
        return sorted(folder.iterdir())


def name_pacs(http_port: int, dicom_port: int) -> str:
    """Rules that name Orthanc, as destinations and sources."""
    return (
        f'[destinations.web]\nkind = "stow"\nurl = "http://127.0.0.1:{http_port}/dicom-web"\n'
        '[destinations.store]\nkind = "cstore"\nhost = "127.0.0.1"\nae_title = "ORTHANC"\n'
        f"port = {dicom_port}\n"
        f'[sources.web]\nkind = "dicomweb"\nurl = "http://127.0.0.1:{http_port}/dicom-web"\n'
        'ae_title = "SENDER"\n'
        f'[sources.move]\nkind = "cmove"\nhost = "127.0.0.1"\nport = {dicom_port}\n'
        'ae_title = "ORTHANC"\n'
    )


def storescu(port: int, *paths: Path, calling: str = "SENDER", called: str = "PROMPTSMOOTH") -> int:
    """Sends files over one association; the exit status, 0 if all were taken."""
    command = create_storescu(port, *paths, calling=calling, called=called)
    return subprocess.run(command, capture_output=True, timeout=HANG_S).returncode


def create_storescu(
    port: int, *paths: Path, calling: str = "SENDER", called: str = "PROMPTSMOOTH"
) -> list[str]:
    """The command that sends files over one association."""
    addresses = ("-aet", calling, "-aec", called, "127.0.0.1", str(port))
    return ["storescu", *addresses, *map(str, paths)]


def check_objects(paths: list[Path]) -> None:
    """dciodvfy finds no error in any of them, and dsrdump reads those that are reports."""
    for path in paths:
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=HANG_S)
        errors = [one for one in said.stderr.splitlines() if one.startswith("Error")]
        assert not errors, (path, errors)
        if dcmread(path).Modality == "SR":
            shown = subprocess.run(
                ["dsrdump", path], capture_output=True, text=True, timeout=HANG_S
            )
            assert "Comprehensive 3D SR Document" in shown.stdout
            assert "PRELIMINARY" in shown.stdout
