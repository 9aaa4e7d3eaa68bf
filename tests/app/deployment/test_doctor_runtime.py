"""The doctor says what computes image towers on a CPU."""

import pytest

from app.deployment.doctor import check_runtime
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("chosen", "installed", "computes"),
    [
        ("auto", True, "OpenVINO"),
        ("auto", False, "torch"),
        ("openvino", True, "OpenVINO"),
        ("torch", True, "torch"),
        ("torch", False, "torch"),
    ],
)
def test_the_runtime_is_the_one_that_an_engine_takes(chosen, installed, computes):
    found = check_runtime(WorkerSettings(cpu_runtime=chosen), openvino=installed)
    assert found.verdict == "ok"
    assert found.found == f"{chosen}: {computes} computes image towers on a CPU"


def test_openvino_that_is_asked_for_and_missing_fails():
    found = check_runtime(WorkerSettings(cpu_runtime="openvino"), openvino=False)
    assert found.verdict == "fails"
    assert "PROMPTSMOOTH_CPU_RUNTIME=auto" in found.do
