"""What a guided training step costs, next to the same step without guidance in the same run.

    python benchmarks/guidance_step.py [--device cuda|cpu] [--cases llama-lora llama-full minilm] [--json FILE]

Models have the shape of a 1.1 B Llama and of MiniLM-L6 and random weights, which cost the same as trained ones.
The *floor* is a loop that runs the two passes and the optimiser and nothing else. Needs torch, transformers, peft.
On an H200 under four minutes; ``--tiny`` only checks that the script works.
"""

import argparse
import itertools
import json
import math
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from sgg_ray.gradients import FlatParameters, Weights, combine, gram, kernels, track
from sgg_ray.guidance import Guidance
from sgg_ray.models import graphed
from sgg_ray.models.task_model import inner_model

CLASSES = 4
STRENGTHS = {"lambda_direction": 0.1, "lambda_magnitude": 0.1, "lambda_alignment": 0.05}
VARIANTS: dict[str, dict] = {
    "finite_difference": {"hvp": "finite_difference"},
    "finite_difference, every 4": {"hvp": "finite_difference", "interval": 4},
    "first_order": {"hvp": "first_order"},
    "central_difference": {"hvp": "central_difference"},
    "exact": {"hvp": "exact"},
}
TARGETS = {  # upper limits of the ratio to a plain step
    ("llama", "finite_difference"): 2.05,
    ("llama", "finite_difference, every 4"): 1.28,
    ("llama-lora", "first_order"): 1.03,
    ("llama-full", "first_order"): 1.05,
    ("minilm cuda", "finite_difference"): 2.1,
    ("minilm cpu", "finite_difference"): 2.05,
}


class Classifier(nn.Module):
    def __init__(self, backbone: nn.Module, width: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, CLASSES)
        self.options = {} if isinstance(backbone, BertModel) else {"use_cache": False}

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.backbone(input_ids=tokens, **self.options).last_hidden_state.mean(1))


