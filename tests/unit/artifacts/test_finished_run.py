import shutil

import pytest

from sgg_ray.artifacts import RunFolder, open_run
from sgg_ray.errors import ConfigError


def test_a_run_is_found_by_folder_and_by_name(finished_run, tmp_path, monkeypatch):
    assert open_run(finished_run).model == finished_run / "model"
    assert open_run(finished_run).config.name == "toy"
    assert open_run(finished_run).metrics["guided"]["rows"] > 0
    monkeypatch.chdir(finished_run.parents[1])
    assert open_run("toy").path == open_run("runs/toy").path == finished_run
    with pytest.raises(ConfigError, match="runs has: toy; did you mean 'toy'"):
        open_run("toi")


def test_what_is_no_finished_training_is_refused(finished_run, make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no run folder nothing, and no run in runs"):
        open_run("nothing")
    scored = shutil.copytree(finished_run, tmp_path / "runs/scored")
    shutil.rmtree(scored / "model")
    with pytest.raises(ConfigError, match="scored holds no model"):
        open_run("scored")
    config = make_config(name="half")
    RunFolder(config.ray.storage_path, "half").begin(config)
    with pytest.raises(ConfigError, match=r"half has not finished; repeat .* to resume it"):
        open_run("half")
