import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment
from sgg_ray.evaluation import compare_paired, evaluate_classification
from sgg_ray.report import (
    ModelResult,
    make_console,
    print_comparison,
    print_json,
    print_plan,
    print_predictions,
    print_scores,
    print_table,
)
from sgg_ray.report.tables import conclusions


def console(terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=60, highlight=False, markup=False, emoji=False
    )


def output(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def make_report() -> AlignmentReport:
    def source(name, score, verdict, weight, note=""):
        return SourceAlignment(name, 64, "head", 0, score, verdict, weight, note)

    return AlignmentReport(
        "tweets",
        25,
        "relu",
        [
            source("forum [x]", Score(-0.7, -0.9, -0.4, 2.0, 0.5, -0.5), "harmful", 0.0),
            source(
                "a-source-with-a-very-long-name-indeed", Score(0.8, 0.5, 1.0, 1.0, 0.5, 0.6), "helps", 1.0
            ),
            source("broken", None, "failed", 0.0, "gradients are not finite"),
        ],
        np.eye(4),
        seconds=2.0,
    )


def test_scores_are_ranked_and_complete():
    target = console()
    print_scores(target, make_report())
    lines = output(target).splitlines()
    assert lines[0] == "Alignment of 3 sources with tweets at step 25 (2.0 s)"
    assert "95 % interval" in lines[1]
    assert lines[2].split() == [
        "a-source-with-a-very-long-name-indeed", "64", "+0.80", "+0.50", "…", "+1.00", "+0.80", "100", "%", "helps",
    ]  # fmt: skip
    assert lines[3].startswith("forum [x]")
    assert lines[3].endswith("harmful")
    assert lines[4].split() == ["broken", "64", "–", "–", "–", "0", "%", "failed"]
    assert "broken: gradients are not finite" in lines
    assert lines[-1] == make_report().advice


def test_off_a_terminal_nothing_is_wrapped_cut_or_coloured():
    target = console()
    print_scores(target, make_report())
    text = output(target)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 7
    assert max(map(len, text.splitlines())) > 60


def test_on_a_terminal_names_are_kept_whole():
    target = console(terminal=True)
    print_scores(target, make_report())
    text = output(target)
    assert "\x1b[32m" in text
    assert "forum [x]" in text.replace("\n", "")


def test_columns_are_aligned():
    target = console()
    print_table(target, ["name", "n", "verdict"], [["a", "1", "x"], ["long name", "100", "yy"]])
    assert output(target) == "name         n  verdict\na            1  x\nlong name  100  yy\n"


def test_plan_is_aligned():
    target = console()
    print_plan(target, "Plan", {"model": "minilm", "workers": 2})
    assert output(target) == "Plan\n  model    minilm\n  workers  2\n"


def test_comparison_shows_gain_over_the_first():
    labels = np.array([0, 1] * 50)
    base = np.where(np.arange(100) < 30, 1 - labels, labels)
    results = [
        ModelResult("target only", evaluate_classification(np.eye(2)[base], labels)),
        ModelResult(
            "guided", evaluate_classification(np.eye(2)[labels], labels), compare_paired(labels, base, labels)
        ),
    ]
    target = console()
    print_comparison(target, results)
    lines = output(target).splitlines()
    assert lines[1].split() == ["majority", "class", "50.0", "%"]
    assert lines[2].startswith("target only       70.0 %")
    assert "+30.0" in lines[3]
    assert "< 0.001" in lines[3]
    assert lines[4:] == [
        "on 100 test rows; gain in points of accuracy over target only",
        "guided is better than target only",
    ]


def test_a_skewed_test_set_and_no_difference_are_said_in_words():
    labels = np.array([0] * 80 + [1] * 20)
    always = np.zeros(100, dtype=int)
    results = [
        ModelResult("target only", evaluate_classification(np.eye(2)[always], labels)),
        ModelResult(
            "guided",
            evaluate_classification(np.eye(2)[always], labels),
            compare_paired(always, always, labels),
        ),
    ]
    assert conclusions(results)[1:] == [
        "80 % of the test rows are of one class, which any model can name: macro-F1 counts all classes alike",
        "no difference between guided and target only is shown",
    ]


def test_json_is_strict_and_alone_on_stdout(capsys):
    print_scores(make_console(as_json=True), make_report())
    print_json(make_report().to_dict())
    captured = capsys.readouterr()
    assert json.loads(captured.out)["advice"] == make_report().advice
    assert "Alignment of" in captured.err
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"x": math.nan})


@pytest.mark.parametrize(
    ("empty", "said"), [(1, "1 row without a text was"), (1200, "1,200 rows without a text were")]
)
def test_rows_without_a_text_are_counted(empty, said):
    target = console()
    found = {"rows": empty + 1, "metrics": None, "without_text": empty, "predicted": {"a": 1}}
    print_predictions(target, found, 0.5)
    assert f"{said} not predicted" in output(target)
    assert f"{empty + 1:,} rows in 0.5 s" in output(target)
