"""The HTTP interface of sgg serve, called as an ASGI application: no Ray, no sockets."""

import asyncio
import json
import math

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed: python -m pip install 'sgg-ray[serve]'")

from sgg_ray.errors import DataError
from sgg_ray.orchestration.serve import web_app
from sgg_ray.orchestration.serve.web_app import Metrics, Served, build_app


async def label(texts):
    """Stands for a model: what begins with 'good' is positive."""
    if "broken" in texts:
        raise RuntimeError("two\nlines")
    if "unfit" in texts:
        raise DataError("texts: the model takes text, found something else")
    rows = []
    for text in texts:
        sure = 0.9 if text.startswith("good") else 0.2
        name = "positive" if sure > 0.5 else "negative"
        rows.append(
            {"predicted": name, "p_negative": 1 - sure, "p_positive": sure, "confidence": max(sure, 1 - sure)}
        )
        if not text.strip():
            rows[-1] = {
                "predicted": None,
                "p_negative": math.nan,
                "p_positive": math.nan,
                "confidence": math.nan,
            }
    return rows


def call(app, method, path, body=b"", chunks=1, announced=True):
    """One request; returns (status, body)."""
    size = -(-len(body) // chunks)
    parts = [body[start : start + size] for start in range(0, len(body), size)] if body else [b""]
    headers = [(b"content-type", b"application/json")]
    headers += [(b"content-length", str(len(body)).encode())] if announced else []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent = []

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    async def go():
        try:
            await app(scope, receive, send)
        except RuntimeError:
            assert sent  # Starlette answers, and raises again for the server's log

    asyncio.run(go())
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    found = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return starts[0]["status"], found.decode()


@pytest.fixture
def app():
    return build_app(Served("films", ("negative", "positive")), label, Metrics())


def post(app, content, **more):
    status, body = call(app, "POST", "/predict", json.dumps(content).encode(), **more)
    return status, json.loads(body)


def test_predictions_in_order_and_null_for_blank_texts(app):
    status, body = post(app, {"texts": ["good film", "bad film", "  "]})
    assert status == 200
    first, second, blank = body["predictions"]
    assert first["predicted"] == "positive"
    assert first["probabilities"] == pytest.approx({"negative": 0.1, "positive": 0.9})
    assert first["confidence"] == 0.9
    assert second["predicted"] == "negative"
    assert set(blank.values()) == {None}


def test_answers_of_a_model_that_writes():
    async def answers(texts):
        return [{"generated": text.upper()} for text in texts]

    status, body = post(build_app(Served("faq", ()), answers, Metrics()), {"texts": ["why"]})
    assert status == 200
    assert body["predictions"][0]["generated"] == "WHY"


def test_numbers_have_no_probabilities():
    async def number(texts):
        return [{"predicted": 2.5 if text else math.nan} for text in texts]

    body = post(build_app(Served("prices", ()), number, Metrics()), {"texts": ["a", ""]})[1]
    assert [one["predicted"] for one in body["predictions"]] == [2.5, None]
    assert body["predictions"][0]["probabilities"] is None


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"texts": []}, "texts: must have at least 1 item"),
        ({"texts": ["x"] * 257}, "texts: must have at most 256 items"),
        ({"texts": ["x" * 100_001]}, "texts.0"),
        ({"texts": [1]}, "texts.0"),
        ({"text": "x"}, 'texts: is missing; add it, as in {"texts": ["..."]}'),
        ({"texts": "x"}, "texts: must be a valid list"),
        ({"texts": ["x", 7]}, "texts.1: must be a valid string"),
        ({"texts": ["unfit"]}, "texts: the model takes text, found something else"),
    ],
)
def test_requests_that_do_not_fit_get_one_line(app, content, line):
    status, body = post(app, content)
    assert status == 422
    assert line in body["error"]
    assert "\n" not in body["error"]


def test_an_error_of_the_model_is_one_line_and_no_traceback(app):
    status, body = post(app, {"texts": ["broken"]})
    assert (status, body) == (500, {"error": "RuntimeError: two lines"})
    assert call(app, "GET", "/nothing") == (404, '{"error":"/nothing: Not Found"}')


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_are_bounded_whether_their_size_is_announced_or_not(app, monkeypatch, announced):
    monkeypatch.setattr(web_app, "MOST_BYTES", 1000)
    app = build_app(Served("films", ("negative", "positive")), label, Metrics())
    status, body = post(app, {"texts": ["x" * 2000]}, chunks=4, announced=announced)
    assert status == 413
    assert body["error"] == "body: must have at most 1,000 bytes; send fewer texts"
    assert post(app, {"texts": ["x" * 900]}, chunks=4, announced=announced)[0] == 200


def test_health_metrics_and_the_description(app):
    assert json.loads(call(app, "GET", "/health")[1]) == {
        "status": "ok",
        "run": "films",
        "labels": ["negative", "positive"],
    }
    post(app, {"texts": ["good", "bad"]})
    post(app, {"texts": []})
    metrics = call(app, "GET", "/metrics")[1]
    assert 'sgg_requests_total{path="/predict",status="200"} 1.0' in metrics
    assert 'sgg_requests_total{path="/predict",status="422"} 1.0' in metrics
    assert "sgg_texts_total 2.0" in metrics
    described = json.loads(call(app, "GET", "/openapi.json")[1])
    assert set(described["paths"]) == {"/predict", "/health", "/metrics"}
    assert described["components"]["schemas"]["PredictRequest"]["properties"]["texts"]["maxItems"] == 256
