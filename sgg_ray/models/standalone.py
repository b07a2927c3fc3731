"""A saved model for other machines: with the model that an adapter was put on, if no hub has that."""

import shutil
from pathlib import Path

from sgg_ray.models.backbone import dtype_of, find_model, load_backbone
from sgg_ray.models.locate import locate_model
from sgg_ray.models.manifest import MODEL_MANIFEST, Manifest, checksums, read_manifest, write_manifest
from sgg_ray.models.model_folder import BASE, MEMBER
from sgg_ray.models.transformers_output import quiet_transformers


def standalone(folder: Path, place: Path) -> Path:
    """A model that :func:`save_model` wrote, in a form that needs no other file of this machine.

    An adapter is saved without the model below it. Where that one has a hub id, every machine can load it, and it may
    be large; a folder, a package's or a .gguf file is known on this machine alone, so its weights are added.

    Args:
        folder: of the model.
        place: where a copy goes if one is needed; not there yet.

    Returns:
        ``folder`` or ``place``.

    Raises:
        ModelError: no such model, or what its adapter was put on is no longer there.
    """
    manifest = read_manifest(folder)
    if not manifest.adapted or not Path(locate_model(manifest.base)).is_dir():
        return folder
    shutil.copytree(folder, place)
    members = [place / MEMBER.format(number) for number in range(len(manifest.shares or ()))]
    for member in members or [place]:
        _add_base(member, manifest)
        _count_in(member)
    if members:
        _count_in(place)
    return place


def _add_base(folder: Path, manifest: Manifest) -> None:
    """Put the pre-trained weights beside the adapter."""
    # Whole weights, also of those that are quantised when the model is loaded.
    dtype = dtype_of(manifest.quantised.precision if manifest.quantised else "float32")
    with quiet_transformers():
        backbone = load_backbone(find_model(manifest.base), manifest.pooling or "mean", dtype)
        backbone.save_pretrained(str(folder / BASE))  # pyright: ignore[reportCallIssue]


def _count_in(folder: Path) -> None:
    """Give the manifest the checksums of the files as they are now."""
    manifest = read_manifest(folder)
    sums = {
        name: checksum
        for name, checksum in checksums(folder).items()
        if name != MODEL_MANIFEST and (name in manifest.files or BASE in Path(name).parts)
    }
    write_manifest(folder, manifest.model_copy(update={"files": sums}))
