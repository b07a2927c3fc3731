"""Everything that talks to Ray: task workers, their exchange, the drivers of the commands.

Names are loaded when they are used: a process that Ray starts for an event log or a task worker loads this package too,
and would otherwise wait seconds for drivers that it has no use for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgg_ray.orchestration.compare_driver import CompareResult, compare, prepare_comparison
    from sgg_ray.orchestration.doctor import Check, examine
    from sgg_ray.orchestration.listener import Listener, Silent
    from sgg_ray.orchestration.predict_driver import PredictResult, predict
    from sgg_ray.orchestration.score_driver import ScoreResult, prepare_scoring, score
    from sgg_ray.orchestration.smoke import run_smoke
    from sgg_ray.orchestration.train_driver import TrainResult, prepare_training, train
    from sgg_ray.orchestration.tune_driver import TuneResult, prepare_tuning, tune

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

_HOMES = {
    "Check": "doctor",
    "CompareResult": "compare_driver",
    "Listener": "listener",
    "PredictResult": "predict_driver",
    "ScoreResult": "score_driver",
    "Silent": "listener",
    "TrainResult": "train_driver",
    "TuneResult": "tune_driver",
    "compare": "compare_driver",
    "examine": "doctor",
    "predict": "predict_driver",
    "prepare_comparison": "compare_driver",
    "prepare_scoring": "score_driver",
    "prepare_training": "train_driver",
    "prepare_tuning": "tune_driver",
    "run_smoke": "smoke",
    "score": "score_driver",
    "train": "train_driver",
    "tune": "tune_driver",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sgg_ray.orchestration.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sgg_ray.orchestration' has no attribute '{name}'")
