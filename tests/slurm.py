"""A Slurm cluster of our own: Debian's slurmctld, three slurmd and munged, on 127.0.0.1 alone.
All that they write is in one folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from tests.processes import children

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "sinfo")
SECONDS = 60.0  # for a daemon to answer
NODES = ("one", "two", "three")
CONFIGURATION = """\
ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/socket,cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
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
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
MinJobAge=60
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=1,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} {size}
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} {size}
NodeName=three NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[3]} {size}
PartitionName=gpu Nodes=one,two Default=YES MaxTime=60 State=UP
PartitionName=other Nodes=three MaxTime=60 State=UP
"""


def program(name: str) -> str | None:
    """Where a program is; daemons are in sbin, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in NEEDED if program(name) is None]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class Cluster:
    """The running daemons, by name."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self, name: str, *line: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                line, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def start_node(self, name: str) -> None:
        self.start(name, str(program("slurmd")), "-D", "-N", name, "-f", str(self.configuration))

    def kill_node(self, name: str) -> None:
        """As if the machine had lost its power: the daemon and every process of its jobs die."""
        daemon = self.daemons.pop(name)
        own = [pid for pid in processes_with({"SLURMD_NODENAME": name}) if pid != os.getpid()]
        for pid in [*own, *children(daemon.pid), daemon.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def ask(self, *line: str) -> str:
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def node_states(self) -> dict[str, str]:
        done = subprocess.run(["sinfo", "-hN", "-o", "%N %T"], capture_output=True, text=True)
        return dict(line.split() for line in done.stdout.splitlines())

    def wait(self, what: Callable[[], bool], seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.ask("squeue", "--states=all") + self.tail()
            time.sleep(0.3)

    def tail(self) -> str:
        return "\n".join(log.read_text()[-1500:] for log in self.folder.glob("*.log"))

    def stop(self) -> None:
        with suppress(subprocess.SubprocessError):
            user = f"--user={os.getuid()}"
            subprocess.run(["scancel", user], capture_output=True, timeout=20)
            end = time.monotonic() + 20
            while stepds(self.folder) and time.monotonic() < end:
                time.sleep(0.2)
        for pid in stepds(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in reversed(list(self.daemons.values())):
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def processes_with(environment: dict[str, str]) -> list[int]:
    """The processes that have these in their environment."""
    wanted = {f"{name}={value}".encode() for name, value in environment.items()}
    pids = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted <= set(file.read_bytes().split(b"\0")):
                pids.append(int(file.parent.name))
    return pids


def stepds(folder: Path) -> list[int]:
    """The processes of this cluster's Slurm that look after a job each."""
    pids = []
    for pid in processes_with({"SLURM_CONF": f"{folder}/slurm.conf"}):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"slurmstepd"):
                pids.append(pid)
    return pids


@contextmanager
def cluster() -> Iterator[Cluster]:
    """The cluster, with SLURM_CONF in the environment. Its folder has a short path: that of a
    socket may have 108 letters."""
    folder, ports = Path(mkdtemp(prefix="slurm-")), free_ports(4)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    user = pwd.getpwuid(os.getuid()).pw_name
    size = "CPUs=1 RealMemory=2000 Gres=gpu:1"
    text = CONFIGURATION.format(folder=folder, ports=ports, user=user, size=size)
    (folder / "gres.conf").write_text("NodeName=one,two,three Name=gpu File=/dev/zero\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    running = Cluster(folder)
    running.configuration.write_text(text)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(running.configuration)
    try:
        files = {"key-file": "munge.key", "pid-file": "pid", "log-file": "munge.log"}
        files |= {"seed-file": "seed", "socket": "socket"}
        options = [f"--{name}={folder / file}" for name, file in files.items()]
        munged = str(program("munged"))
        running.start("munged", munged, "--foreground", "--force", "--num-threads=2", *options)
        running.start(
            "slurmctld", str(program("slurmctld")), "-D", "-f", str(running.configuration)
        )
        for name in NODES:
            running.start_node(name)
        running.wait(lambda: set(running.node_states().values()) == {"idle"})
        yield running
    finally:
        running.stop()
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)
