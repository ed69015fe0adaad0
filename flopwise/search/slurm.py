"""The workers of a search as jobs of Slurm, through submitit: `flopwise search --slurm ...`.

One job array runs `flopwise worker` as often as asked. The search itself trains nothing and stays
where it was started, to show what the jobs do; when it is stopped, the jobs go on, and the same
command watches them again. A job that is preempted or reaches its time asks its worker to leave,
which gives its trial back at once, and is put into the queue again; one that is killed without a
word loses its lease as any worker does.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from flopwise.errors import RunError, many
from flopwise.search.crew import Crew
from flopwise.search.files import write_json

if TYPE_CHECKING:  # optional
    from submitit import SlurmExecutor
    from submitit.core.utils import DelayedSubmission

__all__ = ["Hand", "Jobs", "minutes", "options_of", "queued", "with_gpus"]

OURS = ("array", "error", "open-mode", "output", "signal", "wrap")
"""Options of sbatch that the search itself sets."""
ASKS = ("gpus", "gpus-per-node", "gpus-per-task")
"""Options of sbatch that ask for GPUs; so does `gres`."""
LOOK = 10.0
"""Seconds between two questions to Slurm."""
LEAVE = 60.0
"""Seconds that a worker gets to leave; Slurm gives 90."""
PAUSE = 0.2
"""Seconds between two looks at a job's own worker."""
RESTARTS = 10_000
"""How often a job may reach its time and be queued again."""
HINT = "write --slurm OPTION=VALUE,..., with the long options of sbatch: partition=gpu,time=60"


def options_of(text: str) -> dict[str, str]:
    """Returns the options of sbatch that a text names.

    >>> options_of("partition=gpu,time=1-00:00:00,gpus=1,exclude=n1,n2")
    {'partition': 'gpu', 'time': '1-00:00:00', 'gpus': '1', 'exclude': 'n1,n2'}

    Raises:
        RunError: A part names no value, or an option that the search sets itself.
    """
    found = {}
    for part in re.split(r",(?=[a-z][a-z_-]*=)", text):
        name, given, value = part.strip().partition("=")
        name = name.strip().replace("_", "-")
        if not (name and given and value):
            raise RunError(f"--slurm {text}: '{part}' gives no option a value; {HINT}")
        if name in OURS:
            raise RunError(f"--slurm {text}: '{name}' is set by the search; leave it out")
        found[name] = value.strip()
    minutes(found.get("time", "60"))
    return found


def with_gpus(options: Mapping[str, str], each: int) -> dict[str, str]:
    """Returns options of sbatch that ask for as many GPUs as a training takes.

    >>> with_gpus({"partition": "gpu"}, 4)
    {'partition': 'gpu', 'gpus': '4'}
    >>> with_gpus({"gres": "gpu:a100:4"}, 4), with_gpus({"partition": "cpu"}, 1)
    ({'gres': 'gpu:a100:4'}, {'partition': 'cpu'})

    Raises:
        RunError: They ask for fewer.
    """
    asked = {name: text for name, text in options.items() if name in ASKS}
    if gres := re.search(r"\bgpu(?::[a-z][\w.-]*)?(?::(\d+))?", options.get("gres", "")):
        asked["gres"] = gres[1] or "1"
    if each == 1:
        return dict(options)
    if not asked:
        return {**options, "gpus": str(each)}
    for name, text in asked.items():
        number = text.rpartition(":")[2]
        if number.isdecimal() and int(number) < each:
            raise RunError(
                f"--slurm {name}={options[name]} asks for {number} GPU{'s' * (number != '1')} a "
                f"job, but a training takes {each}: write gpus={each}, or leave it out"
            )
    return dict(options)


