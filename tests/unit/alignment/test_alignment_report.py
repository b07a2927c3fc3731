import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment, mixture_weights, verdict


def make_report(values: dict[str, tuple[float, float, float] | None], similarity=None) -> AlignmentReport:
    scores = {
        name: Score(*found, norm_ratio=1.5, reliability=0.6, observed=found[0] / 2) if found else None
        for name, found in values.items()
    }
    weights = mixture_weights(list(scores.values()))
    sources = [
        SourceAlignment(
            name, 64, "head a|b", 0, score, verdict(score), float(weight), "" if score else "no answer"
        )
        for (name, score), weight in zip(scores.items(), weights)
    ]
    size = len(sources) + 1
    matrix = np.eye(size) if similarity is None else similarity
    return AlignmentReport("tweets", 0, "relu", sources, matrix, seconds=1.5, details={"seed": 3})


MIXED = {
    "forum": (-0.5, -0.8, -0.2),
    "reviews": (0.4, 0.1, 0.7),
    "broken": None,
    "imdb": (0.8, 0.5, 1.0),
    "topics": (0.0, -0.3, 0.3),
}


def test_ranking_goes_from_best_to_worst_with_failures_last():
    names = [source.source for source in make_report(MIXED).ranked()]
    assert names == ["imdb", "reviews", "topics", "forum", "broken"]


def test_values_cut_off_at_one_are_ranked_by_the_observed_cosine():
    first = SourceAlignment("first", 1, "s", 0, Score(1.0, 0.5, 1.0, 1.0, 0.5, 0.6), "helps", 0.5)
    second = SourceAlignment("second", 1, "s", 0, Score(1.0, 0.5, 1.0, 1.0, 0.5, 0.7), "helps", 0.5)
    report = AlignmentReport("t", 0, "relu", [first, second], np.eye(3))
    assert [source.source for source in report.ranked()] == ["second", "first"]


def test_advice_says_what_training_does_with_the_sources():
    assert make_report(MIXED).advice == (
        "training mixes in imdb (67 %), reviews (33 %); harmful, left out: forum; "
        "unclear: topics; add shots to be sure; failed, left out: broken"
    )
    assert make_report({"a": (-0.5, -0.8, -0.2), "b": (-0.4, -0.8, -0.2)}).advice == (
        "no source is mixed in; harmful, left out: b, a"
    )
    assert make_report({"a": (0.2, -0.1, 0.5), "b": (0.1, -0.2, 0.5), "c": (-0.4, -0.8, -0.2)}).advice == (
        "training mixes in a (67 %), b (33 %); harmful, left out: c; unclear: a, b; add shots to be sure"
    )


def test_a_source_that_pulls_against_a_kept_one_is_told_so():
    report = make_report({"imdb": (0.4, 0.1, 0.7), "turned": (0.3, 0.1, 0.7), "forum": (-0.5, -0.8, -0.2)})
    rows = [
        replace(row, score=replace(row.score, opposes="imdb" if row.source == "turned" else ""))
        for row in report.sources
    ]
    rows = [
        replace(
            row, verdict=verdict(row.score), weight=float(row.source == "imdb")
        )  # as mixture_weights has it
        for row in rows
    ]
    report = replace(report, sources=rows)
    assert report.advice == (
        "training mixes in imdb (100 %); harmful, left out: forum; "
        "left out, contradicts imdb on the labels they share: turned"
    )
    again = AlignmentReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert [row.score for row in again.sources] == [row.score for row in rows]
    assert list(report.to_pandas()["verdict"]) == ["helps", "harmful", "harmful"]


def test_report_survives_json():
    similarity = np.eye(6)
    similarity[0, 3] = similarity[3, 0] = math.nan
    report = make_report(MIXED, similarity)
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = AlignmentReport.from_dict(json.loads(text))
    assert again.to_dict() == report.to_dict()
    assert again.sources == report.sources
    assert again.weights == report.weights
    np.testing.assert_array_equal(again.similarity, similarity)


def test_report_without_sources():
    report = make_report({})
    assert AlignmentReport.from_dict(report.to_dict()).to_dict() == report.to_dict()
    assert report.weights == {}
    assert len(report.to_pandas()) == 0


def test_frame_has_a_row_a_source_in_the_order_given():
    frame = make_report(MIXED).to_pandas()
    assert list(frame["source"]) == list(MIXED)
    assert frame["weight"].sum() == pytest.approx(1.0)
    assert all(frame.set_index("source").loc["broken", ["value", "low", "high"]].isna())
    assert frame["low"].dtype == np.float64


def test_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"similarity must be \(6, 6\), target first, found \(5, 5\)"):
        make_report(MIXED, np.eye(5))


def test_importing_alignment_loads_none_of_the_heavy_libraries():
    code = (
        "import sys, sgg_ray.alignment;"
        "print([n for n in ('torch', 'ray', 'mlflow', 'pandas', 'scipy', 'sklearn') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_advice_does_not_call_left_out_what_is_mixed_in():
    report = make_report({"a": (0.6, 0.2, 0.9), "b": (-0.5, -0.8, -0.2)})
    even = [replace(row, weight=0.5) for row in report.sources]
    assert replace(report, weighting="uniform", sources=even).advice == (
        "training mixes in a (50 %), b (50 %); harmful, but weighting uniform mixes them in: b"
    )


def test_advice_says_so_when_the_evidence_is_for_no_source():
    report = make_report({"a": (-0.5, -0.8, -0.2)})
    assert replace(report, weighting="evidence").advice == (
        "no source helps: training on the target alone; harmful, left out: a"
    )
