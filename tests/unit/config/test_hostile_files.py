"""Configurations that nobody writes on purpose: one line or a bounded number, in bounded time and memory."""

import time
import tracemalloc

import pytest

from sgg_ray.config import load_config
from sgg_ray.config.document import MOST_VALUES
from sgg_ray.config.messages import MOST_LINES
from sgg_ray.errors import LONGEST_LINE, ConfigError

SOUND = "model: {path: m}\ntarget: {path: t.csv, shots: 4}\n"


def problems(path, overrides=()) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert all(len(line) <= LONGEST_LINE and "\n" not in line for line in caught.value.problems)
    return caught.value.problems


def write(folder, text):
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def test_a_name_of_a_source_that_is_no_text(tmp_path):
    (line,) = problems(write(tmp_path, SOUND + "sources: [{name: {a: 1}, path: s.csv}]"))
    assert line == "sources.0.name: must be text, found {'a': 1}"


@pytest.mark.parametrize("key", ["name", "target.name", "sources.0.name"])
def test_a_name_that_no_folder_can_have(tmp_path, key):
    path = write(tmp_path, SOUND + "sources: [{name: s, path: s.csv}]")
    (line,) = problems(path, [f"{key}={'a' * 100_000}"])
    assert "must have at most 100 characters, found 'aaaa" in line


def test_many_unknown_keys_are_summarised(tmp_path):
    path = write(tmp_path, SOUND + "".join(f"k{number}: 1\n" for number in range(10_000)))
    started = time.process_time()
    lines = problems(path)
    assert time.process_time() - started < 15
    assert len(lines) == MOST_LINES + 1
    assert (
        lines[-1]
        == f"and {10_000 - MOST_LINES:,} more problems, of which {10_000 - MOST_LINES:,} are unknown "
        "keys; fix these first"
    )


def test_a_file_that_never_ends():
    tracemalloc.start()
    (line,) = problems("/dev/zero")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "larger than the 1 MiB" in line
    assert most < 8 << 20


def test_aliases_that_grow_without_bound(tmp_path):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 20)]
    (line,) = problems(write(tmp_path, "\n".join(levels)))
    assert f"more than {MOST_VALUES:,} values" in line


def test_an_alias_to_itself(tmp_path):
    (line,) = problems(write(tmp_path, "a: &a [*a]"))
    assert f"more than {MOST_VALUES:,} values" in line


def test_a_key_of_many_characters(tmp_path):
    (line,) = problems(write(tmp_path, SOUND + f"? {'k' * 100_000}\n: 1\n"))
    assert "unknown key" in line


def test_a_position_of_many_digits(tmp_path):
    path = write(tmp_path, SOUND + "sources: [{name: s, path: s.csv}]")
    (line,) = problems(path, [f"sources.{'9' * 5000}.limit=3"])
    assert line.endswith("it has: s")
