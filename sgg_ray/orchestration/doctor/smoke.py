"""A toy task through every room: score, train, predict, export. It needs no network and no demo package."""

import tempfile
from pathlib import Path

from sgg_ray.artifacts import example_tasks, export_model, is_uri, local_folder, open_run, write_example
from sgg_ray.config import Config, load_config
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.orchestration.train.train_driver import train

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def run_smoke(config: Config | None, listener: Listener) -> str:
    """Train a tiny model on the tasks of ``sgg init`` in a folder that is deleted at the end; say what came out.

    Args:
        config: whose cluster is used; None starts a local Ray.
        listener: hears what goes on.

    Raises:
        SggError: what does not work.
    """
    storage = None
    if config and config.ray.address != "local" and not is_uri(config.ray.storage_path):
        storage = local_folder(config.ray.storage_path)  # the model has to be seen by all nodes
    if storage is not None:
        storage.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sgg-smoke-", dir=storage) as scratch:
        folder = Path(scratch)
        write_example(folder)
        model = tiny_encoder(folder / "model")
        overrides = [
            f"model.path={model}",
            "strategy=none",  # one short training is enough to look at
            "train.max_steps=4",
            "train.baseline=false",
            "train.calibration_folds=0",
            "ray.task_workers=1",
        ]
        overrides += [f"ray.storage_path={folder / 'runs'}", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"]
        overrides += [f"ray.address={config.ray.address}"] if config else []
        result = train(load_config(folder / "sgg.yaml", overrides), listener)
        labelled = predict(result.folder, folder / "orders.jsonl", folder / "out.parquet", listener)
        export_model(open_run(result.folder), folder / "exported")
        return (
            f"scored {len(result.report.sources) if result.report else 0} sources, trained, predicted "
            f"{labelled.tally.rows} rows, exported"
        )


def tiny_encoder(folder: Path) -> Path:
    """A random BERT that knows the words of the example tasks."""
    from transformers import BertConfig, BertModel, BertTokenizer

    from sgg_ray.models import quiet_transformers

    texts = [row["text"] for rows in example_tasks().values() for row in rows]
    words = sorted({word.lower() for text in texts for word in text.replace("-", " ").split()})
    folder.mkdir(parents=True)
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join([*SPECIAL, *words]) + "\n", encoding="utf-8")
    shape = BertConfig(
        vocab_size=len(SPECIAL) + len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with quiet_transformers():
        BertTokenizer(str(vocabulary)).save_pretrained(folder)
        BertModel(shape).save_pretrained(folder)
    return folder
