"""The gradients that scores compare: right sign, right space, and what cannot be compared is said."""

from dataclasses import replace

import numpy as np
import pytest
import toy

from sgg_ray.alignment import score_alignment, verdict
from sgg_ray.errors import TrainingError
from sgg_ray.models import build_model
from sgg_ray.scoring import Space, TaskSummariser, comparison_space, comparison_spaces, mixture, score_tasks
from sgg_ray.tasks import load_tasks


@pytest.fixture
def summarise(make_config, tmp_path):
    """Evidence for each source, and the tasks, from in-process summaries."""

    def run(**changes):
        config = make_config(**changes)
        target, sources = load_tasks(config)
        summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
        found = {}
        for source in sources:
            space = comparison_space(target, source)
            found[source.name] = summariser.source(
                source, space, 0, lambda space=space: summariser.target(target, space, 0)
            )
        return found, target, sources

    return run


def rows_file(tmp_path, name, rows):
    return {"name": name, "path": str(toy.write_rows(tmp_path / f"{name}.jsonl", rows))}


def test_a_flipped_source_scores_the_negative_of_the_clean_one(summarise):
    found, _, _ = summarise()
    clean, flipped = (score_alignment(found[name].evidence) for name in ("clean", "flipped"))
    assert clean.value > 0.5
    assert flipped.value == pytest.approx(-clean.value, abs=1e-5)
    assert (verdict(clean), verdict(flipped)) == ("helps", "harmful")


def test_labels_drawn_at_random_are_mostly_neither_used_nor_in_conflict(make_config):
    """A verdict at 95 % is wrong once in 20: more than four in 24 are rarer than one in a hundred."""
    config = make_config()
    target, (source, _) = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    space = comparison_space(target, source)
    gradients = summariser.target(target, space, 0)
    verdicts = []
    for seed in range(24):
        labels = np.random.default_rng(seed).permutation(source.train.labels)
        noise = replace(source, train=replace(source.train, labels=labels))
        found = summariser.source(noise, space, 0, lambda: gradients)
        verdicts.append(verdict(score_alignment(found.evidence)))
    assert sum(word != "unclear" for word in verdicts) <= 4


def test_sources_that_train_the_targets_head_are_compared_over_common_labels(make_config, tmp_path):
    rows = toy.sentences(80, seed=6) + [{"text": f"word{n} word{n + 1}", "label": "mixed"} for n in range(40)]
    config = make_config(sources=[rows_file(tmp_path, "three", rows)])
    target, (source,) = load_tasks(config)
    assert comparison_space(target, source) == Space(target.labels, matched=True)
    space = comparison_space(target, source, share_labels=True)
    assert space == Space(("negative", "positive"))
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    found = summariser.source(source, space, 0, lambda: summariser.target(target, space, 0))
    assert found.summary.space == space.name
    assert found.summary.examples == 80  # the rows of the third label carry nothing to compare
    assert verdict(score_alignment(found.evidence)) == "helps"


def test_the_order_of_label_names_does_not_matter(summarise, data):
    path = str(data / "clean.jsonl")
    orders = (["negative", "positive"], ["positive", "negative"])
    scores = []
    for labels in orders:
        found, _, _ = summarise(sources=[{"name": "clean", "path": path, "labels": labels}])
        scores.append(score_alignment(found["clean"].evidence))
    assert scores[0] == scores[1]


def test_another_label_set_is_compared_under_the_best_matching_of_labels(summarise, data):
    found, target, (source,) = summarise(sources=[{"name": "other", "path": str(data / "other.jsonl")}])
    assert comparison_space(target, source) == Space(target.labels, matched=True)
    summary = found["other"].summary
    assert summary.space == f"head {source.head}"
    assert summary.seed is None
    assert found["other"].rows * toy.WIDTH == len(summary.vector)
    # The same words tell the labels apart in both tasks, under other names.
    assert score_alignment(found["other"].evidence).value > 0.2


