"""The HTTP interface to a trained model: requests and answers, their bounds, and metrics. Knows nothing of Ray."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from sgg_ray.errors import SggError, one_line
from sgg_ray.orchestration.serve.bounded_body import BoundedBody
from sgg_ray.tasks import Text

MOST_TEXTS = 256  # of one request
MOST_CHARACTERS = 100_000  # of one text; models cut after some hundred tokens
MOST_BYTES = 4 << 20  # of one request's body

Rows = Sequence[dict[str, Any]]  # columns of `sgg predict` by name, a row each
Predict = Callable[[Sequence[Text]], Awaitable[Rows]]

One = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class PredictRequest(BaseModel):
    """Texts to label or prompts to answer."""

    texts: list[One | list[One]] = Field(
        min_length=1,
        max_length=MOST_TEXTS,
        description="texts; of a model that was trained on several columns, a list with the value of each",
        examples=[["a film to remember"]],
    )


class Prediction(BaseModel):
    """What the model says to one text; null where the text is blank."""

    predicted: str | float | None = Field(
        default=None,
        description="the most probable label; all labels as a|b, or a number, by the target's kind",
    )
    confidence: float | None = Field(
        default=None, description="how likely it is right, after temperature scaling"
    )
    probabilities: dict[str, float] | None = Field(default=None, description="the model's own, by label")
    generated: str | None = Field(default=None, description="the answer of a model of kind generation")


class PredictResponse(BaseModel):
    """A prediction for each text, in the order of the request."""

    predictions: list[Prediction]


class Health(BaseModel):
    """The model is loaded and answers."""

    status: str = "ok"
    run: str
    labels: list[str]


@dataclass(frozen=True)
class Served:
    """What the interface tells of the model.

    Attributes:
        run: name of the run.
        labels: of the target; none if the model generates texts.
    """

    run: str
    labels: Sequence[str]


class Metrics:
    """Counters of one replica, in the format of Prometheus."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sgg_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self.texts = Counter("sgg_texts", "Texts that were predicted", registry=self.registry)
        self.seconds = Histogram(
            "sgg_request_seconds", "Time in the replica", ["path"], registry=self.registry
        )
        self.batches = Histogram(
            "sgg_batch_texts",
            "Texts that the model saw at once",
            registry=self.registry,
            buckets=[2**power for power in range(10)],
        )


def build_app(served: Served, predict: Predict, metrics: Metrics) -> FastAPI:
    """The interface.

    Args:
        served: what it tells of the model.
        predict: rows with the columns of ``sgg predict`` for texts.
        metrics: where requests are counted.
    """
    app = FastAPI(
        title=f"sgg_ray: {served.run}", version="1", description="Predictions as those of `sgg predict`."
    )
    _add_errors(app)

    @app.middleware("http")
    async def count(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        path = request.url.path if request.url.path in PATHS else "other"
        started = time.perf_counter()
        answer = await go_on(request)
        metrics.requests.labels(path, str(answer.status_code)).inc()
        metrics.seconds.labels(path).observe(time.perf_counter() - started)
        return answer

    @app.post("/predict")
    async def predictions(request: PredictRequest) -> PredictResponse:
        texts: list[Text] = [text if isinstance(text, str) else tuple(text) for text in request.texts]
        rows = await predict(texts)
        metrics.texts.inc(len(texts))
        return PredictResponse(predictions=[_prediction(row) for row in rows])

    @app.get("/health")
    async def health() -> Health:
        return Health(run=served.run, labels=list(served.labels))

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(BoundedBody, most=MOST_BYTES)
    return app


PATHS = ("/predict", "/health", "/metrics", "/docs", "/openapi.json")


def _what_is_wrong(detail: Mapping[str, Any]) -> str:
    """An error of pydantic in the words of the other messages."""
    if detail["type"] == "json_invalid":
        return 'body: is not valid JSON; send {"texts": ["..."]}'
    place = ".".join(str(part) for part in detail["loc"][1:3]) or "body"  # behind these stands a type
    if detail["type"] == "missing":
        return f'{place}: is missing; add it, as in {{"texts": ["..."]}}'
    return f"{place}: {detail['msg'].replace('Input should be', 'must be').replace('List should', 'must')}"


def _add_errors(app: FastAPI) -> None:
    """Every error is one line: {"error": "..."}."""

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return JSONResponse({"error": one_line(_what_is_wrong(error.errors()[0]))}, 422)

    @app.exception_handler(SggError)
    async def not_possible(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SggError)
        return JSONResponse({"error": one_line("; ".join(error.problems))}, 422)

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": one_line(f"{request.url.path}: {error.detail}")}, error.status_code)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": one_line(f"{type(error).__name__}: {error}")}, 500)


def _prediction(row: dict[str, Any]) -> Prediction:
    """A row without the columns that its kind of target has not: numbers have no probabilities."""
    known = {name: value for name, value in row.items() if not (value is None or value != value)}  # nan
    probabilities = {
        name.removeprefix("p_"): float(value) for name, value in known.items() if name.startswith("p_")
    }
    return Prediction(
        predicted=known.get("predicted"),
        confidence=known.get("confidence"),
        probabilities=probabilities or None,
        generated=known.get("generated"),
    )
