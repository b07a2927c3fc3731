"""The curves of a training as TensorBoard's event files, beside MLflow."""

import math
import shutil
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sgg_ray.errors import ConfigError

FOLDER = "tensorboard"


def check_event_files() -> None:
    """See whether event files can be written.

    Raises:
        ConfigError: a package is missing.
    """
    if find_spec("tensorboardX") is None:
        raise ConfigError(
            "tracking.tensorboard: needs the package tensorboardX; python -m pip install 'sgg-ray[tensorboard]'"
        )


class EventFiles:
    """Event files of one run folder: a subfolder for each training, so that TensorBoard lays them over each other.

    A training is told from its beginning by each process that drives it. What an earlier process wrote therefore gives
    way, and points that are not beyond the last one of their metric are left out: every step is there once.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder / FOLDER
        self._writers: dict[str, Any] = {}
        self._last: dict[tuple[str, str], int] = {}

    def log_curve(self, run: str, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Write (step, {name: value}) pairs of a training; values that are not finite are left out."""
        new = [
            (step, name, float(value))
            for step, values in points
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        if not new:
            return
        writer = self._writer(run)
        for step, name, value in new:
            if step > self._last.get((run, name), -1):
                self._last[run, name] = step
                writer.add_scalar(name, value, step)
        writer.flush()

    def close(self) -> None:
        """End all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            from tensorboardX import SummaryWriter

            place = self.folder / run
            shutil.rmtree(place, ignore_errors=True)
            self._writers[run] = SummaryWriter(str(place))
        return self._writers[run]
