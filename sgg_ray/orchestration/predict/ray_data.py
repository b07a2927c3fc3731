"""Predict with several Ray workers: the driver's file goes through Ray Data in small blocks, in order."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from sgg_ray.artifacts import FinishedRun
from sgg_ray.orchestration.runtime.capacity import check_room
from sgg_ray.orchestration.runtime.cluster import connected
from sgg_ray.prediction import Answering, Predictor, Reading
from sgg_ray.tasks import RowStream

BLOCK = 1 << 18  # bytes; small, so that a file of some thousand rows keeps every worker busy


class _Rows(Datasource):
    """A file as one stream of blocks. One reader is enough: reading takes next to no time beside predicting."""

    def __init__(self, stream: RowStream, rows: int):
        self.stream, self.rows = stream, rows

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit=None, data_context=None) -> list[ReadTask]:
        stream, rows = self.stream, self.rows
        metadata = BlockMetadata(num_rows=stream.rows, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda: stream.batches(rows), metadata, schema=stream.schema)]


class _Worker:
    """A model in a process of its own."""

    def __init__(self, folder: str, labelling: Reading | Answering, device: str):
        self.predictor, self.labelling = Predictor(folder, device), labelling

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.labelling.predict(self.predictor, table)


@contextmanager
def predict_with_ray_data(
    trained: FinishedRun, labelling: Reading | Answering, stream: RowStream, workers: int, rows: int
) -> Iterator[Iterator[pa.Table]]:
    """For a ``with`` block: tables with predictions, in the order of the file, of ``rows`` at a time.

    They are computed by ``workers`` processes. Each gets the CPUs and GPUs that ``ray.cpus_per_worker`` and
    ``ray.gpus_per_worker`` of the run say.

    Raises:
        SggError: no cluster answers, or it is too small.
    """
    asked = trained.config.ray
    with connected(asked):
        check_room("--workers", workers, asked.cpus_per_worker, asked.gpus_per_worker)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK
        for name in ("ray.data", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        device = "cuda" if asked.gpus_per_worker > 0 else "cpu"
        # The reader asks for no CPU of its own: the workers may have taken all of them.
        blocks = ray.data.read_datasource(_Rows(stream, rows), override_num_blocks=1, num_cpus=0)
        predicted = blocks.map_batches(
            _Worker,
            fn_constructor_args=(str(trained.model), labelling, device),
            batch_format="pyarrow",
            batch_size=rows,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=asked.cpus_per_worker,
            num_gpus=asked.gpus_per_worker,
        )
        yield iter(predicted.iter_batches(batch_format="pyarrow", batch_size=rows))
