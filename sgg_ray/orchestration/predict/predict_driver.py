"""`sgg predict`: label, or answer, a file of any size with a trained model, in this process or with Ray Data."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sgg_ray.artifacts import FinishedRun, check_output, open_run, table_writer, without_formulas
from sgg_ray.config import TargetConfig, as_list, label_name, text_fields
from sgg_ray.errors import DataError
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.prediction import (
    CONFIDENCE,
    Answering,
    AnswerTally,
    ChoiceReading,
    Labelling,
    LabelSetReading,
    LabelSetTally,
    NumberReading,
    NumberTally,
    Predictor,
    Tally,
)
from sgg_ray.tasks import RowStream, no_column, open_stream

ROWS = 1024  # rows in memory at once, per worker

AnyReading = Labelling | LabelSetReading | NumberReading | Answering
AnyTally = Tally | LabelSetTally | NumberTally | AnswerTally


@dataclass(frozen=True)
class PredictResult:
    """Path of the predictions, their counts, and metrics if the rows had labels."""

    path: Path
    tally: AnyTally
    seconds: float  # of predicting, without loading

    def to_dict(self) -> dict[str, Any]:
        """Counts and metrics, for JSON."""
        return {"path": str(self.path), **self.tally.to_dict(), "seconds": self.seconds}


def predict(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    listener: Listener | None = None,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    raw: bool = False,
) -> PredictResult:
    """Label every row of ``data`` and write it, with all its columns and the predictions, to ``out``.

    A model of kind generation answers every prompt (column ``generated``). References, where there are any, are in the
    target's own column for completions, or the last message of a conversation.

    Args:
        run: folder of a finished training, or its name in ``runs``.
        data: a file as a task may have it; a column with labels is optional.
        out: .csv, .jsonl or .parquet, written when all rows are done.
        text: column with the texts or prompts, or several where the model takes several; None takes the target's.
        label: column with true labels or references to compare with; None takes the target's, where the file has it.
        workers: spread the work over so many Ray workers; 0 does it in this process.
        overwrite: replace ``out`` if it is there already.
        raw: keep texts of a .csv as they are; else those that begin like a spreadsheet's formula get an apostrophe.

    Raises:
        SggError: bad input (exit 2) before anything is predicted, a failing cluster (exit 1) later.
    """
    listener = listener or NullListener()
    trained = open_run(run)
    data, out = Path(data).expanduser(), Path(out).expanduser()
    if out.resolve() == data.resolve():
        raise DataError(f"--out: {out} is the file that is read; give another name")
    check_output(out, "--out", overwrite)
    own_texts, own_label = _own_columns(trained.config.target)
    texts = tuple(as_list(text if isinstance(text, str) else list(text))) if text else own_texts
    stream = _open_data(data, texts, trained.config.target, listener)
    choices = as_list(trained.config.target.columns.choices) if _has_choices(trained.config.target) else []
    _check_columns(stream, (*texts, *choices), label)
    predictor = _load_model(trained, stream, listener)
    _check_texts(trained.config.target, predictor, texts)
    label = label or (own_label if own_label in stream.schema.names else None)
    reading, tally = _reader(trained.config.target, predictor, texts, label, stream)
    listener.stage("predicting")
    started = time.perf_counter()
    empty = reading.predict(predictor, stream.schema.empty_table())
    escapes = out.suffix.lower() == ".csv" and not raw
    with _predictions(trained, predictor, reading, stream, workers) as tables:
        escaped = _write(
            tables, out, empty, escapes, tally, lambda rows: listener.advance(rows, stream.rows, "rows")
        )
    if escaped:
        listener.note(
            f"{escaped:,} cells begin like formulas of a spreadsheet: they have an apostrophe before them; --raw "
            "leaves it out"
        )
    return PredictResult(out, tally, time.perf_counter() - started)


def _open_data(data: Path, texts: Sequence[str], target: TargetConfig, listener: Listener) -> RowStream:
    """The file to predict, with what is to be said about it."""
    listener.stage(f"reading {data}")
    stream = open_stream(data, "--data", texts)
    for note in stream.notes:
        listener.note(note)
    if data.resolve() == Path(target.path).resolve():
        listener.note(f"{data} is the target's own file; it contains rows that the model was trained on")
    return stream


def _load_model(trained: FinishedRun, stream: RowStream, listener: Listener) -> Predictor:
    """The trained model.

    Raises:
        DataError: its predictions would have names that columns of the file already have.
    """
    listener.stage("loading the model")
    predictor = Predictor(trained.model)
    taken = [name for name in predictor.columns if name in stream.schema.names]
    if taken:
        raise DataError(
            f"--data: {stream.path} has columns of the names that predictions get ({', '.join(taken)}); rename or "
            "drop them"
        )
    if predictor.temperature is None and CONFIDENCE in predictor.columns:
        listener.note("the model was not calibrated: confidence is its plain probability")
    return predictor


def _has_choices(target: TargetConfig) -> bool:
    """Whether every row of the task brings choices of its own."""
    return target.kind == "multiple_choice"


def _write(
    tables: Iterable[pa.Table],
    out: Path,
    empty: pa.Table,
    escapes: bool,
    tally: AnyTally,
    on_rows: Callable[[int], None],
) -> int:
    """Write and count the tables; return how many of their cells were marked as no formulas."""
    marked = 0
    with table_writer(out, (without_formulas(empty)[0] if escapes else empty).schema) as writer:
        for table in tables:
            safe, more = without_formulas(table) if escapes else (table, 0)
            writer.write(safe)
            marked += more
            tally.add(table)
            on_rows(tally.rows)
    return marked


def _predictions(
    trained: FinishedRun,
    predictor: Predictor,
    reading: AnyReading,
    stream: RowStream,
    workers: int,
) -> AbstractContextManager[Iterator[pa.Table]]:
    if workers and stream.rows:
        from sgg_ray.orchestration.predict.ray_data import (
            predict_with_ray_data,  # Ray Data takes a second to load
        )

        return predict_with_ray_data(trained, reading, stream, workers, ROWS)
    return nullcontext(reading.predict(predictor, table) for table in stream.batches(ROWS))


def _own_columns(target: TargetConfig) -> tuple[tuple[str, ...], str | None]:
    """Where the target's own file has texts, and labels or references."""
    columns = target.columns
    if target.kind != "generation":
        return tuple(text_fields(target).values()), None if columns.labels else columns.label
    if columns.messages is not None:
        return (columns.messages,), None
    return (columns.prompt,), columns.completion


