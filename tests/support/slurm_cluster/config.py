"""The text of the private cluster's `slurm.conf`.

By default SLURM takes two minutes to restart a requeued job. Here every wait is as short
as SLURM allows, so that a test of a requeue takes seconds. (With a SlurmdTimeout below 6 s,
SLURM 24.11 declares a node dead before it has asked it for the first time.)
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1: the controller's, and one per node."""

    controller: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Accounting:
    """Where slurmdbd listens, and where its database does."""

    slurmdbd: int
    database: int


CONFIG = """\
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmdTimeout=6
MessageTimeout=2
TCPTimeout=1
BatchStartTimeout=1
KillWait=5
MinJobAge=300
MaxArraySize={max_array_size}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} State=UNKNOWN\n"
)

WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={folder}/munge.sock
"""

SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=root
StorageLoc=slurm_acct_db
"""


def slurm_conf(
    folder: Path,
    *,
    host: str,
    user: str,
    names: tuple[str, ...],
    ports: Ports,
    cpus: int,
    memory_mb: int,
    max_array_size: int,
    accounting: Accounting | None,
) -> str:
    """Return the whole `slurm.conf` for nodes that all live on this host."""
    text = CONFIG.format(
        host=host, controller=ports.controller, folder=folder, user=user, max_array_size=max_array_size
    )
    if accounting is not None:
        text += WITH_ACCOUNTING.format(folder=folder, slurmdbd=accounting.slurmdbd)
    for name, port in zip(names, ports.nodes, strict=True):
        text += NODE.format(name=name, host=host, port=port, cpus=cpus, memory=memory_mb)
    return text


def slurmdbd_conf(folder: Path, *, host: str, user: str, accounting: Accounting) -> str:
    """Return the whole `slurmdbd.conf`; slurmdbd insists on mode 0600 for it."""
    return SLURMDBD.format(
        folder=folder, host=host, user=user, slurmdbd=accounting.slurmdbd, database=accounting.database
    )
