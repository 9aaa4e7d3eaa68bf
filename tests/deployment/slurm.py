"""A Slurm cluster of one node on this machine: Debian's munged, slurmctld and slurmd, as root."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ports import find_free_ports
from waiting import HANG_S, wait_until

START_S = 120
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "redis-check-rdb")

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=30
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# Places for a GPU are files, and these are there on every machine. Nothing opens them.
_GRES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def find_missing() -> list[str]:
    """The programs that this machine lacks for a cluster."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@dataclass(frozen=True)
class Slurm:
    """A running cluster."""

    folder: Path

    def run(self, *command: str | Path, **environment: str) -> str:
        """What a command of Slurm prints."""
        own = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        done = subprocess.run(
            [*map(str, command)],
            env={**os.environ, **own, **environment},
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            timeout=HANG_S,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout.strip()

    def list_jobs(self) -> list[tuple[str, str]]:
        """The id and state of each job that has not ended, such as `7_0` and `RUNNING`."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return [(line.split()[0], line.split()[1]) for line in lines]

    def read_logs(self) -> str:
        """The ends of all logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextmanager
def run_slurm(folder: Path) -> Iterator[Slurm]:
    """Runs a cluster with two places for a GPU until the block ends."""
    ctld, slurmd = find_free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    conf = _CONF.format(host=host, folder=folder, ctld=ctld, slurmd=slurmd)
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text(_GRES)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    slurm = Slurm(folder)
    with ExitStack() as running:
        for command in _list_daemons(folder, host):
            log = running.enter_context((folder / f"{command[0]}.out.log").open("wb"))
            running.enter_context(_run_daemon(command, folder, log.fileno()))
            if command[0] == "munged":
                wait_until((folder / "munge.socket").exists, within_s=START_S, say=slurm.read_logs)
        wait_until(lambda: _is_idle(slurm), within_s=START_S, pause_s=0.5, say=slurm.read_logs)
        try:
            yield slurm
        finally:  # jobs would outlive slurmd
            slurm.run("scancel", "--user=root")
            wait_until(lambda: not slurm.list_jobs(), within_s=START_S, pause_s=0.2)


def _list_daemons(folder: Path, host: str) -> Iterator[list[str]]:
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    files = [f"--{option}={folder}/munge.{name}" for option, name in munge.items()]
    yield ["munged", "--foreground", "--force", *files]
    yield ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"]
    yield ["slurmd", "-D", "-N", host, "-f", f"{folder}/slurm.conf"]


def _is_idle(slurm: Slurm) -> bool:
    return "idle" in slurm.run("sinfo", "--noheader", "--format=%T")


@contextmanager
def _run_daemon(command: list[str], folder: Path, log: int) -> Iterator[None]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    process = subprocess.Popen(
        command,
        env={**os.environ, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")},
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
