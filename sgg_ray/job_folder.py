"""The folder into which Ray unpacks the files of a submitted job, and what has to be known about it."""

from pathlib import Path

PARENT = "working_dir_files"  # of Ray 2.60: SESSION/runtime_resources/working_dir_files/_ray_pkg_HASH


def in_job_folder(path: str | Path) -> bool:
    """Whether a path is inside the folder of a job that was submitted with ``--working-dir``."""
    return PARENT in Path(path).absolute().parent.parts


def why_missing(path: str | Path) -> str:
    """What to add to a message about a file that is not there: Ray sends a job only a part of its folder."""
    if not in_job_folder(path):
        return ""
    return (
        "; Ray does not send a job the files named in .gitignore (submit it with RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1, "
        "or give an absolute path)"
    )
