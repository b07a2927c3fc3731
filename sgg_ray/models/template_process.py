"""Renders chat templates of strangers, in a process of its own that its parent may lose.

Run as a script, with nothing of this package loaded: it starts in a tenth of a second. The first line of its input has
the template, every other one conversations; each is answered with a line. Memory, processor time and files are limited
by the system, so that a template cannot hang, fill the memory or write.
"""

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1 << 29  # bytes of address space
LONGEST = 1 << 22  # characters that conversations may become
SECONDS, SECONDS_EACH = 3.0, 0.02  # of processor time: of a request, and more for each conversation


class Generation(jinja2.ext.Extension):
    """``{% generation %}``, which marks what the assistant says: the text in it stays as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """The statements up to ``{% endgeneration %}``."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Namespace(jinja2.utils.Namespace):
    """Jinja's ``namespace`` without names that lead to Python's own attributes."""

    def __init__(self, *arguments: Any, **names: Any):
        found = dict(*arguments, **names)
        for name in found:
            refuse_private(name)
        super().__init__(found)

    def __setitem__(self, name: str, value: Any) -> None:
        refuse_private(name)
        super().__setitem__(name, value)


def refuse_private(name: object) -> None:
    """Raise SecurityError for a name that begins with an underscore."""
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")


def environment() -> ImmutableSandboxedEnvironment:
    """What chat templates are written for: Transformers 5.17, ``utils/chat_template_utils.py``."""

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    found = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    found.filters["tojson"] = to_json
    found.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": lambda *arguments, **names: dict(*arguments, **names),
        "namespace": Namespace,
    }
    return found


def limit() -> None:
    """Take from this process what a template does not need."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(template: Any, common: dict[str, Any], conversations: list[Any]) -> dict[str, Any]:
    """The conversations as texts, or what is wrong with the template."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_EACH * len(conversations))  # whose signal ends us
    try:
        texts = [
            template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **common
            )
            for messages in conversations
        ]
        if sum(map(len, texts)) > LONGEST + 20 * len(str(conversations)):
            return {"error": "it makes texts without end"}
        return {"texts": texts}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:
        return {"error": f"{error or type(error).__name__}"[:500]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Answer requests until the input ends."""
    limit()
    first = json.loads(sys.stdin.readline())
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    broken = template = None
    try:
        template = environment().from_string(first["template"])
    except MemoryError:
        broken = {"error": "it needs too much memory"}
    except Exception as error:
        broken = {"error": f"{error or type(error).__name__}"[:500]}
    signal.setitimer(signal.ITIMER_PROF, 0)
    for line in sys.stdin:
        found = broken or answer(template, first["common"], json.loads(line))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
