"""The run's record in MLflow. The only importer of mlflow."""

from sgg_ray.tracking.datasets import TrackedDataset
from sgg_ray.tracking.event_files import EventFiles, check_event_files
from sgg_ray.tracking.logged_model import TrainedModel
from sgg_ray.tracking.store import sqlite_file
from sgg_ray.tracking.store_check import check_database, check_store
from sgg_ray.tracking.traced_answers import TracedAnswers
from sgg_ray.tracking.tracker import Tracker

__all__ = [
    "EventFiles",
    "TracedAnswers",
    "TrackedDataset",
    "Tracker",
    "TrainedModel",
    "check_database",
    "check_event_files",
    "check_store",
    "sqlite_file",
]
