"""The final table of models that say texts, on a terminal, in a notebook and in the model card."""

import io

import numpy as np
import pytest
from rich.console import Console

from sgg_ray.artifacts import write_model_card
from sgg_ray.config import Config
from sgg_ray.evaluation import compare_generation, evaluate_generation, score_answers
from sgg_ray.report import ModelResult, html_results, print_comparison, print_predictions
from sgg_ray.tasks import Rows, Task

REFERENCES = ["Paris", "Rome", "Bern", "Oslo"]


@pytest.fixture
def results():
    tokens = np.array([2, 2, 3, 2])
    before = score_answers(["Paris", "x", "y", "z"], REFERENCES, np.array([1.0, 2.0, 3.0, 2.0]), tokens)
    after = score_answers(["Paris", "Rome", "Bern", "z"], REFERENCES, np.array([0.5, 1.0, 1.0, 1.0]), tokens)
    first = ModelResult("target only", evaluate_generation(before))
    return [first, ModelResult("guided", evaluate_generation(after), compare_generation(after, before))]


def printed(show, *arguments) -> str:
    page = io.StringIO()
    show(Console(file=page, width=200), *arguments)
    return page.getvalue()


def test_every_model_and_the_difference_have_a_line(results):
    lines = printed(print_comparison, results).splitlines()
    assert lines[0].split()[:3] == ["model", "token", "loss"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["target only", "guided", "difference"]
    assert "25.0 %" in lines[1]
    assert "75.0 %" in lines[2]
    assert "+50.0" in lines[3]
    assert lines[3].split()[-1] == "0.500"
    assert lines[4].startswith("on 4 test rows")


def test_a_notebook_shows_the_same(results):
    page = html_results(results)
    for text in ("token loss", "perplexity", "difference", "+50.0", "75.0 %"):
        assert text in page


def test_one_model_alone_has_no_difference(results):
    assert "difference" not in printed(print_comparison, results[:1]).splitlines()[2:3]
    assert html_results(results[:1]).count("<tr>") == 2


def test_what_is_printed_of_answers():
    metrics = {"exact_match": 0.5, "exact_match_low": 0.2, "exact_match_high": 0.8, "rouge_l": 0.6, "rows": 4}
    text = printed(print_predictions, {"rows": 5, "without_text": 1, "metrics": metrics}, 2.0)
    assert "5 rows in 2.0 s" in text
    assert "1 row without a prompt was not answered" in text
    assert "exact match 50.0 % (95 % interval 20.0 … 80.0), ROUGE-L 60.0" in text
    assert "exact match" not in printed(
        print_predictions, {"rows": 5, "without_text": 0, "metrics": None}, 2.0
    )


def test_the_model_card_says_how_good_the_answers_are(results, tmp_path):
    rows = Rows(tuple(REFERENCES), np.zeros(4, dtype=np.int64), tuple(REFERENCES))
    task = Task("capitals", (), rows, rows, "target")
    config = Config.model_validate(
        {
            "name": "try",
            "model": {"path": "package://lm/model"},
            "target": {"name": "capitals", "kind": "generation", "path": "/data/c.jsonl", "shots": 4},
        }
    )
    before, after = results
    metrics = {
        "guided": after.metrics.to_dict(),
        "target-only": before.metrics.to_dict(),
        "difference": after.gain.to_dict(),
    }
    card = write_model_card(
        tmp_path, config=config, target=task, sources=[], report=None, metrics=metrics
    ).read_text(encoding="utf-8")
    assert "pipeline_tag: text-generation" in card
    assert "Answers prompts of **capitals**" in card
    assert "| this model | 0.889 | 2.43 | 0.750 |" in card
    assert "+50.0 points of exact match" in card
    assert "answers after 64" in card
    assert "probabilities were not calibrated" not in card
