"""The run folder and the model card."""

from sgg_ray.artifacts.model_card import write_model_card
from sgg_ray.artifacts.run_folder import RunFolder

__all__ = ["RunFolder", "write_model_card"]
