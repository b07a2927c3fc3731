"""The code of a logged model: MLflow copies this file beside the weights and runs it when the model is loaded."""

import mlflow.models
import pandas as pd
from mlflow.pyfunc import PythonModel  # pyright: ignore[reportPrivateImportUsage]

from sgg_ray.prediction import Predictor


class TextClassifier(PythonModel):
    """Labels the column ``text`` of a table: ``predicted``, ``p_<label>`` and ``confidence`` for each row.

    A model of kind generation answers it: ``generated``.
    """

    def load_context(self, context) -> None:
        """Load the model of the run."""
        self.predictor = Predictor(context.artifacts["model"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Label or answer every row; rows without a text get nothing."""
        texts = ["" if pd.isna(text) else str(text) for text in model_input["text"]]
        return self.predictor.predict(texts)


mlflow.models.set_model(TextClassifier())