def _reader(
    target: TargetConfig, predictor: Predictor, texts: tuple[str, ...], label: str | None, stream: RowStream
) -> tuple[AnyReading, AnyTally]:
    """What reads the columns of ``stream`` and writes predictions beside them, and what counts these."""
    if predictor.generates:
        (text,) = texts
        answering = Answering(text, label, text == target.columns.messages)
        return answering, AnswerTally(answering)
    if predictor.kind == "regression":
        numbers = NumberReading(texts, label)
        return numbers, NumberTally(numbers)
    names = _label_names(target, predictor.labels)
    if predictor.kind == "multi_label":
        marked = set(predictor.labels) <= set(stream.schema.names)  # a column of 0 and 1 for each label
        columns = predictor.labels if marked and label is None else ()
        sets = LabelSetReading(texts, label, columns, predictor.labels, names)
        return sets, LabelSetTally(sets)
    if predictor.kind == "multiple_choice":
        choices = ChoiceReading(texts, label, names, choices=tuple(as_list(target.columns.choices)))
        return choices, Tally(predictor.labels, choices)
    labelling = Labelling(texts, label, names, predictor.kind == "ordinal")
    return labelling, Tally(predictor.labels, labelling)


def _check_columns(stream: RowStream, texts: Sequence[str], label: str | None) -> None:
    problems = [
        no_column(option, name, str(stream.path), stream.schema.names)
        for option, name in (*(("--text", text) for text in texts), ("--label", label))
        if name is not None and name not in stream.schema.names
    ]
    if problems:
        raise DataError(problems)


def _check_texts(target: TargetConfig, predictor: Predictor, texts: Sequence[str]) -> None:
    """Raises DataError unless there are as many columns as the model takes texts. Choices are not among ``texts``."""
    fields = predictor.fields[: -len(predictor.labels)] if _has_choices(target) else predictor.fields
    if len(texts) != len(fields):
        raise DataError(
            f"--text: the model takes {', '.join(fields)}, found {', '.join(texts)}; name {len(fields)} of the "
            "columns, one --text for each"
        )


def _label_names(target: TargetConfig, labels: Sequence[str]) -> dict[str, str]:
    """Label name by value in the file: the names themselves, and the values that the target's own file has."""
    own = target.labels if isinstance(target.labels, dict) else {}
    return {name: name for name in labels} | {
        label_name(value): label_name(name) for name, values in own.items() for value in as_list(values)
    }
