"""A trained model in MLflow: loaded with ``mlflow.pyfunc``, served with ``mlflow models serve``, registered by name."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.models import read_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "model"
CODE = Path(__file__).with_name("served_model.py")
EXAMPLE = "a text to label"


def log_model(
    client: MlflowClient,
    run_id: str,
    experiment_id: str,
    folder: Path,
    labels: Sequence[str],
    register: str | None,
) -> str:
    """Copy the model in ``folder`` into the run with a signature and an input example; return its id in MLflow.

    Args:
        labels: names of the labels, in the order of their probabilities; none for a model that answers prompts.
        register: name in the model registry, where it becomes a new version; None registers nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch, NAME)
        _pack(folder, labels, packed)
        model = client.create_logged_model(
            experiment_id, name=NAME, source_run_id=run_id, model_type="classifier" if labels else "text"
        )
        client.log_model_artifacts(model.model_id, str(packed))
        client.finalize_logged_model(model.model_id, "READY")
    _link(client, run_id, model.model_id)
    if register:
        _register(client, register, model.model_id, model.artifact_location, run_id)
    return model.model_id


def _pack(folder: Path, labels: Sequence[str], packed: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    fields = read_manifest(folder).fields
    outputs = [ColSpec(DataType.string, "predicted" if labels else "generated")]
    if labels:
        names = (*(f"p_{label}" for label in labels), "confidence")
        outputs += [ColSpec(DataType.double, name) for name in names]
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, field) for field in fields]), outputs=Schema(list(outputs))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that predict() has no type hints: the signature says it all
        mlflow.pyfunc.save_model(
            path=str(packed),
            python_model=str(CODE),
            artifacts={"model": str(folder)},
            signature=signature,
            input_example=pd.DataFrame({field: [EXAMPLE] for field in fields}),
            pip_requirements=[f"sgg-ray=={metadata.version('sgg-ray')}"],
        )


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Show the model among the run's results."""
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _register(client: MlflowClient, name: str, model_id: str, source: str, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(name, source, run_id=run_id, model_id=model_id)
