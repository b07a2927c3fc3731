"""The run folder, tables, the model card and exported models.

What needs PyTorch is loaded when it is used: `sgg init` writes its files without it.
"""

from typing import TYPE_CHECKING

from sgg_ray.artifacts.files import as_json
from sgg_ray.artifacts.formulas import without_formulas
from sgg_ray.artifacts.model_card import write_model_card
from sgg_ray.artifacts.run_folder import RunFolder
from sgg_ray.artifacts.run_json import git_state
from sgg_ray.artifacts.run_list import RunSummary, list_runs, remove_runs
from sgg_ray.artifacts.run_storage import StorageFolder, is_uri, local_folder, location, storage_folder
from sgg_ray.artifacts.starter import (
    HUB_MODEL,
    example_tasks,
    starter_model,
    write_example,
    write_from_files,
)
from sgg_ray.artifacts.table_writer import Writer, check_output, table_writer
from sgg_ray.lazy import loads_when_used

if TYPE_CHECKING:
    from sgg_ray.artifacts.export import default_form, export_model
    from sgg_ray.artifacts.export_loading import Form
    from sgg_ray.artifacts.finished_run import FinishedRun, open_run
    from sgg_ray.artifacts.hub_push import check_push, push
    from sgg_ray.artifacts.lm_eval_task import write_lm_eval_task

__all__ = [
    "HUB_MODEL",
    "FinishedRun",
    "Form",
    "RunFolder",
    "RunSummary",
    "StorageFolder",
    "Writer",
    "as_json",
    "check_output",
    "check_push",
    "default_form",
    "example_tasks",
    "export_model",
    "git_state",
    "is_uri",
    "list_runs",
    "local_folder",
    "location",
    "open_run",
    "push",
    "remove_runs",
    "starter_model",
    "storage_folder",
    "table_writer",
    "without_formulas",
    "write_example",
    "write_from_files",
    "write_lm_eval_task",
    "write_model_card",
]

__getattr__ = loads_when_used(
    __name__,
    {
        "FinishedRun": "sgg_ray.artifacts.finished_run",
        "Form": "sgg_ray.artifacts.export_loading",
        "check_push": "sgg_ray.artifacts.hub_push",
        "default_form": "sgg_ray.artifacts.export",
        "export_model": "sgg_ray.artifacts.export",
        "open_run": "sgg_ray.artifacts.finished_run",
        "push": "sgg_ray.artifacts.hub_push",
        "write_lm_eval_task": "sgg_ray.artifacts.lm_eval_task",
    },
)