def test_names_of_other_labels_do_not_matter(make_config, data):
    """Flipping all labels of a source with a head of its own is another naming; for the target's head it is poison."""
    path = str(data / "clean.jsonl")
    sources = [
        {"name": "own", "path": path, "labels": {"bad": "negative", "good": "positive"}},
        {"name": "turned", "path": path, "labels": {"bad": "positive", "good": "negative"}},
        {"name": "named", "path": path},
        {"name": "poison", "path": path, "flip_labels": 1.0},
    ]
    config = make_config(sources=sources)
    target, tasks = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    scores = score_tasks(summariser, target, tasks)
    assert scores["turned"].value == pytest.approx(scores["own"].value, abs=1e-4)
    assert 0.25 * scores["named"].value < scores["own"].value < 0.55 * scores["named"].value
    assert scores["poison"].value == pytest.approx(-scores["named"].value, abs=1e-4)
    assert verdict(scores["poison"]) == "harmful"


def test_sources_of_one_head_of_their_own_do_not_contradict_each_other_in_the_mixture(make_config, data):
    path = str(data / "clean.jsonl")
    own, turned = {"bad": "negative", "good": "positive"}, {"bad": "positive", "good": "negative"}
    sources = [
        {"name": "turned", "path": path, "labels": turned},
        {"name": "own", "path": path, "labels": own},
        {"name": "partly", "path": path, "labels": own, "flip_labels": 0.3},
        {"name": "named", "path": path},
    ]
    target, tasks = load_tasks(make_config(sources=sources))
    config = make_config()
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    scores = score_tasks(summariser, target, tasks)
    assert {name: score.opposes for name, score in scores.items()} == {
        "turned": "own",
        "own": "",
        "partly": "",
        "named": "",
    }
    assert verdict(scores["turned"]) == "harmful"
    weights = mixture(scores)
    assert weights["turned"] == 0.0
    assert min(weights["own"], weights["partly"], weights["named"]) > 0.0
    # Without it, and without a group, nothing changes.
    alone = score_tasks(summariser, target, [task for task in tasks if task.name in ("turned", "named")])
    assert not any(score.opposes for score in alone.values())


@pytest.mark.parametrize("size", [64, 128, 4096])
def test_what_a_source_sends_stays_within_the_size_of_a_sketch(summarise, size):
    found, _, _ = summarise(alignment={"summary": {"size": size}})
    for source in found.values():
        sent = source.summary.nbytes + (source.noise.directions.nbytes if source.noise else 0)
        assert sent <= 4 * size
    assert (found["clean"].noise is None) == (size < 2 * toy.WIDTH)


def test_every_source_has_its_space_in_the_order_of_the_configuration(make_config, data):
    other = {"name": "other", "path": str(data / "other.jsonl")}
    clean = [{"name": f"clean{number}", "path": str(data / "clean.jsonl")} for number in range(2)]
    target, sources = load_tasks(make_config(sources=[other, *clean]))
    labels = ("negative", "positive")
    spaces = [Space(labels, matched=True), Space(labels), Space(labels)]
    assert list(comparison_spaces(target, sources).items()) == list(
        zip(("other", "clean0", "clean1"), spaces)
    )
    assert set(comparison_spaces(target, sources, language_model=True).values()) == {Space()}


def test_a_source_of_one_class_is_an_error_that_says_so(summarise, tmp_path):
    rows = [row for row in toy.sentences(80, seed=7) if row["label"] == "positive"]
    source = {**rows_file(tmp_path, "single", rows), "labels": ["negative", "positive"]}
    with pytest.raises(TrainingError, match="one class only"):
        summarise(sources=[source])


def test_no_more_rows_than_asked_for_and_classes_in_balance(summarise, tmp_path):
    lopsided = [row for row in toy.sentences(300, seed=8) if row["label"] == "positive"]
    lopsided += [row for row in toy.sentences(40, seed=9) if row["label"] == "negative"]
    found, _, _ = summarise(sources=[rows_file(tmp_path, "lopsided", lopsided)], alignment={"rows": 60})
    assert found["lopsided"].summary.examples == 20 + 30  # all of the rare class, half of 60 of the other


