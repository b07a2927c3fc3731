"""The code of a logged model: MLflow copies this file beside the weights and runs it when the model is loaded."""

import mlflow.models
import pandas as pd
from mlflow.pyfunc import PythonModel  # pyright: ignore[reportPrivateImportUsage]

from sgg_ray.prediction import Predictor


class TextClassifier(PythonModel):
    """Labels the column ``text`` of a table, or the columns that the model was trained on: ``predicted``, ``p_<label>``
    and ``confidence`` for each row.

    Other kinds of models have other columns: numbers, sets of labels as ``a|b``, or answers (``generated``).
    """

    def load_context(self, context) -> None:
        """Load the model of the run."""
        self.predictor = Predictor(context.artifacts["model"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Label or answer every row; rows without a text get nothing."""
        parts = [
            ["" if pd.isna(text) else str(text) for text in model_input[field]]
            for field in self.predictor.fields
        ]
        return self.predictor.predict(parts[0] if len(parts) == 1 else list(zip(*parts)))


mlflow.models.set_model(TextClassifier())
