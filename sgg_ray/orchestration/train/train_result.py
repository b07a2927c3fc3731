"""What a training came to: measured, written into the run folder, logged in MLflow."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import write_model_card
from sgg_ray.errors import TrainingError
from sgg_ray.evaluation import (
    BASELINE,
    GUIDED,
    Comparison,
    HeldOutComparison,
    Metrics,
    directional_alignment,
    gradient_stability,
)
from sgg_ray.models import MODEL_MANIFEST
from sgg_ray.orchestration.run_page import PAGE, write_page
from sgg_ray.orchestration.run_record import evaluation_dataset
from sgg_ray.orchestration.train.held_out import CALIBRATION, KEPT, UNLABELLED, stored_comparison
from sgg_ray.orchestration.train.train_session import CHOICE, Session
from sgg_ray.orchestration.train.train_worker import MODEL, RESULT
from sgg_ray.prediction import Predictor
from sgg_ray.report import (
    ModelResult,
    Section,
    as_sentence,
    data_section,
    html_page,
    html_picture,
    html_results,
    kept_lines,
    module_table,
    plot_curves,
    plot_modules,
    quality_lines,
    quality_section,
    scores_section,
    training_section,
    unlabelled_line,
    wrong_section,
)
from sgg_ray.tracking import TracedAnswers, TrainedModel
from sgg_ray.training import Predictions

if TYPE_CHECKING:
    import pandas as pd

CALIBRATED = ("ece", "ece_uncalibrated", "micro_f1_calibrated", "macro_f1_calibrated")


TEST_ROWS, HELD_OUT_ROWS = "test rows", "held-out rows"
CROSS_VALIDATED = (
    "an estimate by cross-validation: each labelled row is predicted by a model that was trained without its part, so "
    "on fewer rows than the model of this run; the interval is of the rows"
)


@dataclass(frozen=True)
class TrainResult:
    """What a training came to."""

    folder: Path
    metrics: Metrics
    baseline: Metrics | None
    comparison: Comparison | None  # guided − target-only, on the same test rows
    report: AlignmentReport | None
    summary: dict[str, Any]
    rows_are: str = TEST_ROWS  # what the metrics are of
    kept: HeldOutComparison | None = None  # how the model was chosen, without test rows; None: it was not
    unlabelled: HeldOutComparison | None = None  # with − without what was learnt from unlabelled texts

    @property
    def model(self) -> str:
        """Which of the two models the run keeps."""
        return self.kept.kept if self.kept else GUIDED

    @property
    def of_model(self) -> Metrics:
        """Metrics of the model that the run keeps."""
        return self.baseline if self.model == BASELINE and self.baseline else self.metrics

    def conclusions(self) -> list[str]:
        """Which model is kept and why, in words; nothing without a baseline."""
        lines = [] if self.rows_are == TEST_ROWS else [CROSS_VALIDATED]
        if self.baseline is not None:
            lines += kept_lines(self.kept, self.comparison if self.rows_are == TEST_ROWS else None)
        return lines + ([] if self.unlabelled is None else [unlabelled_line(self.unlabelled)])

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "guided": self.metrics.to_dict(),
            BASELINE: self.baseline.to_dict() if self.baseline else None,
            "difference": self.comparison.to_dict() if self.comparison else None,
            "kept": self.kept.to_dict() if self.kept else {"model": GUIDED, "verdict": None},
            "evaluated": self.rows_are,
            **({"unlabelled": self.unlabelled.to_dict()} if self.unlabelled else {}),
            **self.summary,
        }

    def final_numbers(self) -> dict[str, float]:
        """Metrics of the model that is kept and of the baseline, and gains, by their names in MLflow."""
        place = "test" if self.rows_are == TEST_ROWS else "cross_validation"
        found = {f"{place}/{name}": value for name, value in self.of_model.numbers().items()}
        if self.baseline is not None and self.comparison is not None:
            found |= {f"{place}/{name}_target_only": value for name, value in self.baseline.numbers().items()}
            found |= {f"{place}/{name}_gain": value for name, value in self.comparison.gains().items()}
        if self.kept is not None:
            found["held_out/loss_gain"] = self.kept.gain
            found["held_out/accuracy"] = self.kept.accuracy
            found["held_out/accuracy_target_only"] = self.kept.baseline_accuracy
        return found

    def rows(self) -> list[ModelResult]:
        """The models of the final comparison, the baseline first."""
        guided = ModelResult("guided", self.metrics, self.comparison, self.rows_are)
        if self.baseline is None:
            return [guided]
        return [ModelResult("target only", self.baseline, rows=self.rows_are), guided]

    def predict(self, texts: Sequence[str]) -> "pd.DataFrame":
        """Label, probability of each label and confidence of each text; of kind generation the answer to each."""
        return Predictor(self.folder / MODEL).predict(texts)

    def _repr_html_(self) -> str:
        title = f"{self.folder.name}, {self.metrics.rows} {self.rows_are}"
        return html_page(title, html_results(self.rows()), html_picture(self.folder / "curves.png"))


def evaluate(
    session: Session,
    guided: Predictions,
    alone: Predictions | None,
    report: AlignmentReport | None,
) -> TrainResult:
    """What there is of a training that has ended, measured on the test rows.

    Args:
        guided: its predictions.
        alone: those of the baseline, if there is one.
        report: the scores of its sources.
    """
    kept = stored_comparison(session.folder, KEPT)
    judged = alone if alone and kept and kept.kept == BASELINE else guided
    steps = [e for e in session.folder.read_events() if e.get("run") == GUIDED and "step" in e]
    events = [e for e in steps if "gradient_norm" in e]

    def column(name: str) -> list[float]:
        return [event[name] for event in events if event.get(name) is not None]

    summary = {
        **json.loads((session.folder.path / RESULT).read_text(encoding="utf-8")),
        "steps": int(steps[-1]["step"]) + 1 if steps else 0,
        "gradient_stability": gradient_stability(column("gradient_norm"), column("step_cosine")).to_dict(),
        "directional_alignment": directional_alignment(column("alignment_cosine")),
    }
    stored = session.folder.path / CALIBRATION
    if stored.exists():
        found = json.loads(stored.read_text(encoding="utf-8"))
        # Fitted to held-out rows: on these it would look better than it is.
        own = {} if session.config.target.test.is_none else judged.calibration(found)
        summary["calibration"] = found | own
    return TrainResult(
        session.folder.path,
        guided.metrics(),
        alone.metrics() if alone else None,
        guided.minus(alone) if alone else None,
        report,
        summary,
        HELD_OUT_ROWS if session.config.target.test.is_none else TEST_ROWS,
        kept,
        stored_comparison(session.folder, UNLABELLED),
    )


def write_results(session: Session, predictions: Predictions, result: TrainResult) -> None:
    """Files of the run folder, and the same in MLflow.

    Args:
        session: of the training.
        predictions: those of the model that is kept.
        result: what they came to.

    Raises:
        TrainingError: the model is not there.
    """
    folder, target = session.folder, session.target
    table = predictions.frame()
    folder.write_parquet("predictions.parquet", table)
    metrics = result.to_dict()
    folder.write_json("metrics.json", metrics)
    events = folder.read_events()
    plot_curves(events, folder.path / "curves.png")
    written = ["config.yaml", "metrics.json", "predictions.parquet", "curves.png", PAGE]
    written += [KEPT] if result.kept else []
    written += [UNLABELLED] if result.unlabelled else []
    if session.config.guidance.view_modules:
        modules = module_table(events)
        folder.write_parquet("modules.parquet", modules)
        drawn = plot_modules(modules, folder.path / "modules.png")
        written += ["modules.parquet", *(["modules.png"] if drawn else [])]
    write_model_card(
        folder.path / MODEL,
        config=session.config,
        target=target,
        sources=session.sources,
        report=result.report,
        metrics=metrics,
    )
    _write_page(session, result, table)
    final = result.final_numbers()
    calibration = result.summary.get("calibration", {})
    final |= {f"test/{name}": calibration[name] for name in CALIBRATED if name in calibration}
    session.tracker.log_metrics([(session.config.train.max_steps, final)])
    session.tracker.log_artifacts([folder.path / name for name in written])
    session.tracker.log_model(
        TrainedModel(
            folder.path / MODEL,
            target.labels,
            session.config.tracking.register_as,
            final,
            evaluation_dataset(session.config, replace(target, test=predictions.rows)),
            next(name for name in final if name.endswith(f"/{predictions.metric}")),
        )
    )
    traced = table.head(session.config.tracking.traces)
    if target.generates and len(traced):
        session.tracker.log_answers(
            TracedAnswers(list(traced["prompt"]), list(traced["generated"]), list(traced["reference"]))
        )
    if not (folder.path / MODEL / MODEL_MANIFEST).exists():
        raise TrainingError(f"{folder.path / MODEL}: the model was not written; look for a full disk")


def _write_page(session: Session, result: TrainResult, predictions: "pd.DataFrame") -> None:
    """``report.html`` of the training."""
    folder, target = session.folder, session.target
    results = result.rows()
    sections: list[Section] = [
        quality_section(results, _explanations(session, result)),
        *([scores_section(result.report, folder.path)] if result.report else []),
        wrong_section(predictions, result.of_model, target.labels, result.rows_are),
        training_section(folder.path),
        data_section([target, *session.sources]),
    ]
    write_page(folder, "train", quality_lines(results), sections)


def _explanations(session: Session, result: TrainResult) -> list[str]:
    """What the table of quality does not say: what strategy auto chose, and how good confidence is."""
    lines = []
    chosen = session.folder.path / CHOICE
    if chosen.exists():
        choice = json.loads(chosen.read_text(encoding="utf-8"))
        members = " + ".join(f"{100 * share:.0f} % {name}" for name, share in choice["shares"].items())
        lines.append(as_sentence(f"strategy auto chose {members}, because {choice['evidence']}"))
    lines += [as_sentence(line) for line in result.conclusions()]
    found = result.summary.get("calibration", {})
    if "micro_f1_calibrated" in found:
        lines.append(
            f"With the threshold {found['threshold']:.2f}, found on held-out shots, micro-F1 is "
            f"{100 * found['micro_f1_calibrated']:.1f} %, macro-F1 {100 * found['macro_f1_calibrated']:.1f} %."
        )
    if "ece" in found:
        lines.append(
            f"Calibration error {100 * found['ece']:.1f} points, {100 * found['ece_uncalibrated']:.1f} without "
            "calibration."
        )
    return lines
