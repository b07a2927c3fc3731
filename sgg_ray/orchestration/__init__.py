"""Everything that talks to Ray: task workers, their exchange, the drivers of the commands.

Names are loaded when they are used: a process that Ray starts for an event log or a task worker loads this package too,
and would otherwise wait seconds for drivers that it has no use for.
"""

from typing import TYPE_CHECKING

from sgg_ray.lazy import loads_when_used

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

__getattr__ = loads_when_used(
    __name__,
    {
        "Check": "sgg_ray.orchestration.doctor",
        "CompareResult": "sgg_ray.orchestration.compare_driver",
        "Listener": "sgg_ray.orchestration.listener",
        "PredictResult": "sgg_ray.orchestration.predict_driver",
        "ScoreResult": "sgg_ray.orchestration.score_driver",
        "Silent": "sgg_ray.orchestration.listener",
        "TrainResult": "sgg_ray.orchestration.train_driver",
        "TuneResult": "sgg_ray.orchestration.tune_driver",
        "compare": "sgg_ray.orchestration.compare_driver",
        "examine": "sgg_ray.orchestration.doctor",
        "predict": "sgg_ray.orchestration.predict_driver",
        "prepare_comparison": "sgg_ray.orchestration.compare_driver",
        "prepare_scoring": "sgg_ray.orchestration.score_driver",
        "prepare_training": "sgg_ray.orchestration.train_driver",
        "prepare_tuning": "sgg_ray.orchestration.tune_driver",
        "run_smoke": "sgg_ray.orchestration.smoke",
        "score": "sgg_ray.orchestration.score_driver",
        "train": "sgg_ray.orchestration.train_driver",
        "tune": "sgg_ray.orchestration.tune_driver",
    },
)
