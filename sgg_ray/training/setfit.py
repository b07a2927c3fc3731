"""SetFit (Tunstall et al., 2022): contrastive fine-tuning on pairs of shots, then logistic regression on the features.

The package ``setfit`` does both; here its result is put into the task model that every other strategy trains, so that
prediction and saving are the same.
"""

import tempfile
import time
import warnings
from importlib.util import find_spec

import torch

from sgg_ray.config import Config, text_fields
from sgg_ray.errors import ConfigError
from sgg_ray.models import EncoderClassifier, locate_model
from sgg_ray.models.transformers_output import quiet_transformers
from sgg_ray.tasks import Task
from sgg_ray.training.head import take_head

POOLINGS = ("mean", "cls")


def check_setfit(config: Config) -> None:
    """See whether the configuration is one that SetFit can train, and the package is there.

    Raises:
        ConfigError: naming what to change or to install.
    """
    if config.train.method != "setfit":
        return
    if find_spec("setfit") is None:
        raise ConfigError(
            "train.method: 'setfit' needs the package setfit; python -m pip install 'sgg-ray[compare]'"
        )
    if len(text_fields(config.target)) > 1:
        found = ", ".join(text_fields(config.target))
        raise ConfigError(
            f"train.method: setfit takes one text a row, found target.columns.text {found}; name one column, or use "
            "another method"
        )
    if config.model.pooling not in POOLINGS:
        raise ConfigError(
            f"model.pooling: setfit takes {' or '.join(POOLINGS)}, found '{config.model.pooling}'"
        )


def train_setfit(model: EncoderClassifier, target: Task, config: Config) -> float:
    """Train ``model`` in place on the target's shots; returns seconds a step.

    The budget is that of the other strategies: ``train.max_steps`` steps of ``train.batch_size`` pairs, at
    ``train.learning_rate``.
    """
    check_setfit(config)
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression
    from transformers.utils import logging

    settings, device = config.train, str(model.device)
    started = time.perf_counter()
    with quiet_transformers(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        transformer = Transformer(
            locate_model(config.model.path),
            max_seq_length=settings.max_length,
            # As stored it may be half precision, which cannot be trained.
            model_kwargs={"dtype": torch.float32},
        )
        pooling = Pooling(model.width, pooling_mode=config.model.pooling)  # pyright: ignore[reportArgumentType]
        body = SentenceTransformer(modules=[transformer, pooling, Normalize()], device=device)
        classifier = SetFitModel(
            model_body=body,
            model_head=LogisticRegression(max_iter=1000),
        )
        trainer = Trainer(
            model=classifier,
            args=TrainingArguments(
                output_dir=scratch,
                batch_size=settings.batch_size,
                max_steps=settings.max_steps,
                body_learning_rate=settings.learning_rate,
                warmup_proportion=settings.warmup_ratio,
                seed=config.seed,
                max_length=settings.max_length,
                show_progress_bar=False,
                report_to="none",
                logging_strategy="no",
                save_strategy="no",
            ),
            train_dataset=Dataset.from_dict(
                {"text": list(target.train.texts), "label": target.train.labels.tolist()}
            ),
        )
        logging.set_verbosity_error()
        trainer.train()
    model.backbone.load_state_dict(transformer.auto_model.state_dict(), strict=False)
    take_head(model, target.head, classifier.model_head)
    return (time.perf_counter() - started) / settings.max_steps
