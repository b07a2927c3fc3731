"""One process of language_models.py: trains the cells of its jobs one after the other and says what it saw."""

import json
import lzma
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from language_model_lean import lean
from language_model_variants import ADAPTER, STEPS, Cell, Sections

import sgg_ray.models.batch
from sgg_ray.alignment import Score, mixture_weights
from sgg_ray.config import Config, StrategyConfig, apply_strategy
from sgg_ray.models import LanguageModel, PretrainedModel, build_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import Task
from sgg_ray.training import Hooks, Trainer, run_training
from sgg_ray.training.passes import TARGET

QUESTIONS = {"news": "Topic", "science": "Topic", "recreation": "Topic", "messages": "Kind", "mail": "Kind"}
FITTED = 0.3  # training loss below which gradients are not compared any more
SHARPNESS_RADIUS = 0.5  # of the step along g at which the loss is looked at again
PAD_TO_MULTIPLE = 32  # few shapes of batches: recording their passes takes longer than 60 steps are worth
ASK_SCORES = ("relu", "evidence")
BANDITS = ("exp3", "ucb1")
PROBED = {"lora", "sgg-target", "target-terms-off", "sgg-terms", "sgg-terms-off", "multitask"}
SENTIMENT = {"films", "reviews", "tweets", "tweets-3way", "drugs", "products"}
MOST_KEPT = 100  # tasks whose tokens a process keeps
Packs = dict[tuple[str, int, int], Cell]
ONE = "only "  # a strategy with one source


def base(model: str, seed: int) -> Config:
    """What all variants have in common."""
    return Config.model_validate(
        {
            "name": "language-models",
            "seed": seed,
            "model": {"path": model, "adapter": ADAPTER, "precision": "bfloat16", "chat": False},
            "target": {"path": "-", "shots": 1},
            "sources": [{"name": "any", "path": "-"}],
            "alignment": {"rows": 64},
            "train": {
                "max_steps": STEPS,
                "batch_size": 16,
                "source_batch_size": 16,
                "max_length": 64,
                "logging_steps": 4,
                "eval_batch_size": 64,
            },
        }
    )


def configured(config: Config, sections: Sections) -> Config:
    """The configuration with a variant's keys in place of its own."""
    return apply_strategy(config, StrategyConfig.model_validate({"name": "variant", **sections}))


def asked(task: Task) -> Task:
    """The task with a prompt of its own."""
    return replace(task, prompt=f"Text: {{text}}\n{QUESTIONS.get(task.name, 'Sentiment')}:")


def remembering(tokenise: Callable[..., Any], kept: dict[Any, Any]) -> Callable[..., Any]:
    """``LanguageModel.tokenise`` that writes the prompts of the same rows once, however many models ask."""

    def known(model: LanguageModel, task: Task, rows: Any) -> Any:
        if model.shots:  # they stand before every text
            return tokenise(model, task, rows)
        key = id(rows), task.head, task.prompt, model.max_length, model.example_length
        if key not in kept:
            kept[key] = (
                rows,
                tokenise(model, task, rows),
            )  # with the rows: an id is one's own only while one lives
        return kept[key][1]

    return known


def packed(paths: list[Path]) -> Packs:
    """What ``strategies.py pack`` wrote, by task, shots and seed."""
    found: Packs = {}
    for path in paths:
        with lzma.open(path) as file:
            found |= {(job["task"], job["shots"], job["seed"]): job for job in pickle.load(file)}
    return found


def rows_of(packs: Packs, task: str, shots: int, seed: int, pool: str) -> tuple[Task, list[Task]]:
    """Target and sources of a split.

    Sources are of other corpora than the target: the poisoned pool of a seed is that of any number of shots. The
    useless pool is what of the clean one is not about sentiment, for targets that are, and the other way round.
    """
    pools = packs[task, 8 if pool == "poisoned" else shots, seed]["pools"]
    sources = pools["clean" if pool == "useless" else pool]
    if pool == "useless":
        sources = [one for one in sources if (one.name in SENTIMENT) != (task in SENTIMENT)]
    return asked(packs[task, shots, seed]["target"]), [asked(source) for source in sources]


