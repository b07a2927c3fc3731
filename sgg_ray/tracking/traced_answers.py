"""Answers of a language model in MLflow as traces with assessments: prompt, answer, reference, and how good it is."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sgg_ray.evaluation import normalised, rouge_l

if TYPE_CHECKING:
    from mlflow.genai.scorers import Scorer

# MLflow 3.17 writes traces from ten threads through a pool of fifteen connections: of 100 rows 47 arrived in a sqlite
# database, after 160 s. One thread that waits for each row loses none, at 0.15 s a row.
_ENVIRONMENT = {"MLFLOW_GENAI_EVAL_MAX_WORKERS": "1", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}


@dataclass(frozen=True)
class TracedAnswers:
    """Rows side by side: what was asked, what the model said, and what is right."""

    prompts: Sequence[str]
    answers: Sequence[str]
    references: Sequence[str]


def scorers() -> list[Scorer]:
    """What ``mlflow.genai.evaluate`` judges answers with; they need no service.

    Each takes ``outputs`` (a text) and ``expectations["expected_response"]``. They are this package's own metrics:
    exact match but for case, spacing and a full stop, and ROUGE-L.
    """
    from mlflow.genai import scorer

    # Without aggregations: the run has the means over all rows already, under test/.
    @scorer(name="exact_match", aggregations=[])
    def exact_match(outputs: str, expectations: dict[str, Any]) -> bool:
        return normalised(outputs) == normalised(expectations["expected_response"])

    @scorer(name="rouge_l", aggregations=[])
    def rouge(outputs: str, expectations: dict[str, Any]) -> float:
        return float(rouge_l([outputs], [expectations["expected_response"]])[0])

    return [exact_match, rouge]


def trace_answers(
    uri: str, experiment_id: str, run_id: str, answers: TracedAnswers, model_id: str | None = None
) -> None:
    """Write a trace a row, with assessments, into a run.

    Args:
        uri: of the store.
        model_id: of the logged model that has answered.
    """
    import mlflow
    import mlflow.genai

    data = [
        {
            "inputs": {"prompt": prompt},
            "outputs": answer,
            "expectations": {"expected_response": reference},
        }
        for prompt, answer, reference in zip(answers.prompts, answers.answers, answers.references)
    ]
    with (
        _own_mlflow(uri),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        mlflow.set_experiment(experiment_id=experiment_id)
        with mlflow.start_run(run_id=run_id):
            mlflow.genai.evaluate(data=data, scorers=scorers(), model_id=model_id)


@contextlib.contextmanager
def _own_mlflow(uri: str) -> Iterator[None]:
    """MLflow's state of the whole process as evaluation needs it; put back at the end."""
    import mlflow

    before, variables = mlflow.get_tracking_uri(), _variables()
    os.environ.update(_ENVIRONMENT)
    mlflow.set_tracking_uri(uri)  # it sets a variable too
    try:
        yield
    finally:
        mlflow.clear_active_model()
        mlflow.set_tracking_uri(before)
        for name in _variables():
            del os.environ[name]
        os.environ.update(variables)


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "MLFLOW_" in name}
