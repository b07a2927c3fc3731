"""Requests that are too large are refused before they are in memory."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _TooLarge(Exception):
    pass


class BoundedBody:
    """ASGI middleware: 413 for a body of more than ``most`` bytes, whether its length was announced or not."""

    def __init__(self, app: App, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > self.most:
            await self._refuse(send)
            return
        seen, over, begun = 0, False, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                over = True
                raise _TooLarge
            return message

        async def unless_refused(message: Message) -> None:
            nonlocal begun
            if not over:  # what the application makes of the broken request is nobody's business
                begun = True
                await send(message)

        with suppress(_TooLarge):
            await self.app(scope, counted, unless_refused)
        if over and not begun:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        body = json.dumps(
            {"error": f"body: must have at most {self.most:,} bytes; send fewer texts"}
        ).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
