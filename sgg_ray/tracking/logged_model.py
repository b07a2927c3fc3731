"""A trained model in MLflow: loaded with ``mlflow.pyfunc``, served with ``mlflow models serve``, registered by name.

The package's own code goes with it, and the versions of what it imports: it loads where sgg_ray is not installed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.models import read_manifest, standalone
from sgg_ray.prediction.columns import prediction_columns
from sgg_ray.tasks import kind_of
from sgg_ray.tracking.datasets import TrackedDataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

NAME = "model"
PACKAGE = Path(__file__).parents[1]
# What a loaded model imports; the rest of what sgg_ray needs (Ray, MLflow itself ...) is for training.
REQUIREMENTS = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "pydantic",
    "pyyaml",
)
QUANTISED = ("bitsandbytes", "accelerate")  # what it imports besides, if its weights are quantised
CHAMPION = "champion"  # alias of the registered version that is best on its test rows
CODE = Path(__file__).with_name("served_model.py")
EXAMPLE = "a text to label"


@dataclass(frozen=True)
class TrainedModel:
    """What is logged of a training.

    Attributes:
        folder: ``model`` of a run folder.
        labels: names of the labels, in the order of their probabilities; none for a model that answers prompts.
        register: name in the model registry, where it becomes a new version; None registers nothing.
        metrics: of the test rows, by name; they are tied to the model and to ``test``.
        test: the rows that ``metrics`` are of.
        better: the metric by which :data:`CHAMPION` is chosen, more being better.
    """

    folder: Path
    labels: tuple[str, ...]
    register: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    test: TrackedDataset | None = None
    better: str = "test/accuracy"


def log_model(client: MlflowClient, run_id: str, experiment_id: str, trained: TrainedModel) -> str:
    """Copy the model into the run with a signature and an input example; return its id in MLflow."""
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch, NAME)
        _pack(trained.folder, trained.labels, packed)
        kind = "classifier" if trained.labels else "text"
        model = client.create_logged_model(experiment_id, name=NAME, source_run_id=run_id, model_type=kind)
        client.log_model_artifacts(model.model_id, str(packed))
        client.finalize_logged_model(model.model_id, "READY")
    _link(client, run_id, model.model_id)
    _log_metrics(client, run_id, model.model_id, trained)
    if trained.register:
        _register(client, trained, model.model_id, model.artifact_location, run_id)
    return model.model_id


def _log_metrics(client: MlflowClient, run_id: str, model_id: str, trained: TrainedModel) -> None:
    """Tie the metrics to the model and the rows, so that ``search_logged_models`` can rank by them."""
    from mlflow.entities import Metric

    name, digest = trained.test.key if trained.test else (None, None)
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[
            Metric(key, value, now, 0, model_id=model_id, dataset_name=name, dataset_digest=digest)
            for key, value in trained.metrics.items()
        ],
    )


def _pack(folder: Path, labels: tuple[str, ...], packed: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    manifest = read_manifest(folder)
    fields, columns = manifest.fields, prediction_columns(kind_of(manifest.target_head), labels)
    required = REQUIREMENTS + (QUANTISED if manifest.quantised else ())
    types = {"text": DataType.string, "number": DataType.double}
    outputs = [ColSpec(types[holds], name) for name, holds in columns.items()]
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, field) for field in fields]), outputs=Schema(list(outputs))
    )
    code = packed.with_name("code") / PACKAGE.name
    shutil.copytree(PACKAGE, code, ignore=shutil.ignore_patterns("__pycache__"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that predict() has no type hints: the signature says it all
        mlflow.pyfunc.save_model(
            path=str(packed),
            python_model=str(CODE),
            artifacts={"model": str(standalone(folder, packed.with_name("standalone")))},
            signature=signature,
            input_example=pd.DataFrame({field: [EXAMPLE] for field in fields}),
            code_paths=[str(code)],
            # Local builds ("2.13.0+cpu") are in no index.
            pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in required],
        )


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Show the model among the run's results."""
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _register(client: MlflowClient, trained: TrainedModel, model_id: str, source: str, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    assert trained.register is not None
    try:
        client.create_registered_model(trained.register)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(trained.register, source, run_id=run_id, model_id=model_id)
    if _is_champion(client, trained):
        client.set_registered_model_alias(trained.register, CHAMPION, made.version)


def _is_champion(client: MlflowClient, trained: TrainedModel) -> bool:
    """Whether there is no champion yet, or this model is better than it on the very same test rows."""
    from mlflow.exceptions import MlflowException

    assert trained.register is not None
    mine = trained.metrics.get(trained.better)
    if mine is None or trained.test is None:
        return False
    try:
        champion = client.get_model_version_by_alias(trained.register, CHAMPION)
    except MlflowException:
        return True
    _, digest = trained.test.key
    theirs = [
        metric.value
        for metric in _metrics_of(client, champion.run_id, champion.source)
        if (metric.key, metric.dataset_digest) == (trained.better, digest)
    ]
    return bool(theirs) and mine > max(theirs)


def _metrics_of(client: MlflowClient, run_id: str | None, source: str | None) -> Iterator[Metric]:
    """Metrics of a registered version, found by where it lies: MLflow 3.17 does not keep its model's id."""
    if not run_id:
        return  # registered by hand
    outputs = client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        model = client.get_logged_model(output.model_id)
        if model.artifact_location == source:
            yield from model.metrics or ()
