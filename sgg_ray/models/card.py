"""What a model's own card says of it: the YAML in front of its README.md."""

from pathlib import Path
from typing import Any

import yaml

from sgg_ray.errors import ModelError
from sgg_ray.models.locate import locate_model

HUB_SECONDS = 5


def card_header(path: str) -> dict[str, Any]:
    """The entries of a model's card; none if there is no card, or it cannot be read.

    Args:
        path: ``model.path``.
    """
    try:
        location = locate_model(path)
    except ModelError:
        return {}  # the model was trained elsewhere
    folder = Path(location)
    card = (
        (folder if folder.is_dir() else folder.parent) / "README.md"
        if folder.exists()
        else _fetched(location)
    )
    try:
        return _front_matter(card.read_text(encoding="utf-8")) if card else {}
    except (OSError, UnicodeError):
        return {}


def _fetched(hub_id: str) -> Path | None:
    """The card of a model on the hub: a few kilobytes, kept in the cache like the weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(hub_id, "README.md", etag_timeout=HUB_SECONDS))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError):  # no network, no card, no such model
        return None


def _front_matter(card: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes."""
    if not card.startswith("---"):
        return {}
    try:
        header = yaml.safe_load(card.split("\n---", 1)[0].removeprefix("---"))
    except yaml.YAMLError:
        return {}
    return header if isinstance(header, dict) else {}
