"""Everything that talks to Ray: task workers, their exchange, the Ray Train driver."""

from sgg_ray.orchestration.compare import CompareResult, compare, prepare_comparison
from sgg_ray.orchestration.doctor import Check, examine
from sgg_ray.orchestration.listener import Listener, Silent
from sgg_ray.orchestration.predict import PredictResult, predict
from sgg_ray.orchestration.score import ScoreResult, prepare_scoring, score
from sgg_ray.orchestration.smoke import run_smoke
from sgg_ray.orchestration.train import TrainResult, prepare_training, train
from sgg_ray.orchestration.tune import TuneResult, prepare_tuning, tune

__all__ = [
    "Check",
    "CompareResult",
    "Listener",
    "PredictResult",
    "ScoreResult",
    "Silent",
    "TrainResult",
    "TuneResult",
    "compare",
    "examine",
    "predict",
    "prepare_comparison",
    "prepare_scoring",
    "prepare_training",
    "prepare_tuning",
    "run_smoke",
    "score",
    "train",
    "tune",
]
