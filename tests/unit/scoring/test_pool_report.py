"""A report from gradients alone: order, weights, failures and similarities, without any process but this one."""

import numpy as np
import pytest
import toy

from sgg_ray.errors import TrainingError
from sgg_ray.models import build_model
from sgg_ray.scoring import TaskSummariser, alignment_report, mixture, pool_gradients, score_tasks
from sgg_ray.tasks import load_tasks


@pytest.fixture
def pool(make_config, data, tmp_path):
    """A target with a one-class, a clean, a flipped and another label set's source, and who summarises them."""
    single = [row for row in toy.sentences(60, seed=7) if row["label"] == "positive"]
    clean = str(data / "clean.jsonl")
    one_class = str(toy.write_rows(tmp_path / "single.jsonl", single))
    config = make_config(
        sources=[
            {"name": "single", "path": one_class, "labels": ["negative", "positive"]},
            {"name": "clean", "path": clean},
            {"name": "flipped", "path": clean, "flip_labels": 1.0},
            {"name": "other", "path": str(data / "other.jsonl")},
        ]
    )
    target, sources = load_tasks(config)
    return TaskSummariser(build_model(config, [target]), config.alignment, config.seed), target, sources


def test_a_report_has_the_scores_and_weights_of_one_process(pool):
    summariser, target, sources = pool
    gradients = pool_gradients(summariser, target, sources)
    report = alignment_report(
        gradients, summariser.config, step=7, seconds=1.5, details={"model": "toy", "seed": 0}
    )
    scores = score_tasks(summariser, target, sources)
    assert [row.source for row in report.sources] == list(scores) == [source.name for source in sources]
    assert {row.source: row.score for row in report.sources} == scores
    assert report.weights == mixture(scores, summariser.config.weighting)
    assert sum(report.weights.values()) == pytest.approx(1.0)
    assert (report.step, report.seconds, report.details["model"]) == (7, 1.5, "toy")
    verdicts = {row.source: row.verdict for row in report.sources}
    assert verdicts | {"other": ""} == {
        "single": "failed",
        "clean": "helps",
        "flipped": "harmful",
        "other": "",
    }


def test_a_failed_source_stands_in_its_place_with_the_reason_and_without_a_share(pool):
    summariser, target, sources = pool
    gradients = pool_gradients(summariser, target, sources)
    failed = alignment_report(gradients, summariser.config).sources[0]
    assert (failed.source, failed.rows, failed.score, failed.weight) == ("single", 0, None, 0.0)
    assert "one class only" in failed.note
    # What is left of the report is the report of a pool without it.
    rest = alignment_report(pool_gradients(summariser, target, sources[1:]), summariser.config)
    assert rest.sources == alignment_report(gradients, summariser.config).sources[1:]


def test_similarities_are_cosines_with_the_target_first_and_nan_where_a_source_failed(pool):
    summariser, target, sources = pool
    found = alignment_report(pool_gradients(summariser, target, sources), summariser.config).similarity
    clean, flipped, other = 2, 3, 4
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(np.diag(found)[[0, clean, flipped, other]], 1.0, atol=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-5, equal_nan=True)
    assert found[clean, flipped] == pytest.approx(-1.0, abs=1e-4)
    # Under the best matching of labels a flipped source is as like another label set as one with right labels.
    assert found[clean, other] == pytest.approx(found[flipped, other], abs=1e-4)


def test_a_target_that_cannot_be_summarised_is_an_error(pool, monkeypatch):
    summariser, target, sources = pool

    def broken(*_):
        raise TrainingError("target: gradients are not finite")

    monkeypatch.setattr(summariser, "target", broken)
    with pytest.raises(TrainingError, match="not finite"):
        pool_gradients(summariser, target, sources)
