"""What data-parallel training costs beside the same step on one GPU, and whether it trains the same model.

    python benchmarks/data_parallel.py [--device cuda|cpu] [--world N] [--cases llama-lora llama-full] [--json FILE]

Weak scaling: every GPU has the batch of ``guidance_step.py``, one process a GPU. Blocks of steps on one GPU alone (the
others are idle) and on all take turns; efficiency is t(1 GPU)/t(N GPUs) of neighbouring blocks, the slowest process
counting. *At the end* sums the whole gradient after each backward pass, *beside* in stretches during it, as the
training loop does. The floor of a step is its time on one GPU; that of a sum what a copy between two GPUs takes.

Then two trainings of a small encoder through the training loop itself, in fp32 at the same global batch, on one GPU
and on all, have to end with the same parameters.

On two H200 about two minutes; ``--device cpu --tiny`` only checks that the script works.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from guidance_step import Case, build, host_synchronisation, synchronise
from torch import Tensor, multiprocessing

from sgg_ray.gradients import FlatParameters
from sgg_ray.models import graphed
from sgg_ray.training import Distributed, SingleProcess, passes, run_training
from sgg_ray.training.reduction import STRETCH, GradientSum

WAIT = timedelta(minutes=3)  # for another process; then something is wrong
SAME = 1e-3  # largest |θ_N − θ_1|, as a share of the largest |θ_1 − θ_0|, that counts as rounding
EQUALITY_STEPS = 20
# Multicast over NVLink can put GPUs that others share out of service.
NO_MULTICAST = {
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
}

Step = Callable[[int], None]


class Whole:
    """The sum of the whole buffer after the pass, in fp32 or bf16."""

    def __init__(self, bf16: bool = False):
        self.bf16 = bf16

    def arm(self) -> None:
        """Nothing is sent early."""

    def all_reduce(self, gradient: Tensor) -> None:
        if not self.bf16:
            dist.all_reduce(gradient)
            return
        half = gradient.bfloat16()
        dist.all_reduce(half)
        gradient.copy_(half)


class Nothing(Whole):
    """One GPU."""

    def all_reduce(self, gradient: Tensor) -> None:
        """There is one worker."""


@dataclass
class Variants:
    """The steps of one case: kinds of step by ways to sum."""

    case: Case
    world: int
    tiny: bool
    sums: dict[str, Any] = field(init=False)

    def __post_init__(self):
        case = self.case
        stretch = case.flat.size // 8 if self.tiny else STRETCH
        backbone = slice(case.cut, case.flat.size)
        beside = GradientSum(case.flat, backbone, Distributed(), stretch)
        self.sums = {"alone": Nothing(), "beside": beside}
        if beside.stretches:  # else both are the same
            self.sums |= {"at the end": Whole(), "at the end, bf16": Whole(bf16=True)}
        self.guidance = case.guidance(hvp="finite_difference")
        self.source = case.source()

    def each(self) -> Iterator[tuple[str, str]]:
        for way in self.sums:
            for kind in ("plain", "guided", "guided, sources"):
                if way in ("alone", "beside") or kind == "guided" or (way, kind) == ("at the end", "plain"):
                    yield kind, way

    def losses(self, way: str) -> Iterator[Tensor]:
        workers = 1 if way == "alone" else self.world
        for loss in self.case.losses():
            self.sums[way].arm()
            yield loss / workers

    def gradient(self, way: str) -> None:
        """One pass and its sum, in the flat buffer."""
        self.case.flat.zero_gradient()
        for loss in self.losses(way):
            loss.backward()
        self.sums[way].all_reduce(self.case.flat.gradient)

    def step(self, kind: str, way: str) -> Step:
        """The training loop's step; with sources it has a third pass, over a batch of the same size."""

        def run(number: int) -> None:
            if "sources" in kind:
                self.gradient(way)
                self.source.copy_(self.case.flat.gradient)
            self.gradient(way)
            if kind != "plain":
                self.guidance.world_size = 1 if way == "alone" else self.world
                self.guidance.apply(number, lambda: self.losses(way), self.source, self.sums[way].all_reduce)
            self.case.update()

        return run


def seconds_of(run: Step, count: int, device: str) -> float:
    synchronise(device)
    begin = time.perf_counter()
    for number in range(count):
        run(number)
    synchronise(device)
    return (time.perf_counter() - begin) / count


def slowest(seconds: float) -> float:
    """Over the processes; through the host, as GPUs may be at rest."""
    everyone = [0.0] * dist.get_world_size()
    dist.all_gather_object(everyone, seconds)
    return max(everyone)


