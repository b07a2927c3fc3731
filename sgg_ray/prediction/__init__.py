"""What a trained model says about texts: labels with probabilities, or answers, and how good they are."""

from sgg_ray.prediction.answers_table import Answering, AnswerTally
from sgg_ray.prediction.choices_table import ChoiceReading
from sgg_ray.prediction.columns import CONFIDENCE, prediction_columns
from sgg_ray.prediction.label_sets_table import LabelSetReading, LabelSetTally
from sgg_ray.prediction.numbers_table import NumberReading, NumberTally
from sgg_ray.prediction.predictor import Predictor
from sgg_ray.prediction.table import Labelling, Reading, Tally

__all__ = [
    "CONFIDENCE",
    "AnswerTally",
    "Answering",
    "ChoiceReading",
    "LabelSetReading",
    "LabelSetTally",
    "Labelling",
    "NumberReading",
    "NumberTally",
    "Predictor",
    "Reading",
    "Tally",
    "prediction_columns",
]
