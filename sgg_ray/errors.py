"""Everything that sgg_ray raises on purpose, with the exit code that the command line turns it into."""

from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class SggError(Exception):
    """Base of all deliberate errors. Each problem is one line: what is wrong, where, what to do."""

    exit_code = EXIT_FAILED

    def __init__(self, problems: str | Sequence[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self):  # keep the list of problems when an actor sends the error to the driver
        return (type(self), (self.problems,))


class ConfigError(SggError):
    """The YAML file or a ``--set`` override is wrong."""

    exit_code = EXIT_BAD_INPUT


class DataError(SggError):
    """A task's rows cannot be used as the configuration asks."""

    exit_code = EXIT_BAD_INPUT


class ModelError(SggError):
    """The model cannot be loaded or cannot do what is asked of it."""

    exit_code = EXIT_BAD_INPUT


class ClusterError(SggError):
    """The Ray cluster is too small, cannot be reached, or kept failing. Capacity is checked before the start."""


class CapacityError(ClusterError):
    """More workers or GPUs are asked for than the cluster has; found before anything starts."""

    exit_code = EXIT_BAD_INPUT


class TrainingError(SggError):
    """Training cannot go on, for instance after too many steps in a row without a finite gradient."""


class CheckpointError(TrainingError):
    """A stored training cannot be read, or belongs to another model; found before anything starts if possible."""

    exit_code = EXIT_BAD_INPUT
