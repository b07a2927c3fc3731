"""Chat templates of tokenizers, rendered out of reach: they are programs, and anybody may have written them."""

import functools
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sgg_ray.errors import ModelError
from sgg_ray.tasks import History

SCRIPT = Path(__file__).with_name("template_process.py")
AT_ONCE = 256  # conversations of a request


class ChatTemplate:
    """One template and the process that renders it, which starts with the first conversation and stays.

    Args:
        template: Jinja source.
        common: JSON of what the template knows beside messages: the special tokens by name.
    """

    def __init__(self, template: str, common: str):
        self._first = json.dumps({"template": template, "common": json.loads(common)})
        self._process: subprocess.Popen[str] | None = None
        self._problem: str | None = None
        self._lock = threading.Lock()

    def render(self, conversations: Sequence[History]) -> list[str]:
        """The text of each conversation, up to where the assistant is to answer.

        Raises:
            ModelError: the template refuses the messages, or takes more time or memory than a template may.
        """
        texts: list[str] = []
        for start in range(0, len(conversations), AT_ONCE):
            part = conversations[start : start + AT_ONCE]
            with self._lock:
                answer = self._ask(json.dumps([_messages(history) for history in part]))
            if "error" in answer:
                roles = ", ".join(role for role, _ in part[0])
                raise ModelError(
                    f"model.chat: the chat template refuses messages of {roles} ({answer['error']}); set model.chat to "
                    "false, or change the messages"
                )
            texts += answer["texts"]
        return texts

    def _ask(self, request: str) -> dict[str, Any]:
        if self._problem is not None:  # what has hung once is not tried again
            return {"error": self._problem}
        try:
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(request + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):  # it was ended by its limits, and answers with nothing
            self._problem = "it takes more time or memory than a template may"
            return {"error": self._problem}

    def _start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for its parent, whose end it notices by itself
        )
        weakref.finalize(self, _end, process)
        assert process.stdin is not None
        process.stdin.write(self._first + "\n")
        return process


def render_chat(tokenizer: Any, conversations: Sequence[History]) -> list[str]:
    """Conversations in the chat template of a tokenizer, see :meth:`ChatTemplate.render`.

    Raises:
        ModelError: the tokenizer has no template, or :meth:`ChatTemplate.render` raises.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise ModelError(
            "model.chat: the tokenizer has no chat template; set model.chat to false, or leave it out"
        ) from error
    tokens = {
        name: [str(token) for token in value] if isinstance(value, list) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }
    return _template(template, json.dumps(tokens)).render(conversations)


@functools.lru_cache(maxsize=4)
def _template(template: str, common: str) -> ChatTemplate:
    return ChatTemplate(template, common)


def _messages(history: History) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in history]


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
