"""What Transformers says and raises: kept quiet, or made one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from sgg_ray.errors import ModelError, SggError


def first_line(error: Exception) -> str:
    """The first line of a library's message, which may be a page long."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def refused(problem: str, advice: str) -> Iterator[None]:
    """Turn whatever a library raises over somebody's files into one line: its authors did not expect them all.

    Raises:
        ModelError: in place of any other error than this package's own.
    """
    try:
        yield
    except SggError:
        raise
    except Exception as error:
        raise ModelError(f"{problem} ({first_line(error)}); {advice}") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep Transformers from showing a progress bar, and from reporting a pooler that nobody uses."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