def measure(variants: Variants, repeats: int, count: int, device: str, barrier) -> list[dict]:
    rank = dist.get_rank()
    times: dict[tuple[str, str], list[float]] = {variant: [] for variant in variants.each()}
    for repeat in range(-1, repeats):  # the first is to warm up
        for variant in times:
            run = variants.step(*variant)
            barrier.wait(WAIT.total_seconds())
            found = 0.0
            if rank == 0 or variant[1] != "alone":
                found = seconds_of(run, count if repeat >= 0 else 2, device)
            barrier.wait(WAIT.total_seconds())  # those that rest do so without their GPU
            found = slowest(found)
            if repeat >= 0:
                times[variant].append(found)
    rows = []
    for (kind, way), found in times.items():
        shares = [one / many for one, many in zip(times[kind, "alone"], found)]
        rows.append(
            {
                "step": kind,
                "sum": way,
                "seconds": statistics.median(found),
                "efficiency": statistics.median(shares),
                "low": min(shares),
                "high": max(shares),
            }
        )
    return rows


def bare_sums(variants: Variants, device: str, barrier) -> dict[str, float]:
    """Seconds of one sum of the gradient with nothing beside it."""
    found = {}
    for way, total in variants.sums.items():
        if way == "alone":
            continue
        times = []
        for _ in range(6):
            barrier.wait(WAIT.total_seconds())
            times.append(
                slowest(seconds_of(lambda _, t=total: t.all_reduce(variants.case.flat.gradient), 3, device))
            )
            variants.case.flat.gradient.zero_()
        found["in stretches" if way == "beside" and total.stretches else way] = statistics.median(times[1:])
    return found


def copy_rate(device: str) -> float | None:
    """Bytes a second of a copy from the first GPU to the second."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        return None
    here = torch.ones(1 << 28, device="cuda:0")
    there = torch.empty_like(here, device="cuda:1")
    rates = []
    for _ in range(6):
        torch.cuda.synchronize("cuda:0")
        torch.cuda.synchronize("cuda:1")
        begin = time.perf_counter()
        there.copy_(here)
        torch.cuda.synchronize("cuda:0")
        torch.cuda.synchronize("cuda:1")
        rates.append(here.nbytes / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def same_bits(flat: FlatParameters) -> bool:
    """Whether all processes hold the parameters of the first."""
    first = flat.values.clone()
    dist.broadcast(first, 0)
    equal = torch.tensor(float(torch.equal(first, flat.values)), device=flat.device)
    dist.all_reduce(equal, dist.ReduceOp.MIN)
    return bool(equal)


def check(variants: Variants, device: str) -> dict[str, Any]:
    """Before anything runs alone: steps keep all processes equal, and both ways to sum give the same gradient."""
    run = variants.step("guided, sources", "beside")
    for number in range(3):
        run(number)
    found: dict[str, Any] = {"same_bits": same_bits(variants.case.flat)}
    if "at the end" in variants.sums:
        variants.gradient("at the end")
        expected = variants.case.flat.gradient.clone()
        variants.gradient("beside")
        difference = (variants.case.flat.gradient - expected).norm() / expected.norm()
        found["beside_against_at_the_end"] = float(difference)
    found["waits_for_gpu"] = host_synchronisation(run, device)
    return found


def scaling(options: argparse.Namespace, barrier) -> dict[str, Any]:
    """The case by case report; the same in every process."""
    rank, world = dist.get_rank(), dist.get_world_size()
    report: dict[str, Any] = {}
    for name in options.cases:
        case = build(name, options.device, options.tiny)
        torch.manual_seed(1 + rank)
        case.tokens = torch.randint_like(case.tokens, int(case.tokens.max()) + 1)
        torch.manual_seed(0)
        variants = Variants(case, world, options.tiny)
        # As in the training loop: CUDA graphs where nothing is sent in the middle of a pass.
        with graphed(case.trunk(), not variants.sums["beside"].stretches):
            checks = check(variants, options.device)
            rows = measure(variants, options.repeats, options.steps, options.device, barrier)
        report[name] = {
            "values": case.flat.size,
            "stretches": len(variants.sums["beside"].stretches),
            "checks": checks,
            "steps": rows,
            "sums": bare_sums(variants, options.device, barrier),
        }
        del case, variants
        if options.device == "cuda":
            torch.cuda.empty_cache()
    return report


def toy_settings(folder: Path) -> dict[str, Any]:
    """A small encoder without dropout, a target and two sources, written into ``folder``."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import toy

    encoder = toy.save_encoder(folder / "encoder")
    shape = json.loads((encoder / "config.json").read_text())
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(shape | off))
    target = toy.write_rows(folder / "target.jsonl", toy.sentences(400, seed=1))
    clean = toy.write_rows(folder / "clean.jsonl", toy.sentences(400, seed=2))
    return {
        "name": "toy",
        "model": {"path": str(encoder)},
        "target": {"path": str(target), "labels": ["negative", "positive"], "shots": 32},
        "sources": [
            {"name": "clean", "path": str(clean)},
            {"name": "flipped", "path": str(clean), "flip_labels": 1.0},
        ],
        "train": {
            "max_steps": EQUALITY_STEPS,
            "batch_size": 24,
            "source_batch_size": 20,
            "learning_rate": 1e-4,
            "max_length": 24,
            "logging_steps": 5,
            "calibration_folds": 0,
        },
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        "ray": {"storage_path": str(folder / "runs")},
    }


