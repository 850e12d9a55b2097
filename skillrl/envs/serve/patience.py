"""Ends connections that make the server wait: a request comes whole within some seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

REQUEST_TIMEOUT = 30.0
"""Seconds within which a client has sent all of a request, head and body."""

_BODY = b'{"error": "the request was not complete in time"}'
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)


def protocol(seconds: float) -> type[asyncio.Protocol]:
    """Makes a uvicorn HTTP protocol that waits `seconds` for a request and not for ever.

    The time counts from the opening of the connection or from the first byte of a later
    request, however slowly the rest drips in. Between two requests uvicorn's own limit holds.
    """

    class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        _alarm: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._look()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            self._calm()
            super().connection_lost(exc)

        def _look(self) -> None:
            """Starts the clock where the client's turn begins, and stops it where it ends."""
            cycle = self.cycle
            theirs = cycle is None or cycle.response_complete or cycle.more_body
            if not theirs or self.transport.get_protocol() is not self:  # a WebSocket by now
                self._calm()
            elif self._alarm is None and not self.transport.is_closing():
                self._alarm = self.loop.call_later(seconds, self._give_up)

        def _calm(self) -> None:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

        def _give_up(self) -> None:
            self._alarm = None
            if self.transport.is_closing():
                return
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.response_started:
                self.transport.write(_TOO_SLOW)
            self.transport.close()

    return Impatient
