import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.config.document import parse_yaml, write_yaml

WORDS = [
    "yes",
    "no",
    "on",
    "off",
    "null",
    "~",
    "true",
    "007",
    "1e5",
    "1:30",
    "2020-01-01",
    "0x1F",
    "1_000",
    "a\x85b",
    "a\u2028",
    "\ufeffa",
    "a\n b\n",
    "",
    "<<",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters(codec="utf-8"))
    | st.sampled_from(WORDS)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<1", max_size=3), inner, max_size=3)
    ),
)


@given(TREES)
def test_what_is_written_reads_back_to_the_same_value(tree):
    assert parse_yaml(write_yaml(tree)) == tree


@given(st.sampled_from(WORDS) | st.text(alphabet=st.characters(codec="ascii"), max_size=6))
def test_written_text_is_text_for_other_yaml_readers_too(text):
    assert yaml.safe_load(write_yaml({"label": text})) == {"label": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("yes", "yes"),
        ("no", "no"),
        ("True", True),
        ("007", "007"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("null", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merge_keys_work_and_do_not_count_as_doubled_keys():
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\n"
    assert parse_yaml(text)["c"] == {"x": 4, "y": 3}
    assert parse_yaml(text + "d: {<<: [*b, *a], z: 5}\n")["d"] == {"x": 1, "y": 3, "z": 5}
    assert parse_yaml(text + "d: {<<: [*a, *b], z: 5}\n")["d"] == {"x": 1, "y": 2, "z": 5}


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        ("a: [1,\n b: }", "run.yaml:2:", "not valid YAML"),
        ("model:\n\tpath: x", "run.yaml:2:1", "indent with spaces"),
        ("target: {}\nseed: 1\nseed: 2\n", "run.yaml:3:1", "'seed' stands twice"),
        ("target: !!python/object/apply:os.system ['false']", "run.yaml:1:", "python/object"),
        ("target: " + "[" * 5000, "run.yaml", "nested too deeply"),
        ("target: \x01", "run.yaml", "special characters"),
        ("? [1]\n: target:", "run.yaml:1:", "unhashable"),
        ("- target: 1", "run.yaml", "found a list"),
        (b"", "run.yaml", "found nothing"),
        ("target: é".encode("latin-1"), "run.yaml", "save it as UTF-8"),
        ("target: x".encode("utf-16"), "run.yaml", "save it as UTF-8"),
        ("target: !!int x", "run.yaml", "not valid YAML"),
        ("target: {<<: 1}", "run.yaml:1:14", "takes a section"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_line_with_its_place(problems, content, place, reason):
    (line,) = problems(content if isinstance(content, bytes) else content.encode())
    assert place in line
    assert reason in line


def test_a_byte_order_mark_is_no_part_of_the_first_key(load):
    assert load(b"\xef\xbb\xbfmodel: {path: a/b}\ntarget: {path: x.csv, shots: 1}").target.shots == 1


def test_a_missing_file_and_a_folder_are_named(load, tmp_path):
    from sgg_ray.config import load_config
    from sgg_ray.errors import ConfigError

    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file; give a YAML file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_reading_a_configuration_loads_no_heavy_library():
    code = (
        "import sys, sgg_ray, sgg_ray.config, sgg_ray.errors\n"
        "print(sorted({'torch', 'ray', 'pandas', 'transformers', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
