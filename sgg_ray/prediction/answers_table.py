"""Answers beside the columns of a table, and how good they are over as many tables as come."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.evaluation import normalised, rouge_l, share_interval
from sgg_ray.prediction.columns import GENERATED
from sgg_ray.prediction.predictor import Predictor
from sgg_ray.tasks import History, answered_question, as_texts, messages_in, question

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Answering:
    """Which columns of a file hold what: prompts, or conversations, and references if there are any."""

    prompt: str
    reference: str | None
    messages: bool = False  # the prompts' column holds lists of {role, content}

    def predict(self, predictor: Predictor, table: "pa.Table") -> "pa.Table":
        """The table with the answers at its end.

        Raises:
            DataError: the column with the prompts holds lists or objects, and no messages are expected.
        """
        import pyarrow as pa

        if self.messages:
            asked = [_asked(value) for value in table.column(self.prompt).to_pylist()]
            found = predictor.complete([text for _, text, _ in asked], [history for history, _, _ in asked])
        else:
            column = table.column(self.prompt).to_pandas().rename(self.prompt)
            found = predictor.complete(as_texts(column, "--text", "the data")[0])
        said = pa.array(found[GENERATED], type=pa.string(), from_pandas=True)
        return table.append_column(GENERATED, said)

    def truth(self, table: "pa.Table") -> list[str | None]:
        """The reference of each row; None where there is none."""
        if self.reference is not None:
            values = table.column(self.reference).to_pylist()
            return [None if value is None or not str(value).strip() else str(value) for value in values]
        if self.messages:
            return [_asked(value)[2] for value in table.column(self.prompt).to_pylist()]
        return [None] * table.num_rows


def _asked(value: Any) -> tuple[History, str, str | None]:
    """What was said before, the prompt ("" without one), and the answer if the conversation has it."""
    messages = messages_in(value)
    open_question = question(messages)
    if open_question is not None:
        return *open_question, None
    return answered_question(messages) or ((), "", None)


class AnswerTally:
    """What the answers of many tables come to, in memory that does not grow with them."""

    def __init__(self, answering: Answering):
        self.answering = answering
        self.rows = self.without_text = self.compared = self.exact = 0
        self.rouge_l = 0.0

    def add(self, table: "pa.Table") -> None:
        """Count the rows of a table with answers."""
        said = table.column(GENERATED).to_pylist()
        self.rows += len(said)
        self.without_text += said.count(None)
        truth = self.answering.truth(table)
        known = [row for row, pair in enumerate(zip(said, truth)) if None not in pair]
        texts, references = [str(said[row]) for row in known], [str(truth[row]) for row in known]
        self.compared += len(known)
        self.exact += sum(normalised(one) == normalised(other) for one, other in zip(texts, references))
        self.rouge_l += float(np.sum(rouge_l(texts, references)))

    def to_dict(self) -> dict[str, Any]:
        """Counts, and metrics where rows have references, for JSON."""
        found: dict[str, Any] = {"rows": self.rows, "without_text": self.without_text, "metrics": None}
        if self.compared:
            low, high = share_interval(self.exact, self.compared)
            found["metrics"] = {
                "exact_match": self.exact / self.compared,
                "exact_match_low": low,
                "exact_match_high": high,
                "rouge_l": self.rouge_l / self.compared,
                "rows": self.compared,
            }
        return found
