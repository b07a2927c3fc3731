"""Placement groups that a process of Ray Train has left when it died: nobody else gives their CPUs and GPUs back."""

import ray
from ray._raylet import PlacementGroupID  # pyright: ignore[reportAttributeAccessIssue]
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group


def own_placement_groups() -> set[str]:
    """Ids of this driver's placement groups that hold resources, or wait for them."""
    job = ray.get_runtime_context().get_job_id()  # the end of each id
    groups = placement_group_table().items()
    return {name for name, group in groups if name.endswith(job) and group["state"] != "REMOVED"}


def remove_all(groups: set[str]) -> None:
    """Give back what they hold.

    Ray Train 2.60 has an actor for that, which asks Ray's dashboard whether the controller is alive. A local Ray has
    no dashboard.
    """
    for group in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group)))
