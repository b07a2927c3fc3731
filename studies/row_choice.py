"""Does training on chosen rows help? Sources with flipped labels, pools with useless rows, and retrained halves.

    python studies/row_choice.py pack --seeds 0-5 --out rows.pkl
    python studies/row_choice.py run rows.pkl --model MODEL --seconds 400 --out FOLDER
    python studies/row_choice_report.py FOLDER

``run`` needs no data and no Ray, only PyTorch, Transformers, scikit-learn and cleanlab. Strategy `sgg` throughout, and
rows weighted by the functions that `sgg train` and `sgg compare` call. Targets are of the suite's report half, which
the scores of rows were not made on. Three kinds of jobs:

- *labels*: every source has 0, 20 or 40 % wrong labels; what is left of them is scored and mixed anew;
- *mixed*: one source of ten tasks, of which one is the target's; the mixture is this source, whatever its score;
- *halves*: random halves of a source with 20 % wrong labels, each trained on twice; ``row_gradients`` scores the rows.
"""

import argparse
from dataclasses import replace
from functools import partial

import numpy as np
from row_gradients import scores_by_gradients
from row_jobs import pack
from strategies import Bench, Job, add_pack, add_run, base, logs, run, strategy

from sgg_ray.config import Config
from sgg_ray.models import build_model
from sgg_ray.rows import ROW_RANKINGS, Candidates, row_weights
from sgg_ray.scoring import RowVectors, mixture, score_pool, vectors_of, with_weights
from sgg_ray.scoring.head_rows import HeadPool
from sgg_ray.scoring.row_scores import TaskRows, rank_rows
from sgg_ray.tasks import Task
from sgg_ray.training import run_training

SHARES = (0.05, 0.1, 0.2)  # of the mixed source
RIVALS = ("cosine", "neighbours", "round_robin", "random")
TWICE = (0, 1)
NAME = "sgg"


