"""The model that a run logs is loaded by MLflow alone, and served over HTTP."""

import ast
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import toy
from ports import free_port

from sgg_ray.prediction import Predictor
from sgg_ray.tracking import TrackedDataset, Tracker, TrainedModel

TEST_ROWS = TrackedDataset(
    "target", "target.jsonl", "0123", 6, "test", (("text", "string"), ("label", "string"))
)
TEXTS = [row["text"] for row in toy.sentences(6, seed=41)]


@pytest.fixture(scope="module")
def logged(finished_run, tmp_path_factory):
    """A run that has logged and registered its model twice."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('logged')}/mlflow.db"
    tracker = Tracker.start(uri, "tests", "run")
    for accuracy in (0.8, 0.7):
        metrics = {"test/accuracy": accuracy}
        model = TrainedModel(finished_run / "model", ("negative", "positive"), "films", metrics, TEST_ROWS)
        tracker.log_model(model)
    assert tracker.finish()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield tracker
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def expected(finished_run):
    return Predictor(finished_run / "model").predict(TEXTS)


def test_it_predicts_what_the_run_predicts(logged, expected):
    for address in ("models:/films/1", "models:/films/2"):
        model = mlflow.pyfunc.load_model(address)
        found = model.predict(pd.DataFrame({"text": TEXTS}))
        assert list(found.predicted) == list(expected.predicted)
        columns = ["p_negative", "p_positive", "confidence"]
        np.testing.assert_allclose(found[columns], expected[columns], atol=1e-6)


def test_it_has_a_signature_and_an_example_and_belongs_to_its_run(logged):
    assert logged._client.get_model_version("films", "1").run_id == logged.run_id
    models = logged._client.search_logged_models([logged.experiment_id])
    assert [(model.source_run_id, str(model.status)) for model in models] == [(logged.run_id, "READY")] * 2
    assert len(logged._client.get_run(logged.run_id).outputs.model_outputs) == 2
    info = mlflow.models.get_model_info("models:/films/1")
    assert info.signature.inputs.input_names() == ["text"]
    assert info.signature.outputs.input_names() == ["predicted", "p_negative", "p_positive", "confidence"]
    example = mlflow.pyfunc.load_model("models:/films/1").input_example
    assert list(example.columns) == ["text"]


def test_tables_without_texts_are_refused(logged):
    model = mlflow.pyfunc.load_model("models:/films/1")
    with pytest.raises(mlflow.exceptions.MlflowException, match="text"):
        model.predict(pd.DataFrame({"body": TEXTS}))


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("manager", "patience"),
    [
        ("local", 240),
        # Minutes, and packages from an index: what the model names, in an environment that has nothing else.
        pytest.param("virtualenv", 2000, marks=pytest.mark.by_hand),
    ],
)
def test_it_is_served_over_http(logged, expected, manager, patience, tmp_path):
    folder = logged._client.get_model_version_download_uri("films", "1")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", manager]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"MLFLOW_ENV_ROOT": str(tmp_path / "environments")},
    )
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, server.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.2)
        body = json.dumps({"dataframe_records": [{"text": text} for text in TEXTS]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=60))["predictions"]
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert [row["predicted"] for row in answer] == list(expected.predicted)
    assert [row["confidence"] for row in answer] == pytest.approx(list(expected.confidence), abs=1e-6)


def test_models_are_ranked_by_the_numbers_of_their_test_rows(logged):
    rows = {"dataset_name": "target", "dataset_digest": "0123"}
    order = [{"field_name": "metrics.test/accuracy", "ascending": False, **rows}]
    client, experiments = logged._client, [logged.experiment_id]
    found = client.search_logged_models(experiments, order_by=order)
    assert [model.metrics[0].value for model in found] == [0.8, 0.7]
    assert [model.metrics[0].dataset_digest for model in found] == ["0123", "0123"]


def test_the_champion_is_the_best_on_the_same_rows(logged, finished_run):
    def champion() -> str:
        return logged._client.get_model_version_by_alias("films", "champion").version

    def add(accuracy: float, test: TrackedDataset) -> None:
        metrics = {"test/accuracy": accuracy}
        model = TrainedModel(finished_run / "model", ("negative", "positive"), "films", metrics, test)
        tracker = Tracker.start(mlflow.get_tracking_uri(), "others", "run")
        tracker.log_model(model)
        assert tracker.finish()

    assert str(champion()) == "1"  # the second one is not better
    add(0.9, replace(TEST_ROWS, digest="other rows"))
    assert str(champion()) == "1"  # nobody knows
    add(0.85, TEST_ROWS)
    assert str(champion()) == "4"


def test_it_loads_where_the_package_is_not_installed(logged, tmp_path):
    """Its code comes with it, and what the code imports is among its requirements."""
    folder = mlflow.artifacts.download_artifacts("models:/films/1", dst_path=str(tmp_path))
    script = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "import mlflow, pandas\n"
        f"model = mlflow.pyfunc.load_model({folder!r})\n"
        "print(model.predict(pandas.DataFrame({'text': ['good']})).predicted[0])\n"
        "import sgg_ray; print(sgg_ray.__file__)\n"
        "print(sorted(name for name in ('ray', 'optuna', 'typer') if name in sys.modules))\n"
        "print([module.__file__ for name, module in sys.modules.items() if name.startswith('sgg_ray')])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    label, origin, training, files = done.stdout.splitlines()[-4:]
    assert label in ("negative", "positive")
    assert origin.startswith(folder)
    assert training == "[]"
    required = Path(folder, "requirements.txt").read_text()
    assert "sgg" not in required
    named = {line.partition("==")[0] for line in required.splitlines()}
    of_module = packages_distributions()
    imported = {name for file in ast.literal_eval(files) for name in imports_of(Path(file))}
    needed = {distribution.lower() for name in imported for distribution in of_module[name]}
    assert {"torch", "numpy", "scipy"} <= needed
    assert needed - named <= {"pydantic_core", "jinja2"}  # pydantic and torch bring them


def imports_of(file: Path) -> set[str]:
    """Packages of others that a module of this package needs in order to be loaded."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"sgg_ray"}
