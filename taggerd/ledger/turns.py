"""Turns: photos are claimed, take their way step by step, and the claim ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.errors import StorageError
from taggerd.ledger import admission, claims, contents
from taggerd.ledger.atrest import Place, name_beside, pack_sidecars, unpack_sidecars
from taggerd.ledger.inthread import InThread, batches, in_thread, paid
from taggerd.ledger.port import Deferred, Moved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from taggerd.ledger.port import Claim, Ending, Held, Rewritten
    from taggerd.photo import Answer, Sidecar


class Turns(InThread):
    """The part of :class:`taggerd.ledger.port.Ledger` that a photo's way goes through."""

    async def claim(
        self,
        limit: int,
        *,
        within: Sequence[Path] | None,
        run: str,
        now: float,
        ignore_pause: bool = False,
    ) -> list[Claim]:
        """See the port. Claims that a cancelled caller never sees are given back."""
        pausable = within is not None and not ignore_pause
        claiming = asyncio.ensure_future(self._claim(limit, within, run, now, pausable=pausable))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StorageError):  # then they go back when this owner ends
                for claim in await claiming:
                    await self.end(claim, Deferred())
            raise

    @in_thread
    def _claim(
        self, limit: int, within: Sequence[Path] | None, run: str, now: float, *, pausable: bool
    ) -> list[Claim]:
        self._look_within(within)
        with self._database.transaction():
            if pausable and self._database.row("paused", now=now):
                return []
            return claims.begin(
                self._database,
                limit,
                order=self._order,
                max_attempts=self._max_attempts,
                owner=self._me,
                run=run,
                wanted=within is None,
                now=now,
            )

    @in_thread
    def decoded(self, claim: Claim) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("decoded", photo=claim.id, token=claim.token)
            self._database.do("no_crashes", photo=claim.id, token=claim.token)

    @in_thread
    def answers(self, digest: str) -> list[Held]:
        """See the port."""
        return contents.answers(self._database, digest)

    @paid
    def checkpoint(self, claim: Claim, digest: str, answer: Answer) -> None:  # noqa: ARG002  # kept also when the claim is lost: it is paid
        """See the port."""
        with self._database.transaction():
            contents.keep(self._database, digest, answer, self._clock())

    @in_thread
    def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """See the port."""
        with self._database.transaction():
            held = self._database.row("sidecars", photo=claim.id, token=claim.token)
            if held is None:
                return
            known = unpack_sidecars(held["stem"], held["sidecars"])
            stamps = {file.path: file.stamp for file in claim.photo.files}
            for sidecar in sidecars:
                if sidecar.stamp is not None and (before := stamps.get(sidecar.path)):
                    admission.restamp(self._database, sidecar.path, before, sidecar.stamp)
                if not sidecar.error and not sidecar.embedded:
                    known[name_beside(sidecar.path, claim.photo.folder)] = sidecar.digest
            self._database.do(
                "written",
                photo=claim.id,
                token=claim.token,
                content=contents.number_of(self._database, digest),
                sidecars=pack_sidecars(held["stem"], known) or None,
            )

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """See the port. What was paid for is on the disk when it returns."""
        ended = await self._end(claim, ending)
        if not isinstance(ending, Deferred | Moved):
            await self._state.durability.reached()
        return ended

    @in_thread
    def _end(self, claim: Claim, ending: Ending) -> bool:
        with self._database.transaction():
            return claims.end(
                self._database,
                claim,
                ending,
                now=self._clock(),
                max_attempts=self._max_attempts,
            )

    async def mark_undone(self, files: Iterable[Path], rewritten: Iterable[Rewritten] = ()) -> int:
        """See the port."""
        for changed in batches(rewritten):
            await self._restamp(changed)
        return sum([await self._mark_undone(batch) for batch in batches(files)])

    @in_thread
    def _restamp(self, rewritten: Sequence[Rewritten]) -> None:
        with self._database.transaction():
            for file in rewritten:
                admission.restamp(self._database, file.path, file.before, file.after)

    @in_thread
    def _mark_undone(self, files: Sequence[Path]) -> int:
        now, database = self._clock(), self._database
        with database.transaction():
            places = (Place.of(path)._asdict() for path in files)
            return sum(database.do("undone", now=now, **place) for place in places)
