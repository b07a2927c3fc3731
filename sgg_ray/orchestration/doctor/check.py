"""What every check of `sgg doctor` comes to."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One check with what was found and, if it fails, how to fix it."""

    name: str
    holds: bool
    found: str
    fix: str  # what to do if it does not hold

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)