@dataclass
class Case:
    """A model on a flat buffer with its optimiser: [head | backbone]."""

    name: str
    model: nn.Module
    tokens: Tensor
    labels: Tensor
    bf16: bool
    flat: FlatParameters = field(init=False)

    def __post_init__(self):
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        named.sort(key=lambda item: not item[0].startswith("head"))
        self.flat = FlatParameters(named)
        self.cut = sum(p.numel() for name, p in named if name.startswith("head"))
        groups = [slice(0, self.cut), slice(self.cut, self.flat.size)]
        self.optimiser = torch.optim.AdamW(
            [self.flat.parameter(part) for part in groups], lr=1e-5, fused=True
        )

    def trunk(self) -> nn.Module:
        return inner_model(self.model.backbone)

    def losses(self) -> Iterator[Tensor]:
        torch.manual_seed(0)
        device = self.tokens.device.type
        with torch.autocast(device, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            logits = self.model(self.tokens)
        yield nn.functional.cross_entropy(logits.float(), self.labels)

    def backward(self) -> None:
        for loss in self.losses():
            loss.backward()

    def update(self) -> None:
        """As the training loop does it: clip, and skip on the device if something is not finite."""
        norm = torch.linalg.vector_norm(self.flat.gradient)
        self.flat.gradient.mul_((1.0 / (norm + 1e-6)).clamp(max=1.0))
        self.optimiser.found_inf = (~torch.isfinite(norm)).float()
        self.optimiser.step()

    def guidance(self, **settings) -> Guidance:
        shared = slice(self.cut, self.flat.size)
        return Guidance(self.flat, private=slice(0, self.cut), shared=shared, **STRENGTHS, **settings)

    def source(self) -> Tensor:
        source = torch.randn_like(self.flat.values)
        source[: self.cut] = 0
        return source


def build(name: str, device: str, tiny: bool) -> Case:
    torch.manual_seed(0)
    if name == "minilm":
        width, words, (rows, length) = 384, 30522, (16, 64)
        shape = {"num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        with torch.device(device):
            backbone: nn.Module = BertModel(
                BertConfig(vocab_size=words, hidden_size=width, **shape), add_pooling_layer=False
            )
    else:
        width, words, (rows, length) = (64, 512, (2, 16)) if tiny else (2048, 49152, (8, 512))
        shape = {"num_hidden_layers": 2 if tiny else 16, "intermediate_size": 4 * width}
        heads = {"num_attention_heads": 4 if tiny else 32, "num_key_value_heads": 2 if tiny else 8}
        with torch.device(device):
            backbone = LlamaModel(LlamaConfig(vocab_size=words, hidden_size=width, **shape, **heads))
            if name == "llama-lora":
                backbone = get_peft_model(
                    backbone, LoraConfig(r=16, lora_dropout=0.05, target_modules="all-linear")
                )
    model = Classifier(backbone, width).to(device).train()
    tokens = torch.randint(words, (rows, length), device=device)
    labels = torch.randint(CLASSES, (rows,), device=device)
    return Case(name, model, tokens, labels, bf16=device == "cuda")


def step_of(
    case: Case, guidance: Guidance | None, source: Tensor | None, passes: int = 1
) -> Callable[[int], None]:
    """One training step: plain, with ``passes`` bare passes, or guided."""

    def step(number: int) -> None:
        case.flat.zero_gradient()
        for _ in range(passes):
            case.backward()
        if guidance is not None:
            guidance.apply(number, case.losses, source, lambda tensor: None)
        case.update()

    return step


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_per_step(step: Callable[[int], None], count: int, device: str) -> float:
    """Wall-clock time on a GPU; on a CPU the time that this process spent, which other load does not lengthen."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    synchronise(device)
    begin = clock()
    for number in range(count):
        step(number)
    synchronise(device)
    return (clock() - begin) / count


def peak_memory(step: Callable[[int], None], device: str) -> int:
    if device != "cuda":
        return 0
    for number in range(4):
        step(number)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    for number in range(4):
        step(number)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def host_synchronisation(step: Callable[[int], None], device: str) -> str | None:
    """What in four steps waits for the GPU; None if nothing does."""
    if device != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(4):
            step(number)
    except RuntimeError:
        return traceback.format_exc(max_hvp_ratio=-2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def measure(case: Case, rounds: int, count: int, device: str, graphs: bool) -> Iterator[dict]:
    """Each variant in blocks that alternate with blocks of plain steps: what drifts, drifts for both."""
    variants = {"floor: two bare passes": None, **VARIANTS}
    if graphs:
        del variants["exact"]  # cannot be recorded
    plain = step_of(case, None, None)
    base_memory = peak_memory(plain, device)
    yield {"variant": "plain", "seconds": seconds_per_step(plain, count, device), "peak": base_memory}
    for name, settings in variants.items():
        source = None if settings is None else case.source()
        guidance = None if settings is None else case.guidance(**settings)
        step = step_of(case, guidance, source, passes=2 if settings is None else 1)
        for number in range(4):
            step(number)
        waits = host_synchronisation(step, device)
        blocks, bases = [], []
        for _ in range(rounds if name != "exact" else 2):
            bases.append(seconds_per_step(plain, count, device))
            blocks.append(seconds_per_step(step, count, device))
        ratios = [block / base for block, base in zip(blocks, bases)]
        peak = peak_memory(step, device)
        yield {
            "variant": name,
            "seconds": statistics.median(blocks),
            "plain_seconds": statistics.median(bases),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "peak": peak,
            "host_synchronisation": waits,
            "extra_buffers": (peak - base_memory) / (4 * case.flat.size),
        }
        del source, guidance, step
        if device == "cuda":
            torch.cuda.empty_cache()


def floor_of(variant: str, two_passes: float) -> float:
    if "every 4" in variant:
        return (3 + two_passes) / 4
    return {"first_order": 1.0, "finite_difference": two_passes}.get(variant, float("nan"))


def target_of(case: str, device: str, variant: str) -> float | None:
    for (kind, name), limit in TARGETS.items():
        if name == variant and (case.startswith(kind) or f"{case} {device}" == kind):
            return limit
    return None


def show(case: Case, kind: str, results: list[dict], device: str) -> None:
    plain = results[0]
    floor = next(row["ratio"] for row in results if row["variant"].startswith("floor"))
    values = sum(parameter.numel() for parameter in case.model.parameters())
    print(
        f"\n{kind} on {device}: {case.flat.size:,} trainable of {values:,} "
        f"values, {tuple(case.tokens.shape)} tokens, plain step {1e3 * plain['seconds']:.1f} ms"
        + (f", {plain['peak'] / 2**30:.1f} GiB" if plain["peak"] else "")
    )
    print(
        "| variant | ms a step | × plain (range) | floor | limit | extra memory, fp32 buffers | waits for the GPU |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in results[1:]:
        row["floor"] = floor_of(row["variant"], floor)
        limit = target_of(case.name, device, row["variant"])
        row["limit"] = limit
        memory = f"{row['extra_buffers']:.2f}" if row["peak"] else "–"
        print(
            f"| {row['variant']} | {1e3 * row['seconds']:.1f} "
            f"| {row['ratio']:.3f} ({row['ratio_low']:.3f}–{row['ratio_high']:.3f}) "
            f"| {'–' if math.isnan(row['floor']) else format(row['floor'], '.3f')} "
            f"| {'' if limit is None else limit} | {memory} "
            f"| {'no' if row['host_synchronisation'] is None else 'YES'} |"
        )


def check_kernels(device: str) -> None:
    """The fused passes against float64 arithmetic, odd lengths and alignments included. Fails loudly."""
    if device != "cuda":
        return
    if kernels.triton_kernels(torch.ones(1, device=device)) is None:
        raise SystemExit("the Triton kernels do not work on this GPU: see the warning above")
    torch.manual_seed(0)
    for length, shift in ((1, 0), (1000, 3), (2**23 + 5, 0), (2**23 + 5, 7), (2**24, 0)):
        buffers = [torch.randn(length + shift, device=device)[shift:] for _ in range(4)]
        g, r, s, theta = buffers
        exact = torch.stack([g, r, s]).double()
        torch.testing.assert_close(gram(g, r, s), exact @ exact.T, rtol=1e-5, atol=1e-6 * length)
        numbers = torch.tensor([0.5, -0.2, 0.7, 1.5, 0.9, 0.3], dtype=torch.float64, device=device)
        a, b, c, scale, keep, gain = numbers
        moved, before, old = torch.empty_like(theta), g.clone(), r.clone()
        combine(g, r, s, Weights(numbers), values=theta, moved=moved, track=True)
        v = a * before.double() + b * old.double() + c * s.double()
        torch.testing.assert_close(moved.double(), theta.double() + v, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(g.double(), scale * before.double(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            r.double(), keep * old.double() + gain * before.double(), rtol=1e-5, atol=1e-5
        )
        combine(g.copy_(before), r.copy_(old), None, Weights(numbers))
        torch.testing.assert_close(g.double(), v - c * s.double(), rtol=1e-5, atol=1e-5)
        g.fill_(torch.nan)
        track(g, r, torch.tensor([0.9, 0.0], dtype=torch.float64, device=device))
        torch.testing.assert_close(r, old, rtol=0, atol=0)
    print("kernels: equal to float64 arithmetic")


def bandwidth(device: str) -> float:
    """Bytes a second that a copy moves, reads and writes counted."""
    source = torch.randn(2**28 if device == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    times = [seconds_per_step(lambda _: target.copy_(source), 5, device) for _ in range(5)]
    return 2 * source.nbytes / min(times)


def tune_passes(length: int = 1 << 30) -> list[dict]:
    """Times of the two fused passes on 2^30 values, for some block shapes."""
    from sgg_ray.gradients import cuda

    g, r, s, theta, moved = (torch.randn(length, device="cuda") for _ in range(5))
    weights = Weights(torch.tensor([1e-3, 1e-3, 1e-3, 1.0, 0.9, 0.1], dtype=torch.float64, device="cuda"))
    passes: dict[str, tuple[int, Callable[[int], object]]] = {
        "gram": (3, lambda _: gram(g, r, s)),
        "combine": (7, lambda _: combine(g, r, s, weights, values=theta, moved=moved, track=True)),
        "scale": (2, lambda _: g.mul_(weights.values[3])),
    }
    rows = []
    print("\n| block | warps | pass | ms | GB/s |\n|---|---|---|---|---|")
    for block, warps in itertools.product((512, 1024, 2048, 4096), (4, 8)):
        cuda.BLOCK, cuda.WARPS = block, warps
        for name, (buffers, run) in passes.items():
            run(0)
            seconds = min(seconds_per_step(run, 5, "cuda") for _ in range(3))
            rate = buffers * 4 * length / seconds / 1e9
            rows.append({"block": block, "warps": warps, "pass": name, "seconds": seconds, "rate": rate})
            print(f"| {block} | {warps} | {name} | {1e3 * seconds:.2f} | {rate:.0f} |")
    cuda.BLOCK, cuda.WARPS = 1024, 4
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", default=None, choices=["llama-lora", "llama-full", "minilm"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="a block, a multiple of 4")
    parser.add_argument(
        "--graphs-only", action="store_true", help="leave out what is launched kernel by kernel"
    )
    parser.add_argument("--tune", action="store_true", help="try other block shapes of the passes")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("guidance_step.json"))
    options = parser.parse_args()
    device = options.device
    torch.set_float32_matmul_precision("highest")
    check_kernels(device)
    report = {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "copy_bandwidth": bandwidth(device),
        "cases": {},
    }
    if options.tune and device == "cuda":
        report["tune"] = tune_passes()
    print(f"{report['device']}, torch {report['torch']}, copy {report['copy_bandwidth'] / 1e9:.0f} GB/s")
    for name in options.cases or (["llama-lora", "llama-full", "minilm"] if device == "cuda" else ["minilm"]):
        case = build(name, device, options.tiny)
        # enough steps a block for the clock, where a step is short
        count = options.steps * (5 if name == "minilm" and device == "cuda" else 1)
        for graphs in (False, True) if device == "cuda" else (False,):
            if options.graphs_only and not graphs:
                continue
            kind = f"{name}, CUDA graphs" if graphs else name
            with graphed(case.trunk(), graphs):
                results = list(measure(case, options.rounds, count, device, graphs))
            show(case, kind, results, device)
            report["cases"][kind] = {"values": case.flat.size, "variants": results}
        del case
        if device == "cuda":
            torch.cuda.empty_cache()
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    waiting = [
        row
        for case in report["cases"].values()
        for row in case["variants"]
        if row.get("host_synchronisation")
    ]
    if waiting:
        raise SystemExit(f"{waiting[0]['variant']} waits for the GPU:\n{waiting[0]['host_synchronisation']}")


if __name__ == "__main__":
    main()
