"""What a trained model says about texts: labels, probabilities, confidence, and how good they are."""

from sgg_ray.prediction.predictor import Predictor
from sgg_ray.prediction.table import Labelling, Tally

__all__ = ["Labelling", "Predictor", "Tally"]
