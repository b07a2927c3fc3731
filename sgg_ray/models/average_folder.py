"""The folder of an average, without the model in memory."""

import shutil
from pathlib import Path

from sgg_ray.models.manifest import checksums, read_manifest, write_manifest
from sgg_ray.models.model_folder import MEMBER


def drop_last_member(folder: Path, out: Path) -> None:
    """Write the average in ``folder`` without its last member into a new folder; a single member left is no average."""
    manifest = read_manifest(folder)
    assert manifest.shares is not None
    kept = manifest.shares[:-1]
    if len(kept) == 1:
        shutil.copytree(folder / MEMBER.format(0), out)
        return
    out.mkdir()
    for number in range(len(kept)):
        shutil.copytree(folder / MEMBER.format(number), out / MEMBER.format(number))
    content = {"files": checksums(out), "shares": [share / sum(kept) for share in kept]}
    write_manifest(out, manifest.model_copy(update=content))
