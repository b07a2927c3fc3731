"""What a trained model says about texts: labels with probabilities, or answers, and how good they are."""

from sgg_ray.prediction.answers_table import Answering, AnswerTally
from sgg_ray.prediction.predictor import Predictor
from sgg_ray.prediction.table import Labelling, Tally

__all__ = ["AnswerTally", "Answering", "Labelling", "Predictor", "Tally"]
