"""Passwords and keys: taken from the environment where they are used, and left out of all that is kept or shown.

``${NAME}`` in an address stands for an environment variable. It is kept as it is written.
"""

import os
import re

HIDDEN = "***"
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BEFORE_HOST = re.compile(r"(?<=://)[^/?#\s'\"<>]*(?=@)")
_OPTION = re.compile(
    r"(?<=[?&;])([^=&;\s'\"]*(?:key|secret|token|passw|pwd|signature|credential|sig|auth)[^=&;\s'\"]*)=([^&;#\s'\"<>]+)",
    re.IGNORECASE,
)
_LEAST = 4  # characters of a value that is looked for in other texts: shorter ones stand in many words
_used: dict[str, str] = {}  # values of variables in places of secrets, with their names


def expanded(text: str) -> str:
    """The text with the values of its variables, for use at once; it is kept and shown as it was.

    Raises:
        KeyError: a variable is not set.
    """
    for place in (*_BEFORE_HOST.findall(text), *(value for _, value in _OPTION.findall(text))):
        for name in VARIABLE.findall(place):
            if len(os.environ[name]) >= _LEAST:
                _used[os.environ[name]] = name
    return VARIABLE.sub(lambda found: os.environ[found[1]], text)


def missing_variables(text: str) -> list[str]:
    """Names of the text's variables that are not set."""
    return [name for name in VARIABLE.findall(text) if name not in os.environ]


def redacted(text: str) -> str:
    """The text without passwords and keys in its addresses, and without values that came from the environment."""
    if "@" in text or "=" in text:
        text = _OPTION.sub(_hide_option, _BEFORE_HOST.sub(_hide_user, text))
    for value, name in _used.items():
        text = text.replace(value, f"${{{name}}}")
    return text


def is_redacted(address: str) -> bool:
    """Whether something was left out of the address by :func:`redacted`."""
    return f"://{HIDDEN}@" in address or any(value == HIDDEN for _, value in _OPTION.findall(address))


def _hide_user(found: re.Match[str]) -> str:
    user, colon, password = found[0].partition(":")
    if VARIABLE.fullmatch(password if colon else user):
        return found[0]
    return HIDDEN


def _hide_option(found: re.Match[str]) -> str:
    return found[0] if VARIABLE.fullmatch(found[2]) else f"{found[1]}={HIDDEN}"
