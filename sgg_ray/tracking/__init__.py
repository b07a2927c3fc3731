"""The run's record in MLflow. The only importer of mlflow."""

from sgg_ray.tracking.store_check import check_database, check_store
from sgg_ray.tracking.tracker import Tracker

__all__ = ["Tracker", "check_database", "check_store"]
