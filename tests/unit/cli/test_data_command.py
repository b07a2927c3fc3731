"""`sgg data` tells what is in the files, and what may spoil a result."""

import json


def test_it_prints_tasks_classes_and_warnings(sgg, no_ray, write_config, here):
    result = sgg("data", write_config())
    assert result.exit_code == 0, result.output
    assert "task" in result.stdout.splitlines()[0]
    assert "target: negative " in result.stdout
    assert "clean and flipped: " in result.stdout
    assert "warning: clean and flipped: " in result.stdout
    assert [path.name for path in here.iterdir()] == ["toy.yaml"]


def test_json_is_one_document(sgg, no_ray, write_config):
    found = json.loads(sgg("data", write_config(), "--json").stdout)
    assert [task["name"] for task in found["tasks"]] == ["target", "clean", "flipped"]
    assert found["tasks"][0]["train"] == 16
    assert found["overlaps"][0]["tasks"] == ["clean", "flipped"]
    assert len(found["warnings"]) == 1


def test_nothing_to_warn_of_is_said(sgg, no_ray, write_config):
    assert "no warnings" in sgg("data", write_config(sources=None)).stdout


def test_the_warnings_come_before_a_scoring_too(sgg, no_ray, write_config):
    result = sgg("score", write_config(), "--dry-run")
    assert "warning: clean and flipped: " in result.stdout


def test_bad_input_is_one_line(refused, write_config):
    assert "target.path: " in refused("data", write_config(target={"path": "nowhere.csv"}))
