"""A label selector means the nodes that Ray means by it."""

import pytest
from ray._private.label_utils import validate_label_selector

from sgg_ray.orchestration.runtime.labels import has_labels

NODE = {"zone": "a", "accelerator": "H100"}


@pytest.mark.parametrize(
    ("selector", "meant"),
    [
        ({}, True),
        ({"zone": "a"}, True),
        ({"zone": "b"}, False),
        ({"zone": "!b"}, True),
        ({"zone": "!a"}, False),
        ({"zone": "in(b, a)"}, True),
        ({"zone": "in(b,c)"}, False),
        ({"zone": "!in(b, c)"}, True),
        ({"zone": "!in(a)"}, False),
        ({"spot": "true"}, False),
        ({"spot": "!true"}, True),
        ({"zone": "a", "accelerator": "L4"}, False),
    ],
)
def test_all_labels_have_to_fit(selector, meant):
    assert validate_label_selector(selector) is None
    assert has_labels(NODE, selector) == meant