class Watch:
    """Looks at a training from outside: where it began, and how flat the loss of the shots is where it ended.

    Args:
        sources: the gradient of their uniform mixture is compared with the target's now and then.
    """

    def __init__(self, sources: list[Task]) -> None:
        self.trainer: Trainer | None = None
        self.sources = sources
        self.events: list[dict[str, float]] = []

    def begin(self, trainer: Trainer):
        self.trainer, self.start = trainer, trainer.flat.values.clone()
        lean(trainer.model.trunk())
        if self.sources:
            model, diagnostics = trainer.model, trainer.diagnostics
            share = 1 / len(self.sources)
            diagnostics.probe = {one.name: (model.tokenise(one, one.train), share) for one in self.sources}
            diagnostics.probed = torch.zeros_like(trainer.flat.values)
        return trainer.phases

    def found(self) -> Cell:
        """Distance, sharpness, and the gradients step by step."""
        trainer, events = self.trainer, [event for event in self.events if "loss" in event]
        if trainer is None or not events:
            return {}
        flat = trainer.flat
        at, beyond = self.losses(trainer)
        ratios = [event["hvp_ratio"] for event in events if "hvp_ratio" in event]
        return {
            **unfitted(events),
            **aligned(events),
            "distance": flat.norm(flat.values - self.start).item(),
            "shot_loss": at,
            "sharpness": beyond - at,
            "hvp_ratio": float(np.median(ratios)) if ratios else None,
            "curve": [
                [round(event[name], 4) if event.get(name) is not None else None for name in CURVE]
                for event in events
            ],
        }

    def losses(self, trainer: Trainer) -> tuple[float, float]:
        """The loss of a batch of shots where the training has ended, and a step along its gradient."""
        flat, passes = trainer.flat, trainer.passes
        trainer.model.eval()
        pairs = passes.target_batch(0)
        at = passes.backward(pairs, len(pairs), 0, TARGET).item()
        step = flat.gradient * (SHARPNESS_RADIUS / flat.norm(flat.gradient).clamp(min=1e-12))
        flat.values.add_(step)
        beyond = passes.backward(pairs, len(pairs), 0, TARGET).item()
        flat.values.sub_(step)
        return at, beyond


CURVE = ("loss", "gradient_norm", "step_cosine", "source_cosine")


def aligned(events: list[dict[str, float]]) -> Cell:
    """Mean cosine of the target's gradient and the uniform mixture's, without that of the first step, where all
    strategies have the same: over the training, and over what of it came before the shots were fitted."""
    later = [event for event in events if event.get("source_cosine") is not None and event["step"] > 0]
    if not later:
        return {}
    before = [event["source_cosine"] for event in later if event["loss"] > FITTED]
    return {
        "alignment": float(np.mean([event["source_cosine"] for event in later])),
        "alignment unfitted": float(np.mean(before)) if before else None,
    }


def unfitted(events: list[dict[str, float]]) -> Cell:
    """How steady the gradients were before the shots were fitted."""
    norms = np.array([event["gradient_norm"] for event in events if event["loss"] > FITTED])
    cosines = [
        event["step_cosine"]
        for event in events
        if event["loss"] > FITTED and event.get("step_cosine") is not None
    ]
    return {
        "step_cosine": float(np.mean(cosines)) if cosines else None,
        "unfitted_steps": len(norms),
        "norm_variation": float(norms.std() / norms.mean()) if len(norms) > 2 else None,
        "last_loss": float(np.mean([event["loss"] for event in events[-4:]])),
    }


