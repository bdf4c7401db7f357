"""Shows the daemon's figures: at an address, in a file, at both, or, by default, nowhere."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from taggerd.observe.figures import Figures
    from taggerd.observe.metrics import Metrics, Outcome
    from taggerd.observe.server import Page, Server
    from taggerd.settings import Metrics as MetricsSettings

log = get_logger(__name__)

FRESH_SECONDS = 1.0
"""Whoever asks within this time gets the same answer: asking often costs the ledger nothing."""
GATHER_SECONDS = 5.0
"""How long a request waits for figures; a disk that hangs makes them late."""
TEXTFILE_SECONDS = 60.0
"""Between two renewals of the text file, at least."""
LISTEN_SECONDS = 60.0
"""Between attempts to listen where another program does."""


class Observer:
    """Lives as long as the daemon, over reloads: ``/healthz`` answers between them, too.

    While the settings ask for nothing it imports nothing, opens nothing and has no timer.
    """

    def __init__(
        self,
        *,
        waits_for: Callable[[], str] = str,
        stuck: Callable[[], str] = str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Show nothing yet.

        Args:
            waits_for: returns why the parts cannot be started; empty where no reason is known.
            stuck: returns which part stands still, by systemd's watchdog; empty if none does.
            sleep: waits between two renewals of the text file, and between attempts to listen.

        """
        self._waits_for, self._stuck = waits_for, stuck
        self._settings: MetricsSettings | None = None
        self._sleep = sleep
        self._metrics: Metrics | None = None
        self._server: Server | None = None
        self._gather: Callable[[], Awaitable[Figures]] | None = None
        self._gathering: asyncio.Task[Figures] | None = None
        self._gathered_at = float("-inf")
        self._listening: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._replacing: asyncio.Future[None] | None = None
        """The thread that replaces the text file; cancelling who waits for it does not end it."""
        self._changed = False
        self._troubles: dict[str, str] = {}

    @property
    def troubles(self) -> dict[str, str]:
        """Why what the settings ask for cannot be shown, by setting; empty while all is well."""
        return self._troubles

    @property
    def _textfile(self) -> Path | None:
        """Where the figures are wanted as a file."""
        return self._settings.textfile if self._settings is not None else None

    async def configure(self, settings: MetricsSettings) -> None:
        """Show what *settings* ask for from now on. Nothing is raised: photos come first."""
        before, self._settings = self._settings, settings
        if settings.address or settings.textfile:
            from taggerd.observe.metrics import Metrics  # noqa: PLC0415 - costs nothing when off

            self._metrics = self._metrics or Metrics()
        else:
            self._metrics = None
        if before is not None and before.textfile != settings.textfile:
            self._troubles.pop("metrics.textfile", None)
            if before.textfile is not None:  # or its last figures would stay for ever
                await self._replaced()
                with suppress(OSError):
                    await asyncio.to_thread(before.textfile.unlink)
        if before is None or before.listen != settings.listen:
            await self._stop_listening()
            if settings.address:
                await self._listen(settings)

    @contextmanager
    def serving(self, gather: Callable[[], Awaitable[Figures]]) -> Iterator[None]:
        """Show what *gather* returns, as long as the context lasts: the parts are there."""
        self._gather = gather
        self.changed()
        try:
            yield
        finally:
            self._gather = None
            self._gathered_at = float("-inf")
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None

    def ended(self, outcome: Outcome) -> None:
        """Count an attempt that ended."""
        if self._metrics is not None:
            self._metrics.ended(outcome)
            self.changed()

    def changed(self) -> None:
        """Note that figures changed: the text file is renewed when it may be."""
        if self._textfile is None:
            return
        self._changed = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._keep_textfile(), name="metrics textfile")

    async def close(self) -> None:
        """Stop showing anything; the text file says that nothing is served."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self._write_textfile()
        await self._stop_listening()

    # The figures.

    async def _figures(self) -> Figures | None:
        """Return the figures of this moment; None while the parts are not there, or hang.

        All who ask at one time wait for the same: a disk that hangs gathers no crowd.
        """
        loop = asyncio.get_running_loop()
        if self._gather is None:
            return None
        if self._gathering is None or (
            self._gathering.done() and loop.time() - self._gathered_at > FRESH_SECONDS
        ):
            self._gathering = asyncio.ensure_future(self._gather())
            self._gathered_at = loop.time()
        gathering = self._gathering
        await asyncio.wait([gathering], timeout=GATHER_SECONDS)
        if not gathering.done() or gathering.cancelled():
            return None
        if error := gathering.exception():
            log.debug("no figures", reason=str(error))  # the status says it
            return None
        return gathering.result()

    async def _exposition(self, *, process: bool) -> bytes:
        metrics = self._metrics
        if metrics is None:
            return b""
        metrics.figures = await self._figures()
        return metrics.exposition(process=process)

    # The pages.

    async def _metrics_page(self) -> Page:
        from taggerd.observe.metrics import CONTENT_TYPE  # noqa: PLC0415 - loaded already
        from taggerd.observe.server import Page  # noqa: PLC0415

        return Page(await self._exposition(process=True), CONTENT_TYPE)

    async def _alive_page(self) -> Page:
        """Say whether every part moves; that of the event loop is the answer itself."""
        from taggerd.observe.server import Page  # noqa: PLC0415 - loaded already

        if stuck := self._stuck():
            return Page(f"stuck: {stuck}\n".encode(), status=503)
        return Page(b"ok\n")

    async def _ready_page(self) -> Page:
        """Say whether photos are taken, how the service is, and how each backend is.

        A backend that is away is no reason to be not ready: photos are noticed and queued.
        """
        from taggerd.observe.server import Page  # noqa: PLC0415 - loaded already

        figures = await self._figures()
        told: dict[str, object] = {"health": "down", "waits_for": self._waits_for()}
        if figures is not None:
            told = {
                "health": figures.health,
                "backends": {each.base_url: each.error or "usable" for each in figures.endpoints},
                "problems": [
                    {"kind": each.kind, "subject": each.subject, "text": each.text}
                    for each in figures.problems
                ],
            }
        ready = told["health"] != "down"
        content = json.dumps({"ready": ready, **told}, indent=2, ensure_ascii=False) + "\n"
        return Page(content.encode(), "application/json", 200 if ready else 503)

    async def _listen(self, settings: MetricsSettings) -> None:
        """Listen, now or as soon as that is possible."""
        if not await self._try_to_listen(settings):
            self._listening = asyncio.create_task(self._keep_trying(settings), name="metrics")

    async def _keep_trying(self, settings: MetricsSettings) -> None:
        while True:
            await self._sleep(LISTEN_SECONDS)
            if await self._try_to_listen(settings):
                return

    async def _try_to_listen(self, settings: MetricsSettings) -> bool:
        from taggerd.observe.server import Server  # noqa: PLC0415 - costs nothing when off

        if settings.address is None:
            return True
        server = Server(
            settings.address,
            {
                "/metrics": self._metrics_page,
                "/healthz": self._alive_page,
                "/readyz": self._ready_page,
            },
        )
        try:
            await server.start()
        except OSError as error:
            text = f"{settings.address}: {error.strerror or error}"
            self._report("metrics.listen", text, "metrics are not served")
            return False
        self._server = server
        self._troubles.pop("metrics.listen", None)
        log.info("metrics are served", address=str(settings.address), port=server.port)
        if not settings.address.is_local:
            log.warning(
                "whoever reaches this address of the network reads the names of import folders",
                address=str(settings.address),
            )
        return True

    async def _stop_listening(self) -> None:
        self._troubles.pop("metrics.listen", None)
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None
        if self._server is not None:
            await self._server.close()
            self._server = None

    # The text file.

    async def _keep_textfile(self) -> None:
        """Renew the file as long as there are changes; then end: an idle daemon sleeps."""
        while self._changed:
            self._changed = False
            await self._write_textfile()
            await self._sleep(TEXTFILE_SECONDS)

    async def _replaced(self) -> None:
        """Wait for the thread that replaces the text file, if there is one."""
        if self._replacing is not None:
            await asyncio.wait([self._replacing])

    async def _write_textfile(self) -> None:
        if self._textfile is None:
            return
        content = await self._exposition(process=False)
        await self._replaced()  # the older figures would come last, and stay
        path = self._textfile
        if path is None:  # not wanted any more
            return
        from taggerd.observe import textfile  # noqa: PLC0415 - costs nothing when off

        self._replacing = asyncio.ensure_future(asyncio.to_thread(textfile.replace, path, content))
        try:
            await asyncio.shield(self._replacing)
        except OSError as error:
            text = f"{printable(path)}: {error.strerror or error}"
            self._report("metrics.textfile", text, "the metrics cannot be written")
        else:
            self._troubles.pop("metrics.textfile", None)

    def _report(self, setting: str, trouble: str, event: str) -> None:
        """Log a trouble when it begins or changes."""
        if self._troubles.get(setting) != trouble:
            log.error(event, reason=trouble)
        self._troubles[setting] = trouble
