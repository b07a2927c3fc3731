"""Tables of the source-selection benchmark, from the JSON that it wrote."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import weightedtau

Result = dict[str, Any]
TRAINED = ("LogME", "H-score", "LEEP")
RIVALS = {
    "LogME (source model)": "LogME",
    "H-score (source model)": "H-score",
    "LEEP (source model)": "LEEP",
    "linear-probe transfer accuracy": "probe",
    "cosine of backbone gradients": "backbone",
}


def load(path: Path) -> list[Result]:
    """Results that have no error."""
    found = json.loads(path.read_text())["results"]
    broken = [result for result in found if "error" in result]
    if broken:
        print(f"{len(broken)} jobs failed, first: {broken[0]['error']}")
    return [result for result in found if "error" not in result]


def scores_by_place(results: list[Result]) -> dict[tuple, dict[str, Result]]:
    """(target, shots, seed) → source → what was measured without training on the target."""
    found: dict[tuple, dict[str, Result]] = defaultdict(dict)
    for result in results:
        if result["kind"] == "scores":
            for row in result["found"]:
                found[result["target"], row["shots"], result["seed"]][row["source"]] = dict(row)
    for result in results:
        if result["kind"] == "source_model":
            place = found.get((result["target"], result["shots"], result["seed"]), {})
            if result["source"] in place:
                place[result["source"]] |= {name: result[name] for name in TRAINED}
    return found


def gains_by_place(results: list[Result]) -> dict[tuple, dict[str, float]]:
    """(target, shots, seed) → source → points of accuracy over the target alone."""
    accuracy: dict[tuple, dict[str | None, float]] = defaultdict(dict)
    for result in results:
        if result["kind"] == "gain":
            accuracy[result["target"], result["shots"], result["seed"]][result["source"]] = result["accuracy"]
    return {
        place: {source: 100 * (value - row[None]) for source, value in row.items() if source}
        for place, row in accuracy.items()
        if None in row
    }


def value_of(row: Result, name: str) -> float:
    """A measure as one number; scores with intervals by their worth, as sources are ranked."""
    value = row[name]
    return float(value["utility"] if isinstance(value, dict) else value)


def auroc(good: list[float], bad: list[float]) -> float:
    """Share of (good, bad) pairs in the right order; ties count half."""
    pairs = np.subtract.outer(np.array(good), np.array(bad))
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def print_scores(results: list[Result]) -> None:
    """Clean against flipped, order of the partly flipped, and coverage of the intervals."""
    places = scores_by_place(results)
    truth = {
        (result["target"], result["source"]): result["value"]
        for result in results
        if result["kind"] == "population"
    }
    print("shots  AUROC clean/flipped  clean > 20 % > 40 %  coverage (± standard error over seeds × targets)")
    for shots in sorted({place[1] for place in places}):
        good, order, covered = [], [], []
        for (target, own, _), rows in places.items():
            if own != shots:
                continue
            for name, row in rows.items():
                if (target, name) in truth:
                    covered.append(row["score"]["low"] <= truth[target, name] <= row["score"]["high"])
            # Where a source has a head of its own, flipping all of its labels is only another naming.
            sets = sorted(
                {name.split(":")[0] for name in rows if name.endswith(":flipped") and rows[name]["named"]}
            )
            if not sets:
                continue
            clean = [value_of(rows[f"{name}:{shard}"], "score") for name in sets for shard in "ab"]
            good.append(auroc(clean, [value_of(rows[f"{name}:flipped"], "score") for name in sets]))
            right = []
            for name in sets:
                a, b, c = (value_of(rows[f"{name}:{kind}"], "score") for kind in ("a", "20", "40"))
                right += [a > b, b > c]
            order.append(float(np.mean(right)))
        coverage = f"{100 * np.mean(covered):6.1f} %" if covered else "       –"
        print(f"{shots:5d}  {with_error(good):>19s}  {with_error(order, 100, 1):>17s} %  {coverage}")


def print_bounds(results: list[Result]) -> None:
    """Share of draws of the shots in which their sign is seen rightly, by what the observer knows."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for result in results:
        if result["kind"] == "bound":
            found[result["observer"], result["shots"]].append(result["right"])
    if not found:
        return
    shots = sorted({place[1] for place in found})
    names = {
        "contrast": "large-sample gradient of one source",
        "sources": "discriminant of all rows of all sources",
        "target": "discriminant of all rows of the target",
    }
    print("right sign, by what is known               " + "  ".join(f"{count:5d}" for count in shots))
    for observer, name in names.items():
        print(f"{name:41s}  " + "  ".join(f"{np.mean(found[observer, count]):5.3f}" for count in shots))
    print()


