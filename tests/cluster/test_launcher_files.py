"""The cluster launcher's files are what Ray reads, and promise nothing that the project does not have."""

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "cluster.yaml", ROOT / "pipelines" / "configs" / "cluster-local.yaml"]


@pytest.fixture(scope="module")
def schema():
    return json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_valid_by_rays_own_schema(path, schema):
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_a_wrong_key_would_be_found(schema):
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "max_wokers": 1}, schema)


def test_the_image_is_the_ray_that_is_required():
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    version = content["docker"]["image"].split(":")[1].split("-")[0]
    assert version.rsplit(".", 1)[0] == ray.__version__.rsplit(".", 1)[0]


def test_drivers_live_on_a_machine_that_is_not_reclaimed_and_nothing_is_open_to_the_world():
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    head = content["available_node_types"][content["head_node_type"]]
    assert "InstanceMarketOptions" not in head["node_config"]
    worker = content["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] == 0
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    for rule in content["provider"]["security_group"]["IpPermissions"]:
        assert all(address["CidrIp"] != "0.0.0.0/0" for address in rule["IpRanges"])
    assert any("--dashboard-host=127.0.0.1" in command for command in content["head_start_ray_commands"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_that_is_mounted_exists(path):
    sources = yaml.safe_load(path.read_text())["file_mounts"].values()
    for source in (source for source in sources if not source.startswith("~")):
        assert (ROOT / source).exists()