class RowBench(Bench):
    """What one process keeps between jobs.

    Args:
        model: path.
        steps: of a training.
    """

    def __init__(self, model: str, steps: int):
        super().__init__(model, steps, wide=False)

    def run(self, job: Job) -> Job:
        """Log-probabilities of the test rows by what was trained on."""
        config = strategy(base(self.model, job["seed"], self.steps), NAME)
        found: Job = {key: job[key] for key in ("kind", "task", "shots", "seed")}
        found |= {"labels": job["target"].test.labels, "logits": {}, "seconds": {}, "rows": {}}
        {"labels": self.labels, "mixed": self.mixed, "halves": self.halves}[job["kind"]](found, config, job)
        return found

    def labels(self, found: Job, config: Config, job: Job) -> None:
        """All rows, what is kept or weighted, what others keep, and the rows that are right."""
        target = job["target"]
        self.fit(found, "target only", config, target, [], {})
        own: RowVectors | None = None
        plain: dict[str, RowVectors] = {}
        for share, given in job["given"].items():
            sources = [with_labels(task, given[task.name]) for task in job["sources"]]
            if own is None:
                model = build_model(config, [target], self.foundation(config)).to(self.device)
                own = vectors_of(model, target, config.seed)
                plain = {task.name: vectors_of(model, task, config.seed) for task in job["sources"]}
            vectors = [own, *(replace(plain[task.name], task=task) for task in sources)]
            scores = self.score(config, target, sources)
            self.fit(found, f"all {share}", config, target, sources, mixture(scores))
            rows = score_pool(model, vectors, scores, config.alignment, share_labels=True, seed=config.seed)
            wrong = {task.name: given[task.name] != task.train.labels for task in job["sources"]}
            for name, weights in self.weightings(rows, vectors, wrong, config.seed, share > 0).items():
                left = with_weights(sources, weights)
                found["rows"][f"{name} {share}"] = count(weights, wrong)
                if all((own == 1).all() for own in weights.values()):  # the same training
                    found["logits"][f"{name} {share}"] = found["logits"][f"all {share}"]
                    continue
                again = mixture(self.score(config, target, left))
                self.fit(found, f"{name} {share}", config, target, left, again)

    def weightings(
        self,
        rows: dict[str, TaskRows],
        vectors: list[RowVectors],
        wrong: dict[str, np.ndarray],
        seed: int,
        rivals: bool,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Weights of the rows by what they are weighted by, and by source."""
        found = {
            name: {source: rows[source].weights(name, 0.0) for source in wrong} for name in ("keep", "soft")
        }
        if not rivals:
            return found
        for name in ("random", "loss", "cleanlab", "right"):
            found[name] = {}
        for own in vectors[1:]:
            source, labels = own.task.name, own.task.train.labels
            seen = Candidates(own.vectors, labels, vectors[0].vectors, rows[source].alignment, list, seed)
            kept = float((found["keep"][source] > 0).mean())
            for name in ("random", "loss"):
                found[name][source] = row_weights("top", ROW_RANKINGS[name](seen), kept)
            found["cleanlab"][source] = row_weights("keep", ROW_RANKINGS["confident"](seen), 0.0)
            found["right"][source] = (~wrong[source]).astype(float)
        return found

    def mixed(self, found: Job, config: Config, job: Job) -> None:
        """All rows of the mixed source, its useful rows, and the best by each ranking."""
        target, source, useful = job["target"], job["source"], job["useful"]
        self.fit(found, "target only", config, target, [], {})
        self.fit(found, "all", config, target, [source], {source.name: 1.0})
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        vectors = [vectors_of(model, task, config.seed) for task in (target, source)]
        scores = self.score(config, target, [source])
        rows = score_pool(model, vectors, scores, config.alignment, share_labels=True, seed=config.seed)
        pool, scored = HeadPool(vectors[0], vectors[1:], True), rows[source.name]
        assert scored.ranking is not None
        rankings = {"influence": scored.ranking}
        for name in RIVALS:
            rankings[name] = rank_rows(pool, vectors[1], scored.alignment, name, config.seed)
        chosen = {"useful": useful.astype(float)}
        for share in SHARES:
            for name, ranking in rankings.items():
                chosen[f"{name} {share}"] = row_weights("top", ranking, share)
        for name, weights in chosen.items():
            found["rows"][name] = count({source.name: weights}, {source.name: useful})
            self.fit(
                found,
                name,
                config,
                target,
                with_weights([source], {source.name: weights}),
                {source.name: 1.0},
            )

    def halves(self, found: Job, config: Config, job: Job) -> None:
        """Trainings on halves of the source; and, once a task, the scores of its rows."""
        target, source = job["target"], job["source"]
        if job["first"]:
            model = build_model(config, [target], self.foundation(config)).to(self.device)
            vectors = [vectors_of(model, task, config.seed) for task in (target, source)]
            scores = self.score(config, target, [source])
            rows = score_pool(model, vectors, scores, config.alignment, share_labels=True, seed=config.seed)
            pool, own = HeadPool(vectors[0], vectors[1:], True), rows[source.name]
            found["scores"] = {
                "influence": own.influence,
                "cosine at the head": own.alignment,
                "probability of the label": 1 - own.wrong,
                "wrong": job["wrong"],
                **{
                    name: rank_rows(pool, vectors[1], own.alignment, name, config.seed).score
                    for name in ("loss", "neighbours", "random")
                },
            }
            trained = run_training(
                config,
                target,
                [source],
                {source.name: 1.0},
                self.device,
                foundation=self.foundation(config),
            )
            found["scores"] |= scores_by_gradients(trained.model, target, source, config.seed)
        for number, half in job["halves"].items():
            left = replace(source, train=source.train.take(np.flatnonzero(half)))
            for again in TWICE:
                other = config.model_copy(update={"seed": config.seed + 1000 * again})
                self.fit(found, f"{number} {again}", other, target, [left], {source.name: 1.0})
        found["halves"] = {number: np.packbits(half) for number, half in job["halves"].items()}

    def fit(self, found: Job, place: str, config: Config, target: Task, sources, weights) -> None:
        """One training; its log-probabilities go into ``found`` under ``place``."""
        used = [source for source in sources if weights.get(source.name, 0.0) > 0]
        outcome = run_training(config, target, used, weights, self.device, foundation=self.foundation(config))
        found["logits"][place] = logs(outcome.probabilities)


def with_labels(task: Task, labels: np.ndarray) -> Task:
    return replace(task, train=replace(task.train, labels=labels))


def count(weights: dict[str, np.ndarray], marked: dict[str, np.ndarray]) -> tuple[int, int]:
    """Rows that are left, and how many of them are marked."""
    left = {name: own > 0 for name, own in weights.items()}
    return sum(int(own.sum()) for own in left.values()), sum(
        int((own & marked[name]).sum()) for name, own in left.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    add_pack(commands)
    add_run(commands)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments)
    else:
        run(arguments, partial(RowBench, arguments.model, arguments.steps))


if __name__ == "__main__":
    main()
