"""How a question, with what was said before it, is written as messages or as plain text."""

from collections.abc import Sequence

from sgg_ray.tasks import History

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


def conversation(history: History, shown: Sequence[tuple[str, str]], question: str) -> History:
    """The messages up to a question: a system's first, then questions that are shown with their answers.

    Args:
        history: what was said before the question.
        shown: (question, answer) of other rows.
    """
    first = [message for message in history if message[0] == SYSTEM]
    others = [message for message in history if message[0] != SYSTEM]
    pairs = [message for asked, answer in shown for message in ((USER, asked), (ASSISTANT, answer))]
    return (*first, *pairs, *others, (USER, question))


def plain(messages: History) -> str:
    """Messages for a model without a chat template: 'User: …', 'Assistant: …', and the assistant's turn opened."""
    lines = [content if role == SYSTEM else f"{role.capitalize()}: {content}" for role, content in messages]
    return "\n".join([*lines, f"{ASSISTANT.capitalize()}:"])
