"""Structured gradient guidance for few-shot adaptation of language models, on Ray.

    import sgg_ray
    config = sgg_ray.load_config("sgg.yaml", ["train.max_steps=50"])
    report = sgg_ray.score(config).report      # which sources help
    run = sgg_ray.train(config)                # fine-tune, evaluate, leave a run folder
    run.predict(["a text to label"])           # labels, probabilities, confidence
    best = sgg_ray.tune(config).best           # search regularisation strengths on held-out shots
    table = sgg_ray.compare(config).comparison # strategies side by side, with statistics

Names are loaded when they are used: importing the package loads neither torch nor ray.
"""

from typing import TYPE_CHECKING

from sgg_ray.lazy import loads_when_used

if TYPE_CHECKING:
    from sgg_ray.artifacts import export_model, open_run
    from sgg_ray.config import load_config
    from sgg_ray.models import load_model
    from sgg_ray.orchestration.compare.compare_driver import compare
    from sgg_ray.orchestration.predict.predict_driver import predict
    from sgg_ray.orchestration.score.score_driver import score
    from sgg_ray.orchestration.train.train_driver import train
    from sgg_ray.orchestration.tune.tune_driver import tune

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "compare",
    "export_model",
    "load_config",
    "load_model",
    "open_run",
    "predict",
    "score",
    "train",
    "tune",
]

__getattr__ = loads_when_used(
    __name__,
    {
        "compare": "sgg_ray.orchestration.compare.compare_driver",
        "export_model": "sgg_ray.artifacts",
        "load_config": "sgg_ray.config",
        "load_model": "sgg_ray.models",
        "open_run": "sgg_ray.artifacts",
        "predict": "sgg_ray.orchestration.predict.predict_driver",
        "score": "sgg_ray.orchestration.score.score_driver",
        "train": "sgg_ray.orchestration.train.train_driver",
        "tune": "sgg_ray.orchestration.tune.tune_driver",
    },
)
