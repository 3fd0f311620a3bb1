"""The sbatch script of a step, written and submitted by submitit.

submitit's way of running a function (pickle, `srun`, its own handlers of USR2 and TERM) is not used: those signals
reach every process of a step and kill helpers, and its idea of a job's state needs accounting. Here the command is the
last line of the script, with `exec`: Python is the batch process, alone gets the warning before the time limit
(`B:USR1`), and requeues itself, as with `audiosetdl-job-array.s`.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from audioset_batch.config.schema import Slurm
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir
from audioset_batch.submit.chain import JOB_NAMES, Step, index_ranges

_OURS: Final = ("array", "dependency", "signal", "output", "error", "open-mode", "requeue", "no-requeue", "wrap")
_MODULES: Final = (
    "# a batch shell may lack the function that modules are loaded with",
    "for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do",
    '    if ! type module >/dev/null 2>&1 && [ -r "$init" ]; then . "$init"; fi',
    "done",
)


class ScriptExecutor(submitit.SlurmExecutor):
    """submitit's SLURM executor for plain commands; scripts can be made where there is no SLURM."""

    @classmethod
    def affinity(cls) -> int:
        """Possible everywhere: whether sbatch is there shows when it is called."""
        return 2

    def script(self, command: str) -> str:
        """The text that would be submitted."""
        text: str = self._make_submission_file_text(command, "")
        return text

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--parsable", str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: str | bytes) -> str:
        text = string if isinstance(string, str) else string.decode()
        match = re.search(r"(?m)^(\d+)(;\S*)?$", text.strip())  # `12;cluster` in a federation
        if match is None:
            raise FailedSubmissionError(f"sbatch: said {text!r}, expected the id of a job")
        return match[1]

    def submit_script(self, command: str) -> str:
        """Submit and return the job's id.

        SLURM copies the script. Until then it lies where nobody else can exchange it, unlike in a shared DATADIR.

        Raises:
            InputRefused: sbatch refused; with its words.
        """
        if shutil.which("sbatch") is None:
            raise InputRefused("sbatch is not on the PATH of this machine: use a login node, or --cluster local")
        try:
            with (
                contextlib.redirect_stderr(io.StringIO()),  # submitit prints what it raises as well
                tempfile.TemporaryDirectory(prefix="audioset-batch-") as own,
            ):
                self.folder = Path(own)
                job = self._submit_command(command)
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputRefused(f"sbatch refused the job: {_last_words(error)}") from error
        return str(job.job_id)


def executor_for(step: Step, slurm: Slurm, data: DataDir, after: Sequence[str]) -> ScriptExecutor:
    """An executor whose script runs `step` after the jobs `after`.

    Raises:
        UsageError: `slurm.extra` names an option that the chain itself needs.
    """
    executor = ScriptExecutor(folder=data.submissions)
    executor.update_parameters(
        job_name=JOB_NAMES[step.role],
        partition=slurm.partition,
        account=slurm.account,
        qos=slurm.qos,
        mail_user=slurm.mail_user,
        mail_type=slurm.mail_type if slurm.mail_type or not slurm.mail_user else "END,FAIL",
        cpus_per_task=step.resources.cpus,
        mem=step.resources.mem,
        setup=setup_lines(slurm),
        use_srun=False,
        stderr_to_stdout=True,
        wckey=None,
        additional_parameters=_options(step, slurm, data, after),
    )
    return executor


def _options(step: Step, slurm: Slurm, data: DataDir, after: Sequence[str]) -> Mapping[str, Any]:
    """What submitit has no parameter for, or says in its own way."""
    name = "%x-%A_%a.log" if step.array else "%x-%j.log"
    options: dict[str, Any] = {
        "output": f"{str(data.logs).replace('%', '%%')}/{name}",
        "time": step.resources.time,
        "ntasks": 1,
        "requeue": True,
        "signal": f"B:USR1@{slurm.signal_seconds}",
    }
    if step.array:
        indices = index_ranges([task - step.offset for task in step.array])
        options["array"] = f"{indices}%{step.parallel}"
    if after:
        options["dependency"] = f"{'afterok' if step.only_if_ok else 'afterany'}:{':'.join(after)}"
    if step.only_if_ok and after:
        options["kill-on-invalid-dep"] = "yes"  # else the array would wait for ever, and merge with it
    extra = {key.replace("_", "-"): value for key, value in slurm.extra.items()}
    taken = sorted(set(extra) & set(_OURS))
    if taken:
        raise UsageError(f"slurm.extra: {', '.join(taken)}: submit sets these itself; leave them out")
    options.update((key, value) for key, value in extra.items() if value is not False)
    return options


def setup_lines(slurm: Slurm) -> list[str]:
    """Shell lines before the command: PATH, the site's own lines in jobs/environment.sh, modules, `slurm.setup`."""
    lines = [f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"']
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "jobs" / "environment.sh").is_file():
        lines += [f"SRCDIR={shlex.quote(str(checkout))}", '. "$SRCDIR/jobs/environment.sh"']
    if slurm.modules:
        lines += _MODULES
        for module in slurm.modules:
            name = shlex.quote(module)
            lines.append(f'module load {name} || {{ echo "cannot load the module" {name} >&2; exit 2; }}')
    return [*lines, *slurm.setup]


def command_line(step: Step) -> str:
    """The last line of the script: Python takes the place of the shell."""
    line = "exec " + shlex.join([sys.executable, "-P", "-m", "audioset_batch", *step.argv])
    if step.array:
        index = "SLURM_ARRAY_TASK_ID"
        line += f' --task "$(({index} + {step.offset}))"' if step.offset else f' --task "${index}"'
    return line


def _last_words(error: Exception) -> str:
    """submitit wraps what sbatch says into its own text and a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if "sbatch: " in line]
    return "; ".join(line.partition("sbatch: ")[2] for line in lines) or str(error).strip()
