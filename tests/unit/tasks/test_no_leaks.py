"""No text of the test rows is trained on, whichever file it comes from."""

import numpy as np
from reviews import keys, pairs, reviews

from sgg_ray.tasks import load_tasks
from sgg_ray.tasks.select import text_key


def test_texts_of_an_own_test_file_leave_training_and_sources(configure, write):
    test = write("test.csv", [("ROW 1", "positive"), (" row  2 ", "negative"), ("fresh", "positive")])
    source = write("s.csv", [("Fresh", "positive"), ("row 2", "negative"), ("kept", "negative")])
    target, (own,) = load_tasks(configure([{"name": "s", "path": source}], test={"path": test}, shots=18))
    assert keys(target.test) == {"row 1", "row 2", "fresh"}
    assert not keys(target.train) & keys(target.test)
    assert own.train.texts == ("kept",)
    assert "2 training rows dropped: the same texts are among the test rows" in target.notes
    assert "2 rows dropped: the same texts are among the target's test rows" in own.notes
    assert "rows of one class only (negative)" in own.notes


def test_rows_held_out_but_not_tested_stay_out_of_sources_too(configure, write):
    path = write("t.csv", reviews(40))
    whole, _ = load_tasks(configure(path=path, test={"fraction": 0.5}))
    target, (source,) = load_tasks(
        configure([{"name": "s", "path": path}], path=path, test={"fraction": 0.5}, max_rows=6)
    )
    assert np.bincount(target.test.labels).tolist() == [3, 3]
    assert set(target.test.texts) <= set(whole.test.texts)
    assert not keys(source.train) & keys(whole.test)
    assert pairs(target, target.train) == pairs(whole, whole.train)


def test_a_test_file_equal_to_the_training_file_is_explained(configure, problems, write):
    path = write("t.csv", reviews(10))
    (line,) = problems(configure(path=path, test={"path": path}))
    assert line.startswith(
        "target.shots: no row of class negative, positive is left beside the test rows, found negative 0, positive 0"
    )
    assert "10 training rows dropped" in line


def test_an_own_test_file_may_have_other_columns_and_filters(configure, write):
    path = write("t.jsonl", '{"text":"x","label":"a","k":1}\n{"text":"y","label":"b","k":1}\n')
    test = write("test.csv", "s,y\nt1,a\nt2,b\n")
    options = {"path": path, "where": {"k": 1}, "shots": 1}
    target, _ = load_tasks(
        configure(**options, test={"path": test, "columns": {"text": "s", "label": "y"}, "where": {}})
    )
    assert pairs(target, target.test) == {("t1", "a"), ("t2", "b")}


def test_unlabelled_texts_are_neither_test_rows_nor_shots(configure, problems, write):
    path = write("t.csv", reviews(40))
    target, _ = load_tasks(configure(path=path, test={"fraction": 0.5}, max_rows=6, shots=2))
    assert target.unlabelled == ()
    further = write(
        "more.csv", "text\nNew one\nnew  ONE\nnew two\n\n" + "\n".join(t.upper() for t, _ in reviews(40))
    )
    unlabelled = {"path": further}
    target, _ = load_tasks(
        configure(path=path, test={"fraction": 0.5}, max_rows=6, shots=2, unlabelled=unlabelled)
    )
    found = {text_key(text) for text in target.unlabelled}
    assert {"new one", "new two"} < found
    assert len(found) == len(target.unlabelled) == 2 + 40 - 20 - 4  # without 20 held out rows and 4 shots
    assert not found & (keys(target.test) | keys(target.train))
    assert "unlabelled: 20 texts dropped: the same texts are among the test rows" in target.notes
    assert "unlabelled: 4 texts dropped: the same texts are among the shots" in target.notes
    few, _ = load_tasks(
        configure(path=path, test={"fraction": 0.5}, shots=2, unlabelled={**unlabelled, "max_rows": 5})
    )
    assert len(few.unlabelled) == 5
    assert set(few.unlabelled) < set(target.unlabelled)
    (line,) = problems(configure(path=path, shots=18, test={"fraction": 0.1}, unlabelled={"path": path}))
    assert line.startswith("target.unlabelled.path: no usable texts are left in ")