def test_a_sketch_gives_the_score_of_the_exact_gradients(summarise):
    exact, _, _ = summarise(alignment={"summary": {"kind": "exact"}})
    sketched, _, _ = summarise(alignment={"summary": {"size": 64}})
    for name in exact:
        assert len(exact[name].summary.vector) == 2 * toy.WIDTH
        expected = score_alignment(exact[name].evidence).observed
        assert score_alignment(sketched[name].evidence).observed == pytest.approx(expected, abs=3 / 64**0.5)


def test_the_summary_is_the_mean_of_the_parts(summarise):
    found, _, _ = summarise()
    evidence, summary = found["clean"].evidence, found["clean"].summary
    assert summary.norm**2 == pytest.approx(evidence.source_gram.mean(), rel=1e-5)


def test_every_few_shot_example_has_a_gradient_of_its_own(make_config):
    config = make_config()
    target, sources = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    gradients = summariser.target(target, comparison_space(target, sources[0]), step=7)
    assert gradients.vectors.shape == (2 * config.target.shots, 2 * toy.WIDTH)
    assert np.array_equal(gradients.classes, target.train.labels)
    assert gradients.summary.step == 7
    np.testing.assert_allclose(gradients.summary.mean, gradients.vectors.mean(0), rtol=1e-5, atol=1e-6)


def test_gradients_that_are_not_finite_are_an_error(make_config):
    config = make_config()
    target, sources = load_tasks(config)
    model = build_model(config, [target])
    next(model.backbone.parameters()).data.fill_(float("nan"))
    summariser = TaskSummariser(model, config.alignment, config.seed)
    with pytest.raises(TrainingError, match="not finite"):
        summariser.target(target, comparison_space(target, sources[0]), step=0)


def test_names_of_labels_are_sent_with_the_targets_gradients_unless_they_are_to_have_no_say(make_config):
    for says in (True, False):
        config = make_config(alignment={"label_name_prior": says})
        target, (source, _) = load_tasks(config)
        summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
        found = summariser.target(target, comparison_space(target, source), 0)
        assert (found.names is not None) == says
        if found.names is not None:
            assert found.names.shape == found.vectors[0].shape


def test_names_pull_a_head_the_way_texts_of_their_classes_do(make_config, tmp_path):
    """With labels made of the words that tell the texts apart."""
    labels = (" ".join(toy.BAD), " ".join(toy.GOOD))
    target = rows_file(tmp_path, "target", toy.sentences(200, 1, labels))
    source = rows_file(tmp_path, "source", toy.sentences(200, 2, labels))
    config = make_config(
        target={**target, "labels": list(labels)}, sources=[{**source, "labels": list(labels)}]
    )
    task, (source,) = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [task]), config.alignment, config.seed)
    found = summariser.target(task, comparison_space(task, source), 0)
    assert found.names is not None
    assert float(found.names @ found.vectors.mean(0)) > 0


def test_rows_that_are_not_scored_are_not_tokenised_and_change_nothing(make_config, monkeypatch):
    config = make_config(alignment={"rows": 16})
    target, (source, _) = load_tasks(config)
    model = build_model(config, [target])
    space = comparison_space(target, source)

    def vectors() -> tuple[np.ndarray, list[int]]:
        seen: list[int] = []
        tokenise = type(model).tokenise

        def counted(self, task, rows, *more):
            seen.append(len(rows))
            return tokenise(self, task, rows, *more)

        with monkeypatch.context() as patch:
            patch.setattr(type(model), "tokenise", counted)
            summariser = TaskSummariser(model, config.alignment, config.seed)
            gradients = summariser.target(target, space, 0)
            return summariser.source(source, space, 0, lambda: gradients).evidence.cross, seen

    found, tokenised = vectors()
    monkeypatch.setattr("sgg_ray.scoring.task_gradients.chosen_alone", lambda task, chosen: (task, chosen))
    of_all, before = vectors()
    assert len(source.train) in before
    assert max(tokenised) <= 16
    np.testing.assert_allclose(found, of_all, rtol=1e-5, atol=1e-7)
