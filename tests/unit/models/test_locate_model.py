"""Where a model's files are, and one line that says so when they are not there."""

import os

import pytest

from sgg_ray.errors import ModelError
from sgg_ray.models import locate_model


def refusal(path) -> str:
    with pytest.raises(ModelError) as caught:
        locate_model(str(path))
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.startswith("model.path: ")
    return line


def test_a_folder_is_found_from_anywhere(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(encoder.parent)
    found = locate_model(f"./{encoder.name}")
    monkeypatch.chdir(tmp_path)
    assert os.path.samefile(found, encoder)
    assert os.path.isabs(found)


def test_a_hub_id_is_left_as_it_is():
    assert locate_model("sentence-transformers/all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_package_is_located_without_being_imported(encoder, tmp_path, monkeypatch):
    package = tmp_path / "toy_model_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model").symlink_to(encoder)
    monkeypatch.syspath_prepend(tmp_path)
    assert os.path.samefile(locate_model("package://toy_model_package/model"), encoder)
    assert "no folder 'other'" in refusal("package://toy_model_package/other")


@pytest.mark.parametrize("path", ["package://no_such_package/model", "package://os/model", "package://a.b/c"])
def test_a_package_that_is_not_there_is_named(path):
    assert "is not installed" in refusal(path)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./missing", "~/no/such/model", "one/two/three"])
def test_a_folder_that_does_not_exist_is_no_hub_id(path):
    line = refusal(path)
    assert path in line
    assert "does not exist" in line


def test_a_file_is_no_folder(encoder):
    assert "is a file" in refusal(encoder / "model.safetensors")


def test_a_folder_without_configuration_is_refused(tmp_path):
    assert "has no config.json" in refusal(tmp_path)
