"""Under which licences the parts of a trained model stand, as far as that can be known."""

from pathlib import Path

import yaml

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError

UNKNOWN = "unknown"  # which is also the Hugging Face hub's word for it
HUB_SECONDS = 5


def licence_of_model(config: ModelConfig) -> str:
    """What the configuration says, else the model's own card, else ``unknown``.

    The card is asked and not the package that a model came in: a package's licence is often that of its code.
    """
    if config.license is not None:
        return config.license
    from sgg_ray.models import locate_model

    try:
        location = locate_model(config.path)
    except ModelError:
        return UNKNOWN  # the model was trained elsewhere
    folder = Path(location)
    card = (
        (folder if folder.is_dir() else folder.parent) / "README.md"
        if folder.exists()
        else _fetched(location)
    )
    try:
        return _front_matter(card.read_text(encoding="utf-8")) if card else UNKNOWN
    except (OSError, UnicodeError):
        return UNKNOWN


def _fetched(hub_id: str) -> Path | None:
    """The card of a model on the hub: a few kilobytes, kept in the cache like the weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(hub_id, "README.md", etag_timeout=HUB_SECONDS))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError):  # no network, no card, no such model
        return None


def _front_matter(card: str) -> str:
    """``license`` of the YAML between the first two lines of dashes."""
    if not card.startswith("---"):
        return UNKNOWN
    try:
        header = yaml.safe_load(card.split("\n---", 1)[0].removeprefix("---"))
    except yaml.YAMLError:
        return UNKNOWN
    found = header.get("license") if isinstance(header, dict) else None
    if found == "other" and isinstance(header.get("license_name"), str):
        return header["license_name"]
    return found if isinstance(found, str) and found else UNKNOWN
