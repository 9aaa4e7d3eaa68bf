"""A DICOM node as a process, and what is sent to it."""

import json
import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
from command import PROMPTSMOOTH
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UltrasoundMultiFrameImageStorage, generate_uid
from waiting import HANG_S, wait_until

from app.dicom.spool import Spool

RULE = """
[[rules]]
name = "ct"
match = {{ modality = ["CT"] }}
request = {{ sigma = ["0.25"], n_max = 64 }}
send_to = {send_to}
"""


class NodeProcess:
    """`promptsmooth dicom serve`, which a test may kill and start again."""

    def __init__(self, folder: Path, server: str, port: int, rules: str, **settings: str) -> None:
        folder.mkdir()
        (folder / "rules.toml").write_text(rules)
        self.port, self._log = port, folder / "node.log"
        self.environment = {
            **os.environ,
            "PROMPTSMOOTH_DICOM_RULES": str(folder / "rules.toml"),
            "PROMPTSMOOTH_DICOM_SPOOL": str(folder / "spool"),
            "PROMPTSMOOTH_DICOM_SERVER": server,
            "PROMPTSMOOTH_DICOM_PORT": str(port),
            "PROMPTSMOOTH_DICOM_CALLING_AE": '["SENDER", "ORTHANC"]',
            "PROMPTSMOOTH_DICOM_FIRST_RETRY_S": "0.5",
            "PROMPTSMOOTH_DICOM_LONGEST_RETRY_S": "2",
            **{f"PROMPTSMOOTH_DICOM_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            already = self._log.read_bytes().count(b"ready. AE title")
            self._process = subprocess.Popen(
                [PROMPTSMOOTH, "dicom", "serve"], env=self.environment, stdout=log, stderr=log
            )

        def is_ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            return self._log.read_bytes().count(b"ready. AE title") > already

        wait_until(is_ready, say=self._log.read_text)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=HANG_S)

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=HANG_S)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`promptsmooth dicom` with these words, under the node's settings."""
        return subprocess.run(
            [PROMPTSMOOTH, "dicom", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )

    def status(self) -> dict:
        """What `promptsmooth dicom status` says."""
        done = self.run("status", "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def wait_for(self, state: str, count: int) -> None:
        """Waits until so many tasks are in a state; looks into the spool as `status` does."""
        folder = Path(self.environment["PROMPTSMOOTH_DICOM_SPOOL"])
        with closing(Spool(folder, most_bytes=1)) as spool:
            wait_until(
                lambda: spool.count_states().get(state, 0) >= count,
                pause_s=0.2,
                progress=lambda: str(spool.count_states()),
                say=self._log.read_text,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()


def write_series(folder: Path, count: int, *, seed: int = 1) -> list[Path]:
    """A CT series of so many different slices."""
    folder.mkdir()
    random, series, study = np.random.default_rng(seed), generate_uid(), generate_uid()
    paths = []
    for number in range(1, count + 1):
        dataset = dcmread(get_testdata_file("CT_small.dcm"))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        pixels = np.clip(dataset.pixel_array + random.integers(-50, 50, (128, 128)), 0, 4095)
        dataset.PixelData = pixels.astype(np.int16).tobytes()
        paths.append(folder / f"{number:03}.dcm")
        dataset.save_as(paths[-1])
    return paths


def write_cine(folder: Path, frames: int, *, seed: int = 1) -> Path:
    """An ultrasound cine of so many different frames of 64 x 48 grey pixels."""
    folder.mkdir()
    random, cine = np.random.default_rng(seed), dcmread(get_testdata_file("CT_small.dcm"))
    for keyword in ("RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
        cine.pop(keyword, None)
    cine.SOPClassUID = cine.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    cine.SOPInstanceUID = cine.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    cine.StudyInstanceUID, cine.SeriesInstanceUID = generate_uid(), generate_uid()
    cine.Modality, cine.NumberOfFrames, cine.Rows, cine.Columns = "US", frames, 48, 64
    cine.BitsAllocated = cine.BitsStored = 8
    cine.HighBit, cine.PixelRepresentation = 7, 0
    cine.PixelData = random.integers(0, 256, (frames, 48, 64), np.uint8).tobytes()
    cine["PixelData"].VR = "OB"
    cine.save_as(folder / "cine.dcm")
    return folder / "cine.dcm"
