from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment
from sgg_ray.artifacts import write_model_card
from sgg_ray.artifacts.licences import licence_of_model
from sgg_ray.config import Config, ModelConfig
from sgg_ray.tasks import Rows, Task


def rows(count: int) -> Rows:
    return Rows(tuple(f"text {i}" for i in range(count)), np.arange(count) % 2)


LABELS = ("negative", "positive")
TARGET = Task("tweets", LABELS, rows(8), rows(40), "target", ("3 duplicate rows dropped",))
SOURCES = [
    Task("imdb", LABELS, rows(100), rows(0), "source"),
    Task("forum", LABELS, rows(50), rows(0), "source"),
]
QUALITY = {"accuracy": 0.75, "accuracy_low": 0.6, "accuracy_high": 0.86, "macro_f1": 0.74, "rows": 40}
GAIN = {"difference": 0.05, "low": -0.02, "high": 0.12, "p_value": 0.21}


@pytest.fixture
def config():
    return Config.model_validate(
        {
            "name": "try",
            "model": {"path": "package://gt/model"},
            "target": {"name": "tweets", "path": "/data/tweets.csv", "shots": 4},
            "sources": [{"name": name, "path": f"/data/{name}.csv"} for name in ("imdb", "forum")],
        }
    )


def report() -> AlignmentReport:
    good = SourceAlignment("imdb", 64, "head", 0, Score(0.8, 0.5, 1.0, 1.0, 0.5, 0.6), "helps", 1.0)
    failed = SourceAlignment("forum", 0, "head", 0, None, "failed", 0.0, "no answer")
    return AlignmentReport("tweets", 0, "relu", [good, failed], np.eye(3))


def write(folder, config, sources, found, metrics) -> str:
    path = write_model_card(
        folder, config=config, target=TARGET, sources=sources, report=found, metrics=metrics
    )
    assert path == folder / "README.md"
    return path.read_text(encoding="utf-8")


def test_card_tells_data_sources_quality_and_limits(tmp_path, config):
    metrics = {"guided": QUALITY, "target-only": QUALITY | {"accuracy": 0.7}, "difference": GAIN}
    text = write(tmp_path, config, SOURCES, report(), metrics)
    for expected in (
        "| tweets | target | `tweets.csv` | 8 | 40 |",
        "| imdb | source | `imdb.csv` | 100 |  |",
        "- tweets: 3 duplicate rows dropped",
        "| imdb | +0.80 | +0.50 … +1.00 | helps | 1.00 |",
        "| forum |  |  | failed | 0.00 |",
        "| this model | 0.750 | 0.600 … 0.860 | 0.740 | 40 |",
        "| the same model trained on the target alone | 0.700 |",
        "+5.0 points of accuracy (95 % interval -2.0 … +12.0, exact McNemar p = 0.21)",
        "Adapted to 8 labelled examples",
        'Predictor(".")',
    ):
        assert expected in text


def test_card_of_a_run_without_sources_and_baseline(tmp_path, config):
    text = write(tmp_path, config, [], None, {"guided": QUALITY, "target-only": None, "difference": None})
    assert "None: trained on the target alone." in text
    assert "McNemar" not in text
    assert "the same model trained" not in text


def test_front_matter_is_yaml(tmp_path, config):
    text = write(tmp_path, config, SOURCES, report(), {"guided": QUALITY})
    header = yaml.safe_load(text.split("---")[1])
    assert header["pipeline_tag"] == "text-classification"
    assert "few-shot" in header["tags"]


def test_licences_are_those_that_are_known(tmp_path, config):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# base\n")
    model = config.model.model_copy(update={"path": str(base)})
    target = config.target.model_copy(update={"license": "cc-by-4.0"})
    known = config.model_copy(update={"model": model, "target": target})
    text = write(tmp_path, known, SOURCES, report(), {"guided": QUALITY})
    assert yaml.safe_load(text.split("---")[1])["license"] == "apache-2.0"
    assert "| base model `base` | apache-2.0 |" in text
    assert "| rows of tweets | cc-by-4.0 |" in text
    assert "| rows of imdb | unknown |" in text


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ("---\ntags: [x]\n---\n", "unknown"),
        ("---\nlicense: [a, {b\n---\n", "unknown"),
        ("---\n- a list\n---\n", "unknown"),
        ("# a card without a head\n", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_of_a_model_is_its_cards(tmp_path, monkeypatch, card, expected):
    """Of a folder, and of a model on the hub, whose card is fetched."""
    (tmp_path / "config.json").write_text("{}")
    if card is not None:
        (tmp_path / "README.md").write_text(card)

    def fetch(hub_id, file, **_):
        assert (hub_id, file) == ("owner/name", "README.md")
        if card is None:
            raise OSError("no network")
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    for path in (str(tmp_path), "owner/name"):
        assert licence_of_model(ModelConfig.model_validate({"path": path})) == expected
    told = ModelConfig.model_validate({"path": str(tmp_path), "license": "my own"})
    assert licence_of_model(told) == "my own"
    gone = ModelConfig.model_validate({"path": "/not/there"})
    assert licence_of_model(gone) == "unknown"


def test_the_example_in_the_card_is_valid_python(tmp_path, config):
    text = write(tmp_path, config, SOURCES, report(), {"guided": QUALITY})
    compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec")


HOSTILE = (
    "`<img src=x onerror=alert(1)>`",
    "a``b|c",
    "line\nbreak\n# title",
    "[x](javascript:alert(1))",
    "<script>",
)


def html_of(text: str) -> str:
    from markdown_it import MarkdownIt  # comes with rich

    return MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])


def test_labels_and_notes_are_no_markup(tmp_path, config):
    """Rendered as CommonMark, nothing of them is an element, an attribute or a heading."""
    target = Task("tweets", HOSTILE, rows(8), rows(40), "target", tuple(f"note {text}" for text in HOSTILE))
    config = config.model_copy(
        update={"target": config.target.model_copy(update={"path": "`<b>`.csv", "license": HOSTILE[0]})}
    )
    path = write_model_card(
        tmp_path, config=config, target=target, sources=[], report=None, metrics={"guided": QUALITY}
    )
    page = html_of(path.read_text(encoding="utf-8"))
    seen = Elements()
    seen.feed(page)
    assert not {"img", "script", "a", "b"} & seen.tags
    assert not [heading for heading in seen.headings if "title" in heading]
    shown = "".join(seen.texts)
    for text in HOSTILE:
        assert " ".join(text.split()) in " ".join(shown.split())


class Elements(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.last = tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.last.startswith("h"):
            self.headings.append(data)


def test_card_of_a_run_that_keeps_its_baseline(tmp_path, config):
    kept = {"model": "target-only", "verdict": "worse", "rows": 8}
    metrics = {
        "guided": QUALITY,
        "target-only": QUALITY | {"accuracy": 0.8},
        "difference": GAIN,
        "kept": kept,
    }
    text = write(tmp_path, config, SOURCES, report(), metrics)
    assert "| this model, trained on the target alone | 0.800 |" in text
    assert "| the same with guidance | 0.750 |" in text
    assert "the run keeps the model that was trained on the target alone" in text
    assert "on 8 held-out shots, not on test rows: it was worse" in text
    assert "| imdb | +0.80" not in text
