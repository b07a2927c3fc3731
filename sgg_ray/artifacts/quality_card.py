"""The part of the model card that says how good a model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgg_ray.config import Kind

GUIDED, BASELINE = "guided", "target-only"
ALONE = "the same model trained on the target alone"


def _models(metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Both models of the run and what they are called, the one that the card is of first."""
    if kept_model(metrics) == BASELINE:
        return (BASELINE, "this model, trained on the target alone"), (GUIDED, "the same with guidance")
    return (GUIDED, "this model"), (BASELINE, ALONE)


def kept_model(metrics: Mapping[str, Any]) -> str:
    """Which of the two models the run keeps."""
    return (metrics.get("kept") or {}).get("model", GUIDED)


def _choice(metrics: Mapping[str, Any]) -> str:
    kept = metrics.get("kept") or {}
    if kept.get("verdict") is None:
        return ""
    found = {"better": "it was better", "worse": "it was worse"}.get(
        kept["verdict"], "no difference was shown"
    )
    return (
        f"\nThe guided model was compared with that trained on the target alone on {kept['rows']} held-out shots, not "
        f"on test rows: {found}.\n"
    )


def quality_of(kind: Kind, metrics: Mapping[str, Any]) -> str:
    """The quality section of a model card, in Markdown, for a kind of task."""
    if kind == "generation":
        return quality_of_answers(metrics)
    if kind == "regression":
        return _quality_of_numbers(metrics)
    return _quality_of_label_sets(metrics) if kind == "multi_label" else quality_of_labels(metrics)


