"""A full disk is one line that says where, whatever the library that met it made of it."""

import errno

import pytest
from safetensors import SafetensorError

from sgg_ray.errors import ModelError, in_words, machine_error


def test_an_export_leaves_nothing(sgg, no_ray, finished_run, here, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("sgg_ray.artifacts.export.save_file", full)
    result = sgg("export", finished_run, "--to", "exported")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: No space left on device (exported); free some of the disk, and give the same command again"
    ]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ""),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), " (runs/a)"),
        (RuntimeError("ray::f()\nOSError: [Errno 28] No space left on device: 'runs/a'"), " (runs/a)"),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), ""),
    ],
)
def test_every_form_of_it_is_known(error, place):
    said = machine_error(error)
    assert said is not None
    assert in_words(said).startswith(f"No space left on device{place}; free some of the disk")


def test_other_errors_are_left_as_they_are():
    assert machine_error(ValueError("28")) is None
    assert machine_error(ModelError("model.path: [Errno 13] Permission denied")) is None


def test_a_file_that_may_not_grow_is_no_fault_of_the_package():
    said = machine_error(OSError(27, "File too large"))
    assert said is not None
    assert in_words(said).startswith("File too large; raise the limit of a file's size (ulimit -f)")