def minutes(text: str) -> int:
    """Returns the minutes of a time as sbatch reads it, at least one.

    >>> [minutes(each) for each in ("90", "30:00", "2:00:00", "1-12", "1-12:30")]
    [90, 30, 120, 2160, 2190]
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found:
        raise RunError(f"--slurm time={text}: write minutes, HH:MM:SS or DAYS-HH:MM:SS")
    days, *rest = (int(each or 0) for each in found.groups())
    if found[1] is not None or found[4] is not None:
        hours, mins, seconds = rest
    else:
        hours, (mins, seconds, _) = 0, rest
    return max(1, 1440 * days + 60 * hours + mins + (seconds > 0))


@dataclass
class Hand:
    """What one job runs: a worker in a process of its own, which is asked to leave in time.

    Attributes:
        words: The command of the worker.
    """

    words: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __call__(self) -> int:
        """Works until the study is done.

        Raises:
            RunError: The worker ended with an error.
        """
        before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm warns all of a job's
        try:  # processes; whoever is started while the signal is ignored goes on ignoring it
            self._process = subprocess.Popen(self.words)
        finally:
            signal.signal(signal.SIGUSR2, before)
        while (code := self._process.poll()) is None:  # `wait` would keep a lock, and the call of
            time.sleep(PAUSE)  # `checkpoint`, inside a signal's handler, could not wait any more
        if code:
            raise RunError(f"{shlex.join(self.words)} ended with code {code}")
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Makes the worker leave, whose trial is free then; returns what the next job runs."""
        from submitit.core.utils import DelayedSubmission

        if self._process:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(LEAVE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return DelayedSubmission(Hand(self.words))


@dataclass
class Jobs(Crew):
    """A crew of Slurm's jobs; it outlives the search that submitted it.

    Attributes:
        options: Long options of sbatch and their values.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    _job: str = field(default="", init=False)
    _looked: float = field(default=0.0, init=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the jobs alone, and says how to see and to end them."""
        if kind is not None and self._job and queued(self._job) is not None:
            self.told(
                f"the jobs of array {self._job} go on without this process; see them with "
                f"`squeue --jobs={self._job}`, end them with `scancel {self._job}`; the same "
                "command shows again what they do"
            )

    def start(self) -> None:
        """Submits nothing yet: the search may find that all is done."""

    def _submit(self) -> None:
        """Submits the jobs, unless those of an earlier session are still in the queue."""
        mark = self._place / "slurm.json"
        before = json.loads(mark.read_text(encoding="utf-8"))["job"] if mark.exists() else ""
        if before and queued(before):
            self._job = before
            self.told(f"the jobs of array {before} are still there; none is added")
            return
        executor = self.executor()
        with _handed_on(self.storage):
            jobs = executor.submit_array(self.hands())
        self._job = jobs[0].job_id.partition("_")[0]
        write_json(mark, {"job": self._job, "options": dict(self.options)})
        self.told(
            f"{many(self.count, 'workers')} in Slurm's array {self._job}; what they say is in "
            f"{self._place}"
        )

    def tend(self) -> None:
        """Submits the jobs when they are first waited for; notices when none is left.

        Raises:
            RunError: All jobs ended.
        """
        if not self._job:
            self._submit()
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        if queued(self._job) == []:
            raise RunError(
                f"no job of array {self._job} is left and the search is not done; what they said "
                f"is in {self._place}: {self._words()}; the same command submits them again"
            )

    def hands(self) -> list[Hand]:
        """Returns what each job runs."""
        worker = (sys.executable, "-m", "flopwise", "worker", str(self.folder.resolve()))
        return [Hand(worker) for _ in range(self.count)]

    def executor(self) -> SlurmExecutor:
        """Returns submitit's executor with all options; asks Slurm nothing yet.

        Raises:
            RunError: submitit or Slurm's programs are not there.
        """
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise RunError("--slurm needs submitit: pip install 'flopwise[slurm]'") from None
        try:
            made = SlurmExecutor(self._place, max_num_timeout=RESTARTS)
        except RuntimeError:
            raise RunError(
                "--slurm: the program srun is not here; start the search where jobs are submitted"
            ) from None
        given = {"requeue": True, **self.options}
        name = given.pop("job-name", f"flopwise-{self.folder.resolve().name}")
        made.update_parameters(
            time=minutes(str(given.pop("time", "60"))),
            job_name=name,
            stderr_to_stdout=True,
            array_parallelism=self.count,
            additional_parameters=given,
        )
        return made

    @property
    def _place(self) -> Path:
        return self.folder / "workers"

    def _words(self) -> str:
        """Returns the last line that any of the jobs said."""
        logs = sorted(self._place.glob(f"{self._job}_*.out"), key=lambda path: path.stat().st_mtime)
        lines = logs[-1].read_text(encoding="utf-8", errors="replace").split("\n") if logs else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


@contextmanager
def _handed_on(storage: str) -> Iterator[None]:
    """Makes a context whose jobs get the URL of the store; sbatch hands the environment on."""
    from submitit.helpers import environment_variables

    with environment_variables(**({"FLOPWISE_STORAGE": storage} if storage else {})):
        yield


def queued(job: str) -> list[str] | None:
    """Returns the states of an array's jobs that wait or run; None when Slurm does not say."""
    words = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={job}"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if found.returncode:
        return [] if "Invalid job id" in found.stderr else None
    return found.stdout.split()
