"""The cluster launcher's files are what Ray reads, and promise nothing that the project does not have."""

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from sgg_ray.config import load_config

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


# Fields of a RayJob and its cluster in KubeRay's ray.io/v1, as far as they are used here: no package ships the schema.
JOB_FIELDS = {
    "entrypoint",
    "submissionMode",
    "backoffLimit",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "rayClusterSpec",
}
CLUSTER_FIELDS = {
    "rayVersion",
    "authOptions",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "headGroupSpec",
    "workerGroupSpecs",
}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


@pytest.fixture(scope="module")
def kubernetes():
    """The objects of kuberay.yaml by kind."""
    text = (ROOT / "pipelines" / "configs" / "kuberay.yaml").read_text()
    return {content["kind"]: content for content in yaml.safe_load_all(text)}


def test_the_rayjob_has_fields_that_kuberay_knows(kubernetes):
    job = kubernetes["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    cluster = job["spec"]["rayClusterSpec"]
    assert set(job["spec"]) <= JOB_FIELDS
    assert set(cluster) <= CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == GROUP_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        # Kubernetes' quantities are strings; a number would be taken, and rounded.
        assert all(isinstance(value, str) for value in resources["limits"].values())


def test_the_rayjob_runs_a_pipeline_of_this_version_on_a_shared_folder(kubernetes):
    job = kubernetes["RayJob"]["spec"]
    cluster = job["rayClusterSpec"]
    assert cluster["rayVersion"].rsplit(".", 1)[0] == ray.__version__.rsplit(".", 1)[0]
    command = job["entrypoint"].split()
    home = "/home/ray/sgg_ray/"
    for path in command[1:3]:
        assert (ROOT / path.removeprefix(home)).is_file()
    config = load_config(
        ROOT / command[2].removeprefix(home), [value for value in command[3:] if value != "--set"]
    )
    assert (config.ray.address, config.ray.storage_path) == ("auto", "/mnt/runs")
    claim = kubernetes["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,), (volume,) = pod["containers"], pod["volumes"]
        assert container["image"].endswith(f"sgg-ray:{cluster['rayVersion']}-cu128")
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": config.ray.storage_path}]
        assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}


def test_drivers_on_kubernetes_live_on_the_head_behind_a_token(kubernetes):
    cluster = kubernetes["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == 0
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
