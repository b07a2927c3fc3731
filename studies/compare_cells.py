"""Cells of a comparison in plain processes, without Ray: for a GPU that is there for a few minutes only.

    python studies/compare_cells.py pipelines/configs/compare.yaml --seconds 210 --processes 14

Cells go through the functions of ``sgg compare`` and are stored in a run folder under the same names: its command,
given afterwards with the same settings, reports them and runs what is missing. Seed by seed, so that what is there at
the end has all strategies. Processes take turns at the GPUs of the machine.
"""

import argparse
import multiprocessing
import os
import time
import traceback
from queue import Empty

import torch

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, load_config, strategy_configs
from sgg_ray.orchestration.compare.cell_record import CellRecord
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner
from sgg_ray.orchestration.compare.comparison_plan import prepare_comparison
from sgg_ray.orchestration.listener import NullListener


def work(number: int, gpus: int, queue, config: Config, deadline: float) -> None:
    """Train some strategies of one split after another. A strategy that fails is left out from then on."""
    torch.set_num_threads(1)
    if gpus:  # before this process looks at any: libraries use every GPU that they see
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    device = torch.device("cuda" if gpus else "cpu")
    bench = CellRunner(config, device)
    record = CellRecord(RunFolder(config.ray.storage_path, config.name), config, bench.strategies)
    broken = set()
    while time.time() < deadline:
        try:
            split, names = queue.get(timeout=1)
        except Empty:
            return
        if split not in record.recall_scores([split]):
            record.keep_scores(split, bench.score(split))
        scores = record.recall_scores([split])[split]
        for name in names:
            key = CellKey(name, split)
            record.recall([key])
            if time.time() > deadline or name in broken or key in record.found:
                continue
            try:
                result = bench.train(key, scores)
            except torch.OutOfMemoryError as error:
                print(f"{name} {split}: {str(error)[:80]}", flush=True)
                torch.cuda.empty_cache()
                continue
            except Exception:
                traceback.print_exc()
                broken.add(name)
                continue
            record.keep(key, result)
            print(f"{name} {split} {100 * result['accuracy']:.1f} %  {result['seconds']:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--name", help="of the run; default: as sgg compare names it")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--together", type=int, default=8, help="strategies of a split that one process trains"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of NumPy too, in every process
    deadline = time.time() + arguments.seconds
    config = load_config(arguments.config, arguments.overrides)
    config = config.model_copy(update={"name": arguments.name or f"{config.name}-compare"})
    plan = prepare_comparison(config, NullListener())
    run = RunFolder(config.ray.storage_path, config.name)
    run.begin(config)
    run.update(command="compare", content=plan.content)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    names = list(strategy_configs(config))
    for split in plan.splits:
        for start in range(0, len(names), arguments.together):
            queue.put((split, names[start : start + arguments.together]))
    gpus = torch.cuda.device_count()
    team = [
        context.Process(target=work, args=(number, gpus, queue, config, deadline), daemon=True)
        for number in range(arguments.processes)
    ]
    for one in team:
        one.start()
    for one in team:
        one.join()
    queue.cancel_join_thread()
    record = CellRecord(run, config, plan.strategies)
    record.recall(plan.keys)
    print(f"{len(record.found)} of {len(plan.keys)} cells in {run.path}")


if __name__ == "__main__":
    main()
