"""The run folder, tables and the model card."""

from sgg_ray.artifacts.finished_run import FinishedRun, open_run
from sgg_ray.artifacts.model_card import write_model_card
from sgg_ray.artifacts.run_folder import RunFolder
from sgg_ray.artifacts.table_writer import Writer, check_output, table_writer

__all__ = [
    "FinishedRun",
    "RunFolder",
    "Writer",
    "check_output",
    "open_run",
    "table_writer",
    "write_model_card",
]
