"""Which blocks of a sharded model are gathered together."""

import pytest
from torch import nn

from sgg_ray.models import sharding


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100], [1]),
        ([10, 10], [1, 1]),  # in four groups or more, as far as there are as many blocks
        ([10] * 9, [2, 2, 2, 2, 1]),
        ([50] * 12, [2, 2, 2, 2, 2, 2]),  # 100 parameters at once are enough
        ([100] * 12, [1] * 12),
        ([10] * 6 + [100] * 6, [3, 3, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_small_blocks_are_gathered_together(monkeypatch, sizes, expected):
    monkeypatch.setattr(sharding, "TOGETHER", 100)
    blocks: list[nn.Module] = [nn.Linear(size, 1, bias=False) for size in sizes]
    groups = sharding.groups_of(blocks)
    assert [len(group) for group in groups] == expected
    assert [block for group in groups for block in group] == blocks
