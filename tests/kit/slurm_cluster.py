"""A real Slurm on this machine: a controller, two nodes with two made-up GPUs each, its own key, ports and folder.

It needs Debian's slurmctld, slurmd, slurm-client and munge (`make slurm`) and root, and nothing of systemd.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.kit.lab import free_port, until

NODES = ("node1", "node2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
OTHER_USER = "nobody"
# Slurm wants a character device of its own for each GPU; these exist everywhere.
DEVICES = ("/dev/null", "/dev/zero")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
GresTypes=gpu
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=3
MessageTimeout=3
TCPTimeout=2
SlurmdTimeout=6
ReturnToService=2
SlurmdParameters=config_overrides
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=30 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=30 State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2 State=UNKNOWN"
)


def why_not() -> str:
    """Why no cluster can be started here; empty where one can."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
        return f"Slurm is not installed ({', '.join(missing)}): `make slurm` installs it on Debian"
    return "" if os.getuid() == 0 else "starting a Slurm needs root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class Cluster:
    """One cluster; `stop` ends exactly its own processes."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(3)])

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def run(self, *command: str) -> str:
        """One command on the cluster."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def start(self) -> None:
        """Write the configuration and start everything."""
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        nodes = [NODE.format(name=name, port=port) for name, port in zip(NODES, self.ports[1:], strict=True)]
        configuration = CONFIGURATION.format(folder=self.folder, controller=self.ports[0])
        (self.folder / "slurm.conf").write_text("\n".join([configuration, *nodes, ""]), encoding="utf-8")
        gpus = [f"NodeName={','.join(NODES)} Name=gpu File={device}" for device in DEVICES]
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *gpus, ""]), encoding="utf-8")
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        self.run("munged", "--force", *(f"--{option}={self.folder / name}" for option, name in files.items()))
        self.start_controller()
        for node in NODES:
            self.start_node(node)

    def start_controller(self) -> None:
        self.run("slurmctld")
        assert until(self._answers), (self.folder / "slurmctld.log").read_text()

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return "UP" in self.run("scontrol", "ping")
        return False

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self.run("slurmd", "-N", node)
        assert until(lambda: self.run("sinfo", "-h", "-N", "-n", node, "-p", "gpu", "-o", "%T") in ("idle", "mixed"))

    def stop_controller(self) -> None:
        self._end("slurmctld.pid", signal.SIGTERM)

    def kill_node(self, node: str) -> None:
        """A node loses power: its daemon and everything that it runs are gone at once."""
        daemon = psutil.Process(int((self.folder / f"slurmd-{node}.pid").read_text()))
        for process in [daemon, *(found for found in psutil.process_iter() if _runs_on(found, node))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _end(self, file: str, number: signal.Signals) -> None:
        path = self.folder / file
        if path.exists():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(path.read_text()))
                process.send_signal(number)
                until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, timeout_s=20)

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", "--user=root", f"--user={OTHER_USER}")
            until(lambda: not self.run("squeue", "-h"), timeout_s=20)
        for name in (*(f"slurmd-{node}.pid" for node in NODES), "slurmctld.pid", "munged.pid"):
            self._end(name, signal.SIGTERM)
            self._end(name, signal.SIGKILL)

    def jobs(self) -> list[str]:
        """The names of all jobs that Slurm remembers."""
        return self.run("squeue", "-h", "-t", "all", "-o", "%j").splitlines()

    def hurry(self, job: str, **changes: str) -> None:
        """Slurm keeps a requeued job back for two minutes; nobody wants to wait for that in a test.

        Two seconds remain: a node refuses to start a job in the second in which it ended it.
        """
        settings = {"StartTime": "now+2", **changes}
        self.run("scontrol", "update", f"JobId={job}", *(f"{name}={value}" for name, value in settings.items()))


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster in a folder that other users' jobs can reach, too."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        Path(folder).chmod(0o755)
        found = Cluster(Path(folder) / "ci")
        try:
            found.start()
            yield found
        finally:
            found.stop()


def _runs_on(process: psutil.Process, node: str) -> bool:
    """A process of a job on the node, or the slurmstepd that looks after it."""
    with contextlib.suppress(psutil.Error, OSError):
        if process.name() == "slurmstepd":
            return any(_runs_on(child, node) for child in process.children())
        return process.environ().get("SLURMD_NODENAME") == node
    return False
