"""The run folder, tables, the model card and exported models."""

from sgg_ray.artifacts.export import Form, default_form, export_model
from sgg_ray.artifacts.finished_run import FinishedRun, open_run
from sgg_ray.artifacts.model_card import write_model_card
from sgg_ray.artifacts.run_folder import RunFolder
from sgg_ray.artifacts.starter import example_tasks, write_example, write_from_files
from sgg_ray.artifacts.storage import StorageFolder, is_uri, local_folder, location, storage_folder
from sgg_ray.artifacts.table_writer import Writer, check_output, table_writer

__all__ = [
    "FinishedRun",
    "Form",
    "RunFolder",
    "StorageFolder",
    "Writer",
    "check_output",
    "default_form",
    "example_tasks",
    "export_model",
    "is_uri",
    "local_folder",
    "location",
    "open_run",
    "storage_folder",
    "table_writer",
    "write_example",
    "write_from_files",
    "write_model_card",
]