class Bench:
    """What one process keeps between jobs.

    Args:
        model: folder of the model.
        packs: splits, by :func:`packed`.
        scored: scores of pools by their place, which all processes share.
    """

    def __init__(self, model: str, packs: Packs, scored: MutableMapping[str, dict[str, Score | None]]):
        self.packs, self.scored = packs, scored
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        sgg_ray.models.batch.PAD_TO_MULTIPLE = PAD_TO_MULTIPLE
        self.kept: dict[Any, Any] = {}
        LanguageModel.tokenise = remembering(LanguageModel.tokenise, self.kept)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model
        self.foundations: dict[bool, PretrainedModel] = {}

    def foundation(self, config: Config) -> PretrainedModel:
        adapted = config.model.adapter is not None
        if adapted not in self.foundations:
            self.foundations[adapted] = PretrainedModel(config.model, self.device)
        return self.foundations[adapted]

    def run(self, job: Cell) -> Iterator[Cell]:
        """The cells of a job, one after the other."""
        if len(self.kept) > MOST_KEPT:
            self.kept.clear()
        config = base(self.model, job["place"]["seed"])
        target, sources = rows_of(self.packs, **job["place"])
        scores: dict[str, Score | None] = {}
        place = json.dumps(job["place"])
        own = [configured(config, sections) for sections in job["variants"].values()]
        asks = [one.alignment.weighting for one in own if one.guidance.lambda_source > 0]
        if place in self.scored:
            scores = self.scored[place]
        elif not own or not set(asks).isdisjoint(ASK_SCORES):
            started = time.perf_counter()
            self.scored[place] = scores = self.scores(config, target, sources)
            yield {**job["place"], "scores": told(scores), "seconds": time.perf_counter() - started}
        done: dict[str, Cell] = {}
        for name, sections in job["variants"].items():
            if name.startswith(ONE) and name.removeprefix(ONE) not in {source.name for source in sources}:
                continue  # of the target's own texts
            own = configured(config, sections)
            weights = weights_of(name, own, sources, scores)
            combination = json.dumps([guided(own), own.train.model_dump(), str(own.model), weights])
            combination += own.alignment.weighting if own.alignment.weighting in BANDITS else ""
            known = combination in done
            if not known:
                probed = sources if name in PROBED and job["place"]["pool"] == "clean" else []
                done[combination] = self.attempt(own, target, sources, weights, probed)
            yield {
                **job["place"],
                "strategy": name,
                **done[combination],
                **({"copied": True} if known else {}),
            }

    def scores(self, config: Config, target: Task, sources: list[Task]) -> dict[str, Score | None]:
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        return score_tasks(TaskSummariser(model, config.alignment, config.seed), target, sources)

    def attempt(
        self,
        config: Config,
        target: Task,
        sources: list[Task],
        weights: dict[str, float],
        probed: list[Task],
    ) -> Cell:
        """A training, or what went wrong: the other cells of the job are trained all the same."""
        try:
            return self.train(config, target, sources, weights, Watch(probed))
        except Exception as error:
            return {"error": repr(error)[:200], "trace": traceback.format_exc()[-1500:]}

    def train(
        self,
        config: Config,
        target: Task,
        sources: list[Task],
        weights: dict[str, float],
        watch: Watch,
    ) -> Cell:
        started = time.perf_counter()
        hooks = Hooks(on_events=watch.events.extend, phases=watch.begin)
        foundation = self.foundation(config)
        outcome = run_training(
            config, target, sources, weights, self.device, hooks=hooks, foundation=foundation
        )
        seconds = time.perf_counter() - started
        steps = [event["seconds"] for event in watch.events]
        return {
            **outcome.predictions.metrics().of_cell(),
            "seconds": seconds,
            "step_seconds": float(np.median(steps)) if steps else None,
            "all_steps": float(np.sum(steps)),
            **watch.found(),
        }


def guided(config: Config) -> Cell:
    """The section guidance; without any term nothing but the weight of the sources matters in it."""
    own = config.guidance
    terms = own.lambda_direction + own.lambda_magnitude + own.lambda_alignment
    return own.model_dump() if terms else {"lambda_source": own.lambda_source}


def told(scores: dict[str, Score | None]) -> Cell:
    """Value and utility of each source that has a score."""
    return {name: [score.value, score.utility] for name, score in scores.items() if score is not None}


def weights_of(
    name: str, config: Config, sources: list[Task], scores: dict[str, Score | None]
) -> dict[str, float]:
    """Weights of the sources under the strategy ``name`` with this configuration."""
    if config.guidance.lambda_source == 0:
        return {}
    if name.startswith(ONE):
        return {name.removeprefix(ONE): 1.0}
    if config.alignment.weighting not in ASK_SCORES:
        return {source.name: 1 / len(sources) for source in sources}
    found = mixture_weights([*scores.values()], config.alignment.weighting)
    return dict(zip(scores, found.tolist()))
