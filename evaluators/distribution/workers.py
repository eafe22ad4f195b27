"""One folder, several processes: each makes the statistics of a shard, and the parts are merged.

A worker that dies is started once more. It finds what it had computed in the feature cache, so the death of a worker
costs a batch; and since statistics merge exactly, neither it nor the number of workers changes the result.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from arena.errors import EnvironmentFault
from evaluators.distribution.reference import merge
from evaluators.distribution.statistics import Saved

ATTEMPTS = 2


def merged_shards(program: Sequence[str], workers: int, environment: Mapping[str, str], scratch: Path) -> Saved:
    """Runs `program --shard i/N --out FILE` for every shard at once and merges the files.

    `environment` is added to this process's own. Raises EnvironmentFault with the worker's last line where one fails
    twice. Ctrl-C ends them all.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shards-", dir=scratch) as folder:
        shards = [Shard(program, i, workers, Path(folder), environment) for i in range(1, workers + 1)]
        try:
            for shard in shards:
                shard.start()
            for shard in shards:
                shard.finish()
        finally:
            for shard in shards:
                shard.stop()
        return merge([shard.file for shard in shards])


class Shard:
    """One shard's process, and the file it writes."""

    def __init__(self, program: Sequence[str], i: int, of: int, folder: Path, environment: Mapping[str, str]):
        self.name = f"{i}/{of}"
        self.file, self.log = folder / f"{i}.npz", folder / f"{i}.log"
        self.command = [*program, "--shard", self.name, "--out", str(self.file)]
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def finish(self) -> None:
        """Waits for the file. Raises EnvironmentFault when the process has failed as often as it may."""
        for attempt in range(1, ATTEMPTS + 1):
            assert self.process is not None
            status = self.process.wait()
            if status == 0:
                return
            if attempt < ATTEMPTS:
                self.start()
        raise EnvironmentFault(f"Worker {self.name} failed with exit status {status}: {self._last_line()}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("arena: ") if lines else "it said nothing"
