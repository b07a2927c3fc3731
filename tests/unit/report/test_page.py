"""report.html: complete, self-contained, and nothing that a label, a text or a name says is HTML in it."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from test_comparison import comparison
from test_plots import make_report
from test_sweep import SETTINGS, trials

from sgg_ray.evaluation import ClassificationMetrics, GenerationMetrics, PairedComparison, Trial
from sgg_ray.evaluation.classification import metrics_of
from sgg_ray.report import (
    ModelResult,
    Page,
    PageTable,
    Section,
    comparison_sections,
    configuration_section,
    plot_scores,
    quality_lines,
    quality_section,
    reproduce_section,
    scores_section,
    sweep_sections,
    wrong_section,
)

HOSTILE = "</td><script>alert(1)</script><img src=http://x.example/a onerror=alert(1)>\u202e\x1b[31m"


class Elements(HTMLParser):
    """All elements of a page with their attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_nothing_in_a_page_is_html_and_nothing_is_fetched(tmp_path):
    frame = pd.DataFrame(
        {"text": [HOSTILE], "label": [HOSTILE], "predicted": ["b"], f"p_{HOSTILE}": [0.1], "p_b": [0.9]}
    )
    metrics = metrics_of(np.array([[0, 1], [0, 3]]))
    page = Page(
        HOSTILE,
        [HOSTILE],
        [HOSTILE],
        [
            wrong_section(frame, metrics, [HOSTILE, "b"]),
            Section(HOSTILE, [HOSTILE], [PageTable([HOSTILE], [[HOSTILE]], HOSTILE)]),
            reproduce_section({"name": "x", "versions": {HOSTILE: HOSTILE}}, "train"),
            configuration_section(HOSTILE),
        ],
    ).html()
    elements = Elements(page)
    assert "script" not in {tag for tag, _ in elements.found}
    assert "img" not in {tag for tag, _ in elements.found}
    assert not [attributes for _, attributes in elements.found if {"onerror", "onload"} & set(attributes)]
    assert elements.text.count("<script>alert(1)</script>") > 8  # shown, as text
    assert "\u202e" not in page
    assert "\x1b" not in page
    targets = [
        attributes[key] for _, attributes in elements.found for key in ("src", "href") if key in attributes
    ]
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"url\(|@import|<link", page.partition("</style>")[0])


def test_a_password_in_a_text_of_the_page_is_left_out():
    page = Page("run", sections=[configuration_section("uri: postgresql://me:geheim@host/db")]).html()
    assert "geheim" not in page
    assert "host/db" in page


def test_the_sources_of_a_page_have_table_advice_and_picture(tmp_path):
    report = make_report(3)
    plot_scores(report, tmp_path / "scores.png")
    page = Page("run", sections=[scores_section(report, tmp_path)]).html()
    assert page.count("data:image/png;base64,") == 1
    assert all(f">{source.source}</td>" in page for source in report.sources)
    assert "source-1: late" in page  # why it failed


def classifier(accuracy):
    right = round(100 * accuracy)
    return metrics_of(np.array([[right, 100 - right], [0, 0]]))


@pytest.mark.parametrize(
    ("low", "high", "last"),
    [
        (0.05, 0.15, "Guided is better than target only."),
        (-0.1, 0.3, "No difference between guided and target only"),
    ],
)
def test_the_summary_says_what_is_shown(low, high, last):
    gain = PairedComparison(0.1, low, high, 0.02, 20, 10, 100)
    results = [ModelResult("target only", classifier(0.5)), ModelResult("guided", classifier(0.6), gain)]
    lines = quality_lines(results)
    assert lines[0].startswith(
        "Guided labels 60.0 % of 100 test rows correctly, +10.0 points compared with target only"
    )
    assert lines[-1].startswith(last)
    rows = [row[:2] for row in quality_section(results).tables[0].rows]
    assert rows == [["majority class", "100.0 %"], ["target only", "50.0 %"], ["guided", "60.0 %"]]


def test_models_that_answer_have_a_summary_too():
    numbers = dict.fromkeys(GenerationMetrics.__dataclass_fields__, 0.5) | {"rows": 40}
    assert quality_lines([ModelResult("guided", GenerationMetrics(**numbers))]) == [
        "Guided gives the reference in 50.0 % of 40 test rows."
    ]


def test_wrong_rows_are_listed_with_the_surest_mistake_first():
    chances = np.array([0.6, 0.95, 0.7])
    frame = pd.DataFrame(
        {"text": ["one", "two", "three"], "label": ["a", "a", "b"], "predicted": ["b", "b", "b"]}
    )
    frame = frame.assign(p_a=1 - chances, p_b=chances)
    metrics = metrics_of(np.array([[0, 2], [0, 1]]))
    section = wrong_section(frame, metrics, ["a", "b"])
    assert section.lines == ["2 of 3 test rows are wrong."]
    matrix, rows = section.tables
    assert matrix.rows == [["a", "0", "2"], ["b", "0", "1"]]
    assert [row[-1] for row in rows.rows] == ["two", "one"]
    assert rows.rows[0][:3] == ["a", "b", "95 %"]


def test_of_many_classes_the_most_frequent_mistakes_are_shown():
    confusion = np.diag(np.full(20, 5))
    confusion[3, 7] = 4
    confusion[2, 1] = 1
    frame = pd.DataFrame({"text": ["x"], "label": ["l3"], "predicted": ["l3"], "p_l3": [1.0]})
    metrics = metrics_of(confusion)
    assert isinstance(metrics, ClassificationMetrics)
    section = wrong_section(frame, metrics, [f"l{number}" for number in range(20)])
    assert section.tables[0].rows == [["l3", "l7", "4"], ["l2", "l1", "1"]]


def test_how_to_repeat_a_run_names_command_seed_versions_and_commit():
    record = {
        "name": "films",
        "seed": 7,
        "content": "abc123",
        "git": {"commit": "0123abcd", "changed": True},
        "versions": {"torch": "2.13.0"},
    }
    page = Page("run", sections=[reproduce_section(record, "score")]).html()
    for shown in (
        "sgg score config.yaml --name films-again",
        "0123abcd, with changes",
        "abc123",
        "2.13.0",
        ">7</td>",
    ):
        assert shown in page


def test_comparison_and_sweep_have_pages_with_what_failed(tmp_path):
    from dataclasses import replace

    found = replace(
        comparison({"base_line": 0.0, "up": 0.1}, shots=(8,), seeds=3),
        failures={"up on films": "out of memory"},
    )
    page = Page("run", sections=comparison_sections(found, tmp_path)).html()
    for shown in ("base_line", "out of memory", "as everybody does", "Wilcoxon p"):
        assert shown in page
    sweep = [*trials(3), Trial(9, {}, "failed", note="not finite")]
    sections = sweep_sections(sweep, SETTINGS, tmp_path)
    assert [section.title for section in sections] == ["Trials", "Best values", "Trials that went wrong"]
    assert sections[2].tables[0].rows == [["9", "not finite"]]
    assert [section.title for section in sweep_sections([Trial(1, {}, "failed")], SETTINGS, tmp_path)] == [
        "Trials",
        "Trials that went wrong",
    ]
