"""The connection to one endpoint: its address, its client, and the slots shared with others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import BackendTimeout, BackendUnreachable
from taggerd.inference.client import Client
from taggerd.inference.concurrency import Slots
from taggerd.inference.discovery import discover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx

    from taggerd import settings

log = structlog.get_logger(__name__)


class Connection:
    """One endpoint's client and slots; "auto" is looked up when it is first needed."""

    def __init__(
        self,
        options: settings.Backend,
        *,
        transport: httpx.AsyncBaseTransport | None,
        slots_folder: Path | None,
        clock: Callable[[], float],
    ) -> None:
        """Prepare to connect; nothing is sent. For the arguments see :class:`Backend`.

        Raises:
            ConfigurationError: the address or the key cannot be used.
        """
        self._options = options
        self._transport = transport
        self._slots_folder = slots_folder
        self._clock = clock
        self._locating = asyncio.Lock()
        self._slots: Slots | None = None
        self._abandoned: list[tuple[Client, Slots | None]] = []
        self._client = None if options.base_url == "auto" else self._client_for(options.base_url)

    @property
    def base_url(self) -> str:
        """The endpoint's address without credentials; ``"auto"`` until it is found."""
        if self._options.base_url == "builtin:":
            return "builtin:"
        return self._client.base_url if self._client else "auto"

    async def client(self) -> Client:
        """Return the endpoint's client; for "auto", find the endpoint first.

        Raises:
            BackendError: nothing was found.
        """
        async with self._locating:
            if self._client is None:
                found = await discover(transport=self._transport)
                log.info("backend found", name=found.name, base_url=found.base_url)
                self._client = self._client_for(found.base_url)
        return self._client

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of this machine's slots for the endpoint."""
        if self._slots is None:
            yield
        else:
            async with self._slots.slot():
                yield

    async def relocate(self) -> bool:
        """Forget the endpoint that "auto" found if it no longer answers; return whether."""
        client = self._client
        if self._options.base_url != "auto" or client is None:
            return False
        try:
            await client.send("/models")
        except (BackendUnreachable, BackendTimeout):
            if client is not self._client:  # forgotten meanwhile
                return False
            # Requests may still be in flight on it: it is closed at the end.
            self._abandoned.append((client, self._slots))
            self._client = self._slots = None
            return True
        return False

    async def close(self) -> None:
        """Close all connections."""
        if self._client:
            self._abandoned.append((self._client, self._slots))
        for client, slots in self._abandoned:
            await client.close()
            if slots is not None:
                slots.close()

    def _client_for(self, base_url: str) -> Client:
        """Return a client for an address."""
        transport = self._transport
        if base_url == "builtin:":
            # Imported here, because it loads a decoder that nobody else needs.
            from taggerd.inference.describer import describer_transport  # noqa: PLC0415

            transport = transport or describer_transport()
            base_url = "http://builtin/v1"
        key = self._options.api_key
        client = Client(
            base_url,
            api_key=key.get_secret_value() if key else "",
            timeout_seconds=self._options.timeout_seconds,
            connections=self._options.max_concurrency,
            transport=transport,
            clock=self._clock,
        )
        if self._slots_folder is not None and self._options.base_url != "builtin:":
            self._slots = Slots(self._slots_folder, base_url, self._options.max_concurrency)
        return client
