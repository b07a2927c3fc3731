"""Every task may be the target in turn; the others are sources, unless they must not be."""

from sgg_ray.config import shots_of, targets_of, with_target

TASKS = """
model: {path: some/encoder}
target: {name: films, path: f.csv, shots: 4, max_rows: 50, labels: [no, yes], test: {fraction: 0.3}}
sources:
  - {name: books, path: b.csv, flip_labels: 1.0}
  - {name: shops, path: s.csv, max_rows: 9}
  - {name: shops-3way, path: s.csv}
"""


def grid(load, text=""):
    return load(TASKS + "compare:\n  strategies: [full]\n" + text)


def test_the_files_own_target_is_the_default(load):
    config = grid(load)
    assert (targets_of(config), shots_of(config)) == (["films"], [4])
    own = with_target(config, "films", 8, 3)
    assert (own.target.shots, own.target.max_rows, own.seed) == (8, 50, 3)
    assert own.sources == config.sources


def test_a_source_takes_the_targets_place_and_the_target_a_sources(load):
    own = with_target(grid(load), "shops", 8, 1)
    assert (own.target.name, own.target.path.split("/")[-1], own.target.max_rows) == ("shops", "s.csv", 9)
    assert own.target.test.fraction == 0.3
    assert [source.name for source in own.sources] == ["films", "books", "shops-3way"]
    assert own.sources[0].labels == ["no", "yes"]
    assert own.sources[1].flip_labels == 1.0


def test_a_poisoned_source_is_clean_as_target(load):
    assert not hasattr(with_target(grid(load), "books", 8, 1).target, "flip_labels")


def test_tasks_of_the_same_texts_are_kept_apart(load):
    config = grid(load, "  exclude_together: [[shops, shops-3way]]\n")
    names = {name: _sources(config, name) for name in ("films", "shops")}
    assert names == {"films": ["books", "shops", "shops-3way"], "shops": ["films", "books"]}


def test_unseen_tasks_stand_at_the_end(load):
    assert _sources(grid(load, "  unseen: [books]\n"), "films") == ["shops", "shops-3way", "books"]


def test_names_must_exist(problems):
    lines = problems(
        TASKS
        + "compare: {strategies: [full], targets: [film], unseen: [tweets], exclude_together: [[shops, x]]}\n"
    )
    assert lines[0] == "compare.targets: there is no task 'film'; did you mean 'films'?"
    assert lines[1] == "compare.unseen: there is no task 'tweets'; there are: films, books, shops, shops-3way"
    assert lines[2].startswith("compare.exclude_together: there is no task 'x'")


def test_a_target_is_not_unseen(problems):
    (line,) = problems(TASKS + "compare: {strategies: [full], targets: [films, books], unseen: [books]}\n")
    assert line.startswith("compare.unseen: 'books' is a target")


def _sources(config, target):
    return [source.name for source in with_target(config, target, 4, 0).sources]
