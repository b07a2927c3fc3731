"""Addresses of files, models, storages and servers: ``${NAME}`` in them is an environment variable."""

from typing import Any

from sgg_ray.errors import ConfigError
from sgg_ray.secrets import expanded, is_redacted, missing_variables, redacted

TEXTS = ("prompt", "verbalizers", "labels", "where", "columns")  # keys whose values are no addresses


def resolved(address: str, key: str) -> str:
    """The address with the values of its variables. For use at once: what is kept or shown stays as it is written.

    Args:
        address: a path or URI of the configuration.
        key: where it stands there.

    Raises:
        ConfigError: a variable is not set, or the address was kept without its password.
    """
    missing = missing_variables(address)
    if missing:
        raise ConfigError(f"{key}: the environment variable {missing[0]} is not set; export it")
    if is_redacted(address):
        raise ConfigError(
            f"{key}: {address} was kept without its password; write ${{NAME}} in place of ***, and export NAME"
        )
    return expanded(address)


def without_passwords(values: Any) -> Any:
    """What a configuration holds as it may be kept and shown: without passwords and keys in its addresses."""
    if isinstance(values, dict):
        return {key: value if key in TEXTS else without_passwords(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_passwords(value) for value in values]
    return redacted(values) if isinstance(values, str) else values
