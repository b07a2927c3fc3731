"""What the runs of all commands have in common: bad input is found first, then a folder and an MLflow run are opened.

The order is always the same: :func:`read_tasks` (nothing is started or written yet), :func:`begin_run`, and
:func:`recorded` around the work.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sgg_ray.artifacts import RunFolder, is_uri, local_folder
from sgg_ray.config import Config, longest_input, passwords_in, without_effect
from sgg_ray.errors import ClusterError, ConfigError, told_where
from sgg_ray.guidance import check_combination
from sgg_ray.job_folder import in_job_folder
from sgg_ray.models import check_model, check_settings, check_tasks, data_warnings, fit_tasks
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.run_record import tracked_datasets, tracked_parameters, tracked_tags
from sgg_ray.scoring import check_row_scores
from sgg_ray.tasks import Task, load_tasks
from sgg_ray.tracking import Tracker, check_database, check_event_files, sqlite_file
from sgg_ray.training import check_setfit, check_unlabelled


def read_tasks(config: Config, listener: Listener) -> tuple[Task, list[Task]]:
    """Read all tasks and look at the model, so that bad input is found before anything starts.

    Raises:
        DataError, ModelError: with every problem found.
    """
    check_database(config.tracking.uri)
    if config.tracking.tensorboard:
        check_event_files()
    for key in passwords_in(config):
        listener.note(
            f"{key}: its password is not stored; write ${{NAME}} instead, so that config.yaml can be used again"
        )
    for line in (*config.replaced, *without_effect(config)):
        listener.note(f"warning: {line}")
    listener.stage("reading tasks")
    target, sources = load_tasks(config)
    listener.stage("checking the model")  # one on a hub is asked for its files
    check_settings(config)
    if config.train.method in ("zero_shot", "in_context"):
        raise ConfigError(
            f"train.method: {config.train.method} trains nothing, it is for strategies of sgg compare; leave it out"
        )
    (target, *sources), notes = fit_tasks(config, [target, *sources])
    for note in (*notes, *check_tasks(config, [target, *sources])):
        listener.note(note)
    check_model(
        config.model, longest_input(config.train), config.train.max_new_tokens if target.generates else 0
    )
    check_combination(config.train.combine)
    check_setfit(config)
    check_unlabelled(config)
    check_row_scores(config)
    for task in (target, *sources):
        for note in task.notes:
            listener.note(f"{task.name}: {note}")
    for warning in data_warnings(config, [target, *sources]):
        listener.note(f"warning: {warning}")
    return target, sources


def begin_run(
    config: Config,
    folder: RunFolder,
    command: str,
    content: str,
    listener: Listener,
    tasks: Sequence[Task] = (),
) -> Tracker:
    """Open the MLflow run, then the run folder: an address that is wrong leaves no folder, and a folder that another
    process has leaves no run that looks as if it went on.

    Args:
        content: hash of all rows, with which a run that is resumed is compared.
        tasks: whose rows MLflow shows as the run's inputs.
    """
    refuse_job_folder(config)
    tracker = start_tracking(config, folder, command, listener, tasks)
    before = folder.record.get("mlflow_run_id")
    try:
        folder.begin(config)
        if folder.mended:
            listener.note(folder.mended)
        folder.update(mlflow_run_id=tracker.run_id, command=command, content=content)
    except BaseException:
        if tracker.run_id != before:
            tracker.finish("killed")
        raise
    return tracker


def refuse_job_folder(config: Config) -> None:
    """Raise ConfigError if results would be in the folder of a submitted job, which Ray deletes after the job."""
    places = {"ray.storage_path": None, "tracking.uri": sqlite_file(config.tracking.uri)}
    if not is_uri(config.ray.storage_path):
        places["ray.storage_path"] = local_folder(config.ray.storage_path) / config.name
    inside = [
        f"{key}: {path} is in the folder that Ray has made for this job and deletes after it; give an absolute path "
        "outside of it, or a URI"
        for key, path in places.items()
        if path is not None and in_job_folder(path)
    ]
    if inside:
        raise ConfigError(inside)


@contextmanager
def recorded(folder: RunFolder, tracker: Tracker) -> Iterator[None]:
    """Context manager: an exception marks the run as failed in the run folder and in MLflow, and is raised again."""
    try:
        with told_where(folder.location):
            yield
    except BaseException:
        with suppress(OSError, ClusterError):  # a full disk takes no mark either; "running" goes on as well
            folder.finish("failed")
        tracker.finish("failed")
        raise


def refuse_other_rows(folder: RunFolder, content: str) -> None:
    """Raise ConfigError if the run was begun with other rows; one that was stopped before it knew its own has none."""
    if folder.record.get("content") not in (None, content):
        raise ConfigError(
            f"name: run '{folder.name}' in {folder.location} was begun with other rows; choose another --name or "
            "delete the folder"
        )


def start_tracking(
    config: Config, folder: RunFolder, command: str, listener: Listener, tasks: Sequence[Task] = ()
) -> Tracker:
    """Open the MLflow run, or go on with the one of an unfinished run folder."""
    return Tracker.start(
        config.tracking.uri,
        config.tracking.experiment,
        config.name,
        params=tracked_parameters(config, command),
        tags=tracked_tags(config, command, folder.location),
        run_id=folder.record.get("mlflow_run_id"),
        on_problem=listener.note,
        datasets=tracked_datasets(config, tasks),
        system_metrics=config.tracking.system_metrics,
    )
