"""Under which licences the parts of a trained model stand, as far as that can be known."""

from sgg_ray.config import ModelConfig

UNKNOWN = "unknown"  # which is also the Hugging Face hub's word for it


def licence_of_model(config: ModelConfig) -> str:
    """What the configuration says, else the model's own card, else ``unknown``.

    The card is asked and not the package that a model came in: a package's licence is often that of its code.
    """
    if config.license is not None:
        return config.license
    from sgg_ray.models import card_header

    header = card_header(config.path)
    found = header.get("license")
    if found == "other" and isinstance(header.get("license_name"), str):
        return header["license_name"]
    return found if isinstance(found, str) and found else UNKNOWN
