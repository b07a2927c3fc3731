"""Passwords and keys are nowhere but where they are used."""

import pytest
import toy
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.config import Config, dump_config, load_config, passwords_in, resolved
from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.secrets import redacted

HELD = {
    "postgresql://user:hunter2@127.0.0.1/db": "postgresql://***@127.0.0.1/db",
    "s3://KEY:SECRET@bucket/runs": "s3://***@bucket/runs",
    "https://token@host/x": "https://***@host/x",
    "https://user:p@ss@host/x": "https://***@host/x",
    "s3://b/r?access_key=AK&secret_key=SK&region=eu": "s3://b/r?access_key=***&secret_key=***&region=eu",
    "https://h/x?X-Amz-Signature=abc&part=2": "https://h/x?X-Amz-Signature=***&part=2",
    "https://h/x?sig=abc%2F": "https://h/x?sig=***",
    "postgresql://user:${PW}@host/db": "postgresql://user:${PW}@host/db",
    "https://${TOKEN}@host/x": "https://${TOKEN}@host/x",
    "s3://b/r?secret_key=${SK}": "s3://b/r?secret_key=${SK}",
    "sqlite:///mlflow.db": "sqlite:///mlflow.db",
    "runs/a@b": "runs/a@b",
    "package://module/model": "package://module/model",
}


@pytest.mark.parametrize(("address", "kept"), HELD.items())
def test_what_is_kept_of_an_address(address, kept):
    assert redacted(address) == kept
    assert redacted(kept) == kept
    assert redacted(f"cannot reach '{address}': refused") == f"cannot reach '{kept}': refused"


@given(
    st.from_regex(r"[A-Za-z0-9%$!.~_+-]{4,20}", fullmatch=True),
    st.sampled_from(["postgresql", "s3", "https"]),
)
def test_no_password_of_any_letters_is_kept(password, scheme):
    assert password not in redacted(f"{scheme}://someone:{password}@host.example/x").removeprefix(scheme)
    assert f"={password}" not in redacted(f"{scheme}://host.example/x?a=1&api_key={password}")


@pytest.fixture
def config(tmp_path, monkeypatch) -> Config:
    monkeypatch.setenv("SGG_TEST_PASSWORD", "from-the-environment")
    file = tmp_path / "c.yaml"
    file.write_text(
        """
model: {path: m}
target: {path: t.csv, shots: 4, prompt: 'look at https://x/?key=value {text}'}
sources: [{name: s, path: 'https://me:hunter2@host/s.csv'}]
tracking: {uri: 'postgresql://user:${SGG_TEST_PASSWORD}@127.0.0.1/db'}
ray: {storage_path: 's3://KEY:SECRET@bucket/runs'}
"""
    )
    return load_config(file)


def test_nothing_that_is_stored_holds_a_password(config):
    stored = dump_config(config) + str(config.flat())
    for secret in ("hunter2", "SECRET", "from-the-environment"):
        assert secret not in stored
    assert "user:${SGG_TEST_PASSWORD}@" in stored
    assert "look at https://x/?key=value {text}" in stored  # a text is no address
    assert passwords_in(config) == ["sources.s.path", "ray.storage_path"]


def test_a_variable_is_taken_from_the_environment_where_it_is_used(config):
    used = resolved(config.tracking.uri, "tracking.uri")
    assert used == "postgresql://user:from-the-environment@127.0.0.1/db"
    # What a library says about it is not shown either.
    assert str(ModelError("login as from-the-environment failed")) == "login as ${SGG_TEST_PASSWORD} failed"


def test_a_variable_that_is_not_set(config, monkeypatch):
    monkeypatch.delenv("SGG_TEST_PASSWORD")
    with pytest.raises(
        ConfigError, match=r"tracking.uri: the environment variable SGG_TEST_PASSWORD is not set"
    ):
        resolved(config.tracking.uri, "tracking.uri")


def test_a_stored_configuration_says_what_was_left_out(config, tmp_path):
    (tmp_path / "config.yaml").write_text(dump_config(config))
    again = load_config(tmp_path / "config.yaml")
    with pytest.raises(
        ConfigError, match=r"ray.storage_path: s3://\*\*\*@bucket/runs was kept without its password"
    ):
        resolved(again.ray.storage_path, "ray.storage_path")
    assert yaml.safe_load(dump_config(again)) == yaml.safe_load(dump_config(config))


def test_paths_come_from_the_environment(make_config, tmp_path, monkeypatch):
    from sgg_ray.tasks import load_tasks

    toy.write_rows(tmp_path / "rows.jsonl", toy.sentences(40, 1))
    monkeypatch.setenv("SGG_TEST_DATA", str(tmp_path))
    config = make_config(target={"path": "${SGG_TEST_DATA}/rows.jsonl"}, sources=[])
    target, _ = load_tasks(config)
    assert len(target.test)
    assert config.flat()["target.path"] == "${SGG_TEST_DATA}/rows.jsonl"
