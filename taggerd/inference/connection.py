"""The connection to one endpoint: what a request has to pass, and the client that sends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import (
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    ModelNotFound,
    NotABackend,
    PhotoRefused,
)
from taggerd.inference.client import Client
from taggerd.inference.concurrency import Limit, Slots
from taggerd.inference.discovery import discover
from taggerd.inference.health import Health, is_probing
from taggerd.inference.statuses import chat_error, is_success, listing_error, message_in
from taggerd.logs import get_logger
from taggerd.retry import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx

    from taggerd import settings
    from taggerd.inference.client import Reply
    from taggerd.inference.concurrency import Waiter

log = get_logger(__name__)

_FAULTS = (
    BackendUnreachable.__name__,
    BackendTimeout.__name__,
    BackendBusy.__name__,
    BackendFailed.__name__,
    BackendDenied.__name__,
    ModelNotFound.__name__,
    NotABackend.__name__,
    PhotoRefused.__name__,
)
"""What a request may end in. All are counted from zero: the first one shows as an increase."""


ANSWERED = "answered"


class Traffic:
    """What was sent to one endpoint and what it cost, probes included; the numbers only grow."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.requests = Counter(dict.fromkeys((ANSWERED, *_FAULTS), 0))
        """Requests for completions: :data:`ANSWERED`, or the name of the error's class."""
        self.tokens = Counter({"prompt": 0, "completion": 0})
        """As the endpoint counts them."""


class Exchange(NamedTuple):
    """A request's reply, and why it was refused, if it was."""

    reply: Reply
    refusal: BackendError | PhotoRefused | None
    message: str
    """The server's words about the refusal, without secrets."""


class Connection:
    """One endpoint's client, with the health and the limits that a request has to pass.

    ``base_url`` "auto" is looked up when it is first needed; "builtin:" is the describer.
    """

    def __init__(
        self,
        options: settings.Backend,
        *,
        transport: httpx.AsyncBaseTransport | None,
        slots_folder: Path | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """Prepare to connect; nothing is sent. For the arguments see :class:`Backend`.

        Raises:
            ConfigurationError: the address or the key cannot be used.
        """
        self.health = Health(lambda: self.base_url)
        self.limit = Limit(options.max_concurrency, clock=clock)
        self.traffic = Traffic()
        self._options = options
        self._transport = transport
        self._slots_folder = slots_folder
        self._clock = clock
        self._wall_clock = wall_clock
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

    @property
    def slots_trouble(self) -> str:
        """Why requests go without one of the machine's slots; empty: they do not."""
        return self._slots.trouble if self._slots else ""

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

    async def list_models(self) -> Reply:
        """Ask for the models. Raises :class:`BackendError`."""
        client = await self.client()
        async with self._permitted():
            reply = await client.send("/models")
        if is_success(reply):
            return reply
        message = client.redacted(message_in(reply))
        raise listing_error(reply, client.base_url, message, self._wall_clock())

    async def chat(
        self, model: str, body: Callable[[], bytes], waiter: Waiter | None = None
    ) -> Exchange:
        """Send a chat request for *model* as soon as *waiter* gets a permit.

        *body* is called only then, so that those who wait hold no copy of their picture.

        Raises:
            BackendError: no reply came, or the endpoint was found to be at fault meanwhile; or what
                the check of *waiter* raises.
        """
        client = await self.client()
        async with self._admitted(waiter):
            if waiter is not None and waiter.check is not None:
                await waiter.check()
            begun = self._clock()
            try:
                reply = await client.send("/chat/completions", body())
            except BackendError as error:
                self._note(begun, error)
                raise
            message = client.redacted(message_in(reply))
            refusal = chat_error(reply, client.base_url, model, message, self._wall_clock())
            self._note(begun, refusal)
        return Exchange(reply, refusal, message)

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

    @asynccontextmanager
    async def _admitted(self, waiter: Waiter | None) -> AsyncIterator[None]:
        """Wait until the endpoint may be asked, and hold a permit and a slot.

        Raises:
            BackendError: the endpoint is at fault, which was found while the request waited.
        """
        while True:
            await self.health.wait_for_verdict()
            async with self._permitted(waiter):
                if self.health.may_send():
                    yield
                    return

    @asynccontextmanager
    async def _permitted(self, waiter: Waiter | None = None) -> AsyncIterator[None]:
        """Hold a permit of this program, and then one of this machine's slots."""
        async with self.limit.permit(waiter):
            if self._slots is None:
                yield
            else:
                async with self._slots.slot():
                    yield

    def _note(self, begun: float, error: BackendError | PhotoRefused | None) -> None:
        """Count a request; learn from one about a photo how many requests to send at once."""
        self.traffic.requests[type(error).__name__ if error else ANSWERED] += 1
        if is_probing():
            return  # a server that is down or loading refuses these, however few they are
        if error is None:
            self.limit.answered()
        elif policy_of(error).throttles:
            self.limit.refused(begun)

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
            proxy=self._options.proxy,
            timeout_seconds=self._options.timeout_seconds,
            transport=transport,
            clock=self._clock,
        )
        if self._slots_folder is not None and self._options.base_url != "builtin:":
            self._slots = Slots(
                self._slots_folder,
                base_url,
                self._options.max_concurrency,
                longest_wait=self._options.slot_wait_seconds,
            )
        return client
