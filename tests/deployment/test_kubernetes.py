"""The Kubernetes files as kubectl builds them, beside the compose files whose images they use."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docker" / "kubernetes"
BUILDS = sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))
COMPOSE_ONLY = {"PROMPTSMOOTH_PUBLISHED_ON"}  # there is no address of this machine
KUBERNETES_ONLY = {"PROMPTSMOOTH_REDIS_CA", "PROMPTSMOOTH_SECRET_FILE", "PROMPTSMOOTH_DEVICE"}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")

Resources = dict[tuple[str, str], dict[str, Any]]


@cache
def build(name: str) -> Resources:
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / name], check=True, capture_output=True, text=True
    )
    found = list(yaml.safe_load_all(done.stdout))
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def list_pods(name: str) -> dict[str, dict[str, Any]]:
    """The specification of each kind of pod."""
    return {
        who: one["spec"]["template"]["spec"]
        for (kind, who), one in build(name).items()
        if kind in ("Deployment", "StatefulSet")
    }


def get_container(name: str, who: str) -> dict[str, Any]:
    (container,) = list_pods(name)[who]["containers"]
    return dict(container)


def get_environment(name: str, who: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in get_container(name, who)["env"]}


def load_compose(file: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((REPOSITORY / file).read_text())["services"]
    return services


def test_each_build_has_the_parts_that_it_names() -> None:
    assert BUILDS == ["base", "cpu", "external-redis"]
    assert set(list_pods("base")) == set(list_pods("cpu")) == {"app", "redis", "worker"}
    assert set(list_pods("external-redis")) == {"app", "worker"}
    assert ("Service", "redis") not in build("external-redis")


@pytest.mark.parametrize("name", BUILDS)
def test_images_are_those_of_compose(name: str) -> None:
    known = {one["image"] for one in load_compose("docker-compose.yml").values()}
    known |= {one["image"] for one in load_compose("compose.gpu.yml").values()}
    assert {pod["containers"][0]["image"] for pod in list_pods(name).values()} <= known


def test_a_worker_has_one_gpu_and_none_on_cpus() -> None:
    limits = get_container("base", "worker")["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in get_container("cpu", "worker")["resources"]["limits"]
    assert get_container("cpu", "worker")["image"] == "promptsmooth-worker"
    assert get_environment("cpu", "worker")["PROMPTSMOOTH_DEVICE"] == "cpu"


@pytest.mark.parametrize("who", ["app", "worker"])
def test_variables_are_those_of_compose(who: str) -> None:
    composed = set(load_compose("docker-compose.yml")[who]["environment"]) - COMPOSE_ONLY
    assert set(get_environment("base", who)) - KUBERNETES_ONLY == composed


@pytest.mark.parametrize("name", BUILDS)
def test_every_pod_is_confined(name: str) -> None:
    for who, pod in list_pods(name).items():
        assert pod["securityContext"]["runAsNonRoot"], who
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", who
        assert not pod["automountServiceAccountToken"], who
        (container,) = pod["containers"]
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"], who
        assert not confined["allowPrivilegeEscalation"], who
        assert confined["capabilities"] == {"drop": ["ALL"]}, who
        assert container["resources"]["limits"]["memory"], who
        assert {"startupProbe", "readinessProbe"} <= set(container), who


@pytest.mark.parametrize("name", BUILDS)
def test_every_password_goes_by_tls_and_only_workers_have_the_key_secret(name: str) -> None:
    for who in ("app", "worker"):
        assert get_environment(name, who)["REDIS_URL"].startswith("rediss://")
    volumes = {one["name"]: one for one in list_pods(name)["app"]["volumes"]}
    shown = [item["key"] for item in volumes["queue"]["secret"]["items"]]
    assert shown == ["redis-password", "redis.crt"]
    if name != "external-redis":
        args = get_container(name, "redis")["args"]
        assert args[args.index("--port") + 1] == "0"


def test_the_secrets_of_the_guide_hold_every_file_that_is_mounted(tmp_path: Path) -> None:
    """`kubectl create secret --from-file=FOLDER` has a key for each file of the folder."""
    for name in ("queue", "redis", "proxy", "app", "own-tls"):
        (tmp_path / name).mkdir()
    prepare = [sys.executable, "-m", "app.deployment", "--root", tmp_path]
    subprocess.run([*prepare, "--own-tls", tmp_path / "own-tls"], check=True)
    (tmp_path / "queue" / "key-secret").write_bytes(os.urandom(32))
    folders = {f"promptsmooth-{name}": tmp_path / name for name in ("queue", "redis")}
    folders["promptsmooth-keys"] = tmp_path / "app"
    for who, pod in list_pods("base").items():
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        (container,) = pod["containers"]
        text = json.dumps([container.get("env"), container.get("args"), container["startupProbe"]])
        for mount in container["volumeMounts"]:
            if mount["name"] in secrets:
                named = set(re.findall(rf"{mount['mountPath']}/([\w.-]+)", text))
                there = {path.name for path in folders[secrets[mount["name"]]].iterdir()}
                assert named, (who, mount)
                assert named <= there, (who, mount)


def test_redis_keeps_what_compose_keeps() -> None:
    composed = load_compose("docker-compose.yml")["redis"]["command"].split()
    args = get_container("base", "redis")["args"]
    for option in ("--appendonly", "--appendfsync", "--maxmemory-policy", "--tls-auth-clients"):
        assert args[args.index(option) + 1] == composed[composed.index(option) + 1], option
    assert args[args.index("--save") + 1] == ""


@pytest.mark.parametrize("name", BUILDS)
def test_a_pod_ends_after_its_drain(name: str) -> None:
    """The grace is for the drain, and 30 s more for what SIGTERM hands back."""
    pod = list_pods(name)["worker"]
    (_, _, script) = get_container(name, "worker")["lifecycle"]["preStop"]["exec"]["command"]
    drain, resume = script.split(";")
    assert drain.startswith("promptsmooth drain --host")
    assert resume.strip().startswith("promptsmooth resume --host"), "it outlives the pod otherwise"
    waits = int(drain.split("--wait ")[1])
    assert pod["terminationGracePeriodSeconds"] >= waits + 30


def test_what_a_policy_selects_is_there() -> None:
    for name in BUILDS:
        for (kind, who), one in build(name).items():
            if kind in ("NetworkPolicy", "Service"):
                spec = one["spec"]
                labels = spec.get("selector") or spec["podSelector"]["matchLabels"]
                assert labels == {"app.kubernetes.io/name": who}
                assert who in list_pods(name)
