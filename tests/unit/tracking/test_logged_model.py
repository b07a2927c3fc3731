"""The model that a run logs is loaded by MLflow alone, and served over HTTP."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pandas as pd
import pytest
import toy

from sgg_ray.prediction import Predictor
from sgg_ray.tracking import Tracker

TEXTS = [row["text"] for row in toy.sentences(6, seed=41)]


@pytest.fixture(scope="module")
def logged(finished_run, tmp_path_factory):
    """A run that has logged and registered its model twice."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('logged')}/mlflow.db"
    tracker = Tracker.start(uri, "tests", "run")
    for _ in range(2):
        tracker.log_model(finished_run / "model", ("negative", "positive"), register="films")
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
def test_it_is_served_over_http(logged, expected):
    folder = logged._client.get_model_version_download_uri("films", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", "local"]
    server = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 240
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
