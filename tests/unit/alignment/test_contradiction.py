"""Sources of one head of their own: the side with more score stays, whatever the order; others are left alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.alignment import Noise, OwnHead, contradictions

WIDTH = 40


def contrast(direction, random=None, noise=0.0):
    row = direction + (noise * random.normal(size=WIDTH) if random is not None else 0.0)
    return np.stack([row, -row])


def axis(number):
    return np.eye(WIDTH)[number]


def pool(random, clean=3, flipped=2, head="bad|good"):
    """Clean and flipped samples of one task, noisy, with scores of about the same size."""
    found = {f"clean{n}": OwnHead(head, contrast(axis(0), random, 0.05), 0.4) for n in range(clean)}
    found |= {f"flipped{n}": OwnHead(head, -contrast(axis(0), random, 0.05), 0.4) for n in range(flipped)}
    return found


def test_the_side_with_more_score_is_kept():
    sources = pool(np.random.default_rng(0))
    found = contradictions(sources)
    assert set(found) == {"flipped0", "flipped1"}
    assert set(found.values()) <= {"clean0", "clean1", "clean2"}
    louder = {
        name: OwnHead(source.head, source.contrast, 5.0 if name[0] == "f" else 0.1)
        for name, source in sources.items()
    }
    assert set(contradictions(louder)) == {"clean0", "clean1", "clean2"}


@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_sources_and_the_naming_of_labels_do_not_matter(seed, shuffle):
    random = np.random.default_rng(seed)
    sources = {
        f"s{n}": OwnHead(f"head{n % 2}", random.normal(size=(3, WIDTH)), float(random.normal()))
        for n in range(8)
    }
    found = contradictions(sources)
    names = list(sources)
    shuffle.shuffle(names)
    assert contradictions({name: sources[name] for name in names}) == found
    renamed = {
        name: OwnHead(source.head, source.contrast[[2, 0, 1]], source.utility)
        for name, source in sources.items()
    }
    assert contradictions(renamed) == found
    for name, other in found.items():
        assert sources[name].head == sources[other].head
        assert other not in found
        assert (sources[name].contrast * sources[other].contrast).sum() < 0.0


def test_equal_sides_are_told_apart_by_name():
    one = OwnHead("bad|good", contrast(axis(0)), 0.3)
    other = OwnHead("bad|good", -contrast(axis(0)), 0.3 * (1 + 1e-9))
    assert contradictions({"b": one, "a": other}) == {"b": "a"}
    assert contradictions({"b": other, "a": one}) == {"b": "a"}


def test_nothing_happens_without_a_contradiction():
    random = np.random.default_rng(1)
    assert contradictions({}) == {}
    assert contradictions(pool(random, clean=4, flipped=0)) == {}
    assert contradictions(pool(random, clean=1, flipped=0)) == {}
    apart = {name: OwnHead(name, source.contrast, source.utility) for name, source in pool(random).items()}
    assert contradictions(apart) == {}  # heads of their own, each
    useless = {name: OwnHead("h", source.contrast, -0.1) for name, source in pool(random).items()}
    assert contradictions(useless) == {}  # nobody gets any weight
    empty = {"a": OwnHead("h", np.zeros((2, WIDTH)), 0.1), "b": OwnHead("h", contrast(axis(0)), float("nan"))}
    assert contradictions(empty) == {}


def test_partly_flipped_and_unrelated_sources_stay():
    """Of the former the contrast is weaker and not turned; of the latter it is turned by chance, if at all."""
    random = np.random.default_rng(2)
    left_out = 0
    for _ in range(100):
        sources = pool(random, clean=3, flipped=1)
        sources["partly"] = OwnHead("bad|good", contrast(0.2 * axis(0), random, 0.02), 0.2)
        noise = Noise(0.1 * np.eye(WIDTH), 0.0)
        sources["unrelated"] = OwnHead("bad|good", contrast(axis(1), random, 0.1), 0.2, noise)
        found = contradictions(sources)
        assert "flipped0" in found
        assert "partly" not in found
        left_out += "unrelated" in found
    assert left_out <= 8  # beyond two standard errors on one side: 2 in 100 expected
