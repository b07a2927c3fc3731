"""What a sweep goes on from: its trials in the project's own JSON.

Ray Tune restores a search from pickles (2.60: ``tuner.pkl``, searchers, and pickles inside its JSON), and whoever made
a run folder could put code into them. So nothing that Ray Tune has stored is read by a later process: the search begins
again, with the same seed and so the same proposals, and trials report at once what they came to before.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sgg_ray.artifacts import RunFolder
from sgg_ray.bounded import JSON_MIB, read_bounded
from sgg_ray.errors import ConfigError

TRIALS = "kept_trials.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeptTraining(_Strict):
    """What one training of a trial came to, for each held-out row."""

    losses: list[float]
    correct: list[float]
    seconds: float

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> "KeptTraining":
        """What is kept of a training; its steps are in events.jsonl."""
        return cls(**{name: training[name] for name in cls.model_fields})


class KeptTrial(_Strict):
    """A trial as far as it came.

    Attributes:
        values: dotted keys and what they are set to.
        trainings: those that have ended, in order.
        failure: why the trial ended without the others; empty if it did not.
    """

    values: dict[str, Any]
    trainings: list[KeptTraining] = []
    failure: str = ""

    def is_of(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial of these values is this one."""
        return self.values == dict(values)


_KEPT = TypeAdapter(dict[Annotated[str, Field(pattern=r"^trial_[0-9]{1,6}$")], KeptTrial])


def read_trials(folder: RunFolder) -> dict[str, KeptTrial]:
    """The trials of a sweep that was stopped, by name; none of a new one.

    Raises:
        ConfigError: the file was not written here.
    """
    try:
        return _KEPT.validate_json(read_bounded(folder.path / TRIALS, JSON_MIB))
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"name: {folder.path / TRIALS} cannot be read ({reason}); delete the run folder or choose another --name"
        ) from error


def write_trials(folder: RunFolder, trials: Mapping[str, KeptTrial]) -> None:
    """Keep the trials in the run folder."""
    folder.write_json(TRIALS, _KEPT.dump_python(dict(trials)))