def _quality_of_numbers(metrics: Mapping[str, Any]) -> str:
    lines = [
        "## Quality\n",
        "| model | mean absolute error | 95 % interval | RMSE | Spearman | test rows |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, label in _models(metrics):
        found = metrics.get(name)
        if found:
            interval = f"{found['mae_low']:.3f} … {found['mae_high']:.3f}"
            cells = f"{found['mae']:.3f} | {interval} | {found['rmse']:.3f} | {found['spearman']:.3f}"
            lines.append(f"| {label} | {cells} | {found['rows']} |")
    guided = metrics.get("guided") or {}
    if "constant_mae" in guided:
        lines.append(f"\nThe best single number for all test rows is off by {guided['constant_mae']:.3f}.")
    if gain := metrics.get("difference"):
        mae = gain["mae"]
        lines.append(
            f"\nOn the same test rows the mean absolute error differs by {mae['difference']:+.3f} ({_bounds(mae, 1, 3)}"
            "; below 0 is better). This is one seed; another choice of examples gives a different number."
        )
    return "\n".join(lines) + "\n"


def _quality_of_label_sets(metrics: Mapping[str, Any]) -> str:
    lines = [
        "## Quality\n",
        "| model | micro-F1 | 95 % interval | macro-F1 | all labels right | test rows |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, label in _models(metrics):
        found = metrics.get(name)
        if found:
            interval = f"{found['micro_f1_low']:.3f} … {found['micro_f1_high']:.3f}"
            cells = (
                f"{found['micro_f1']:.3f} | {interval} | {found['macro_f1']:.3f} | {found['exact_match']:.3f}"
            )
            lines.append(f"| {label} | {cells} | {found['rows']} |")
    if found := metrics.get("guided"):
        lines.append(
            f"\nThe best single set of labels for all test rows has micro-F1 {found['constant_micro_f1']:.3f}."
        )
    if gain := metrics.get("difference"):
        micro = gain["micro_f1"]
        lines.append(
            f"\nOn the same test rows micro-F1 differs by {100 * micro['difference']:+.1f} points "
            f"({_bounds(micro, 100, 1)}). This is one seed; another choice of examples gives a different number."
        )
    calibration = metrics.get("calibration")
    if calibration and "micro_f1_calibrated" in calibration:
        lines.append(
            "\nThe table counts a label from a probability of 0.5 on. The model predicts from "
            f"{calibration['threshold']:.2f} on, fitted on {calibration['rows']} shots that were left out of training "
            f"in {calibration['folds']} parts: micro-F1 {calibration['micro_f1_calibrated']:.3f}, macro-F1 "
            f"{calibration['macro_f1_calibrated']:.3f}."
        )
    return "\n".join(lines) + "\n"


def quality_of_labels(metrics: Mapping[str, Any]) -> str:
    """The quality section of a classifier's model card, in Markdown."""
    rows = metrics.get("evaluated", "test rows")
    lines = [
        "## Quality\n",
        f"| model | accuracy | 95 % interval | macro-F1 | {rows} |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, label in _models(metrics):
        found = metrics.get(name)
        if found:
            interval = f"{found['accuracy_low']:.3f} … {found['accuracy_high']:.3f}"
            numbers = f"{found['accuracy']:.3f} | {interval} | {found['macro_f1']:.3f} | {found['rows']}"
            lines.append(f"| {label} | {numbers} |")
    guided = metrics.get("guided") or {}
    if "mae" in guided:
        lines.append(
            f"\nThe labels have an order: predictions are off by {guided['mae']:.2f} levels on average, the best "
            f"single label for all by {guided['constant_mae']:.2f}; Spearman's correlation is {guided['spearman']:.2f}."
        )
    gain = metrics.get("difference")
    if gain:
        lines.append(
            f"\nOn the same {rows} the difference that guidance makes is {100 * gain['difference']:+.1f} points of "
            f"accuracy ({_bounds(gain, 100, 1)}, exact McNemar "
            f"p = {gain['p_value']:.2g}). This is one seed; another choice of examples gives a different number."
        )
    if rows != "test rows":
        lines.append(
            "\nThere were no test rows: these figures are of cross-validation, each row predicted by a model that was "
            "trained without its part of the rows."
        )
    calibration = metrics.get("calibration")
    if calibration and "ece" in calibration:
        lines.append(
            f"\nConfidence is scaled with the temperature {calibration['temperature']:.2f}, fitted on "
            f"{calibration['rows']} shots that were left out of training in {calibration['folds']} parts. Expected "
            f"calibration error on the test rows: {100 * calibration['ece']:.1f} points, without the temperature "
            f"{100 * calibration['ece_uncalibrated']:.1f}."
        )
    return "\n".join(lines) + "\n" + _choice(metrics)


def quality_of_answers(metrics: Mapping[str, Any]) -> str:
    """The quality section of a text-generating model's card, in Markdown."""
    lines = [
        "## Quality\n",
        "| model | token loss | perplexity | exact match | 95 % interval | ROUGE-L | test rows |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, label in _models(metrics):
        found = metrics.get(name)
        if found:
            interval = f"{found['exact_match_low']:.3f} … {found['exact_match_high']:.3f}"
            cells = (
                label,
                f"{found['loss']:.3f}",
                f"{found['perplexity']:.2f}",
                f"{found['exact_match']:.3f}",
                interval,
                f"{found['rouge_l']:.3f}",
                f"{found['rows']}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        "\nGenerated greedily. Exact match ignores case, spacing, Unicode spelling and a final full stop; "
        "ROUGE-L is the F-measure of the longest common subsequence of words."
    )
    gain = metrics.get("difference")
    if gain:
        exact, loss, words = gain["exact_match"], gain["loss"], gain["rouge_l"]
        lines.append(
            f"\nOn the same test rows the difference is {100 * exact['difference']:+.1f} points of exact match "
            f"({_bounds(exact, 100, 1)}, exact McNemar p = {exact['p_value']:.2g}), {loss['difference']:+.3f} of token "
            f"loss ({_bounds(loss, 1, 3)}) and {100 * words['difference']:+.1f} points of ROUGE-L "
            f"({_bounds(words, 100, 1)}). This is one seed; another choice of examples gives a different number."
        )
    return "\n".join(lines) + "\n"


def _bounds(gain: Mapping[str, float], scale: float, digits: int) -> str:
    low, high = scale * gain["low"], scale * gain["high"]
    return f"95 % interval {low:+.{digits}f} … {high:+.{digits}f}"
