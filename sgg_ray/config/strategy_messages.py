"""What a strategy did to a file, in lines for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from sgg_ray.config.strategies import AUTO, SECTIONS, SET_BY_AUTO


def replaced_values(
    written: Mapping[str, Any], data: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[str, ...]:
    """A line for each value of a file that its strategy replaces.

    Args:
        written: the document as it stands in the file.
        data: the document with the strategy's keys and the overrides in place.
        overrides: they stand above both, so what they set is not reported.
    """
    name = data["strategy"]
    lines = []
    for section in SECTIONS:
        own = written.get(section)
        for key, value in own.items() if isinstance(own, dict) else ():
            place = f"{section}.{key}"
            if value is None or any(
                override.strip().startswith((f"{place}=", f"{place}.", f"{place} ")) for override in overrides
            ):
                continue
            if name == AUTO and place.startswith(SET_BY_AUTO):
                lines.append(
                    f"{place}: trainings of strategy auto have a value of their own in place of {value!r}; "
                    "--strategy none trains as the file says"
                )
            elif value != (after := data[section].get(key)):
                lines.append(
                    f"{place}: strategy {name} has {after!r} in place of {value!r}; --set replaces both"
                )
    return tuple(lines)


def with_culprit(
    problems: Sequence[str], written: Mapping[str, Any], data: Mapping[str, Any], overrides: Sequence[str]
) -> list[str]:
    """The lines, those about keys that stand neither in the file nor in an override with the strategy that has them."""
    told = [override.partition("=")[0].strip() for override in overrides]
    lines = []
    for line in problems:
        place = line.partition(": ")[0]
        section, _, key = place.partition(".")
        own, merged = written.get(section) or {}, data.get(section)
        if (
            section in SECTIONS
            and isinstance(merged, dict)
            and key in merged
            and key not in own
            and place not in told
        ):
            line += f" (strategy {data['strategy']} sets it: take another one)"
        lines.append(line)
    return lines
