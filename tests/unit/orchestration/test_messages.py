"""Entries of a history are the same after JSON; what is none is an error."""

import json
import math
import pickle
import subprocess
import sys

import pytest

from sgg_ray.orchestration.messages import Recorded, StepDone, Warned, from_line, to_line
from sgg_ray.orchestration.train.history import read_history, written_history


def test_a_history_is_the_same_after_json():
    entries = (StepDone({"step": 3, "loss": 0.1 + 0.2, "source_loss": 1e-300}), Warned("scores are late"))
    history = Recorded("guided", "attempt", 0, entries)
    assert read_history("guided", json.loads(json.dumps(written_history(history)))) == history
    assert pickle.loads(pickle.dumps(history)) == history


def test_a_loss_that_is_not_finite_stays_so():
    found = from_line(json.loads(json.dumps(to_line(StepDone({"step": 0, "loss": math.nan})))))
    assert isinstance(found, StepDone)
    assert math.isnan(found.values["loss"])


@pytest.mark.parametrize("line", [{}, {"note": "x"}, {"step": "3"}, {"warning": 3}, {"scores": []}])
def test_a_line_of_no_entry_is_an_error(line):
    with pytest.raises(ValueError, match="not an entry"):
        from_line(line)


def test_an_event_log_needs_no_pytorch():
    code = "import sys, sgg_ray.orchestration.messages; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