def print_weights(results: list[Result]) -> None:
    """Shares of the weight that go where they should not, mean ± standard error over seeds and targets.

    *Flipped*: sources of the target's labels, with these flipped, in the poisoned pool; *contradicting*: the lesser
    side of each head that is not the target's, in the same pool; *useless*: tasks about something else.
    """
    found: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result["kind"] != "pool_scores" or result["pool"] == "clean":
            continue
        own = "3-way" if result["target"].endswith("3way") else "2-way"
        row, weights, heads = found[result["shots"], own], result["weights"], result["heads"]
        bad = {name: weight for name, weight in weights.items() if name not in result["good"]}
        if result["pool"] == "useless":
            row["useless"].append(sum(bad.values()))
            continue
        row["flipped"].append(sum(weight for name, weight in bad.items() if name not in heads))
        contradicting = 0.0
        for head in set(heads.values()):
            members = [name for name in weights if heads.get(name) == head]
            turned = sum(weights[name] for name in members if name in bad)
            contradicting += min(turned, sum(weights[name] for name in members) - turned)
        row["contradicting"].append(contradicting)
    if not found:
        return
    print("share of the weight, %        flipped  contradicting        useless")
    for (shots, own), row in sorted(found.items()):
        cells = [with_error(row[name], 100, 1) for name in ("flipped", "contradicting", "useless")]
        print(f"{own} targets, {shots:2d} shots  " + "  ".join(f"{cell:>13s}" for cell in cells))
    print()


def with_error(values: list[float], factor: float = 1.0, digits: int = 3) -> str:
    """Mean ± standard error."""
    scaled = factor * np.array(values)
    error = scaled.std(ddof=1) / len(scaled) ** 0.5 if len(scaled) > 1 else float("nan")
    return f"{scaled.mean():.{digits}f} ± {error:.{digits}f}"


def kendall(results: list[Result], names: dict[str, str]) -> dict[str, dict[tuple[str, int], list[float]]]:
    """Weighted Kendall of each measure with the mean gain over the seeds: measure → (target, shots) → by seed."""
    places, gains = scores_by_place(results), gains_by_place(results)
    found: dict[str, dict[tuple[str, int], list[float]]] = {name: defaultdict(list) for name in names}
    for target, shots in sorted({place[:2] for place in gains}):
        rows = [row for place, row in gains.items() if place[:2] == (target, shots)]
        complete = set.intersection(*(set(row) for row in rows))
        mean = {source: np.mean([row[source] for row in rows]) for source in complete}
        for (own, count, _), scores in places.items():
            if (own, count) != (target, shots):
                continue
            for name, key in names.items():
                sources = sorted(source for source in complete if source in scores and key in scores[source])
                if len(sources) < len(complete):
                    continue
                values = [value_of(scores[source], key) for source in sources]
                tau = weightedtau(values, [mean[source] for source in sources]).statistic
                found[name][target, shots].append(float(tau))
    return found


def print_gains(results: list[Result]) -> None:
    """Rank correlation of every measure with the gains; mean over seeds."""
    found = kendall(results, {"alignment score": "score", **RIVALS})
    columns = sorted({place for values in found.values() for place in values}, key=lambda p: (p[1], p[0]))
    print("weighted Kendall with the gain        all  " + "  ".join(f"{t}@{s}" for t, s in columns))
    for name, values in found.items():
        every = [tau for taus in values.values() for tau in taus]
        if every:
            cells = "  ".join(f"{np.mean(values[c]):+{len(c[0]) + 1 + len(str(c[1]))}.2f}" for c in columns)
            print(f"{name:35s} {np.mean(every):+.2f}  {cells}")
    gains = gains_by_place(results)
    sources = sorted({source for row in gains.values() for source in row})
    print(
        f"\ngain in points, mean over seeds and shots\n{'source':22s} "
        + " ".join(f"{t:>12s}" for t in targets(gains))
    )
    for source in sources:
        cells = []
        for target in targets(gains):
            values = [row[source] for place, row in gains.items() if place[0] == target and source in row]
            cells.append(f"{np.mean(values):+12.1f}" if values else f"{'–':>12s}")
        print(f"{source:22s} {' '.join(cells)}")


def targets(places) -> list[str]:
    return sorted({place[0] for place in places})


def print_pools(results: list[Result]) -> None:
    """Accuracy of the mixtures and paired differences, with standard errors over seeds and targets."""
    found: dict[tuple, dict[str, float]] = defaultdict(dict)
    for result in results:
        if result["kind"] == "mixture":
            place = result["pool"], result["shots"], result["target"], result["seed"]
            found[place][result["variant"]] = 100 * result["accuracy"]
    print("pool       shots   n  uniform  weighted  oracle  weighted − oracle  weighted − uniform")
    for pool, shots in sorted({place[:2] for place in found}):
        rows = [row for place, row in found.items() if place[:2] == (pool, shots)]
        rows = [
            row
            for row in rows
            if {"uniform", "weighted"} <= set(row) and (pool != "poisoned" or "oracle" in row)
        ]
        if not rows:
            continue
        columns = {
            name: np.array([row.get(name, np.nan) for row in rows])
            for name in ("uniform", "weighted", "oracle")
        }

        def difference(other: str, columns=columns) -> str:
            gap = columns["weighted"] - columns[other]
            if np.isnan(gap).any():
                return f"{'–':>17s}"
            error = gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else float("nan")
            return f"{gap.mean():+10.1f} ± {error:.1f}"

        oracle = columns["oracle"].mean()
        print(
            f"{pool:9s}  {shots:5d} {len(rows):3d}  {columns['uniform'].mean():7.1f}  {columns['weighted'].mean():8.1f}"
            f"  {'     –' if np.isnan(oracle) else f'{oracle:6.1f}'}  {difference('oracle')}  {difference('uniform')}"
        )


def print_report(path: Path) -> None:
    """All tables."""
    results = load(path)
    print_scores(results)
    print()
    print_bounds(results)
    print_weights(results)
    print_gains(results)
    print()
    print_pools(results)