def equality(settings: dict[str, Any], device: str, barrier) -> dict[str, float]:
    """The same training on one GPU and on all; how far apart the final parameters are."""
    from sgg_ray.config import Config
    from sgg_ray.models import build_model
    from sgg_ray.tasks import load_tasks

    config = Config.model_validate(settings)
    target, sources = load_tasks(config)
    passes.STRETCH = 2000  # so that this small model's gradient is sent in stretches too
    weights = {"clean": 0.7, "flipped": 0.3}

    def train(communicator) -> dict[str, Tensor]:
        outcome = run_training(config, target, sources, weights, torch.device(device), communicator)
        return {name: value.detach().cpu() for name, value in outcome.model.named_parameters()}

    alone = train(SingleProcess()) if dist.get_rank() == 0 else {}
    barrier.wait(WAIT.total_seconds())
    together = train(Distributed())
    if not alone:
        return {}
    before = dict(build_model(config, [target, *sources]).named_parameters())
    far = max(float((together[name] - alone[name]).abs().max()) for name in alone)
    moved = max(float((alone[name] - before[name].detach()).abs().max()) for name in alone)
    return {"difference": far, "change": moved, "share": far / moved}


def process(rank: int, options: argparse.Namespace, folder: Path, settings: dict[str, Any], barrier) -> None:
    """One of the processes; the first one leaves the report."""
    torch.set_float32_matmul_precision("highest")
    if options.device == "cuda":
        torch.cuda.set_device(rank)
        dist.init_process_group(
            "nccl",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=options.world,
            timeout=WAIT,
            device_id=torch.device("cuda", rank),
        )
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=options.world, timeout=WAIT
        )
    try:
        report = {
            "equality": equality(settings, options.device, barrier),
            "cases": scaling(options, barrier),
        }
        if rank == 0:
            report["copy_rate"] = copy_rate(options.device)
            (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
        barrier.wait(WAIT.total_seconds())
    finally:
        dist.destroy_process_group()


def show(report: dict[str, Any], world: int) -> None:
    same = report["equality"]
    verdict = "equal" if same["share"] <= SAME else "NOT EQUAL"
    print(
        f"\n{EQUALITY_STEPS} steps on 1 and on {world}: {verdict}; largest difference of a parameter "
        f"{same['difference']:.1e}, largest change in the training {same['change']:.1e}, ratio {same['share']:.1e} "
        f"(at most {SAME:g})"
    )
    if report["copy_rate"]:
        print(f"copy from one GPU to the other: {report['copy_rate'] / 1e9:.0f} GB/s")
    for name, found in report["cases"].items():
        print(f"\n{name}: {found['values']:,} values, {found['stretches']} stretches, {found['checks']}")
        volume = 2 * (world - 1) / world * 4 * found["values"]
        for way, seconds in found["sums"].items():
            floor = f", floor {1e3 * volume / report['copy_rate']:.1f} ms" if report["copy_rate"] else ""
            print(f"one sum, {way}: {1e3 * seconds:.2f} ms, {volume / seconds / 1e9:.0f} GB/s of fp32{floor}")
        print(f"| step | sum | ms a step on {world} | efficiency (range) |\n|---|---|---|---|")
        for row in found["steps"]:
            print(
                f"| {row['step']} | {row['sum']} | {1e3 * row['seconds']:.1f} "
                f"| {row['efficiency']:.3f} ({row['low']:.3f}–{row['high']:.3f}) |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--world", type=int, default=None, help="processes; default: all GPUs")
    parser.add_argument("--cases", nargs="+", default=["llama-full", "llama-lora"])
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="a block")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("data_parallel.json"))
    options = parser.parse_args()
    options.world = options.world or max(2, torch.cuda.device_count())
    os.environ.update(NO_MULTICAST)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = toy_settings(folder)
        barrier = multiprocessing.get_context("spawn").Barrier(options.world)
        multiprocessing.spawn(process, (options, folder, settings, barrier), nprocs=options.world)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report |= {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
        "torch": torch.__version__,
        "world": options.world,
        "seconds": time.perf_counter() - begin,
    }
    print(f"{options.world} × {report['device']}, torch {report['torch']}, {report['seconds']:.0f} s")
    show(report, options.world)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    checks = [case["checks"] for case in report["cases"].values()]
    if report["equality"]["share"] > SAME or not all(found["same_bits"] for found in checks):
        raise SystemExit("the processes do not train the same model")
    for waits in filter(None, (found["waits_for_gpu"] for found in checks)):
        raise SystemExit(f"a step waits for the GPU:\n{waits}")


if __name__ == "__main__":
    main()
