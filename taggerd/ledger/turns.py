"""Turns: photos are claimed, take their way step by step, and the claim ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.errors import StorageError
from taggerd.ledger import admission, claims, contents
from taggerd.ledger.atrest import Place, name_beside, pack_sidecars, unpack_sidecars
from taggerd.ledger.inthread import InThread, batches, in_thread, paid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from taggerd.ledger.port import Claim, Held, Outgoing
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
        standing: bool = True,
    ) -> list[Claim]:
        """See the port. Claims that a cancelled caller never sees are given back."""
        rests = standing and within is not None
        claiming = asyncio.ensure_future(self._claim(limit, within, run, now, rests=rests))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StorageError):  # then they go back when this owner ends
                for claim in await claiming:
                    await self.defer(claim, "", 0)
            raise

    @in_thread
    def _claim(
        self, limit: int, within: Sequence[Path] | None, run: str, now: float, *, rests: bool
    ) -> list[Claim]:
        self._look_within(within)
        with self._database.transaction():
            if rests and self._database.row("paused", now=now):
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
    def survived(self, claim: Claim) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("survived", photo=claim.id, token=claim.token)
            self._database.do("no_deaths", photo=claim.id, token=claim.token)

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

    @paid
    def finish(
        self, claim: Claim, record: Outgoing | None, *, digest: str, sidecars_written: bool
    ) -> bool:
        """See the port."""
        with self._database.transaction():
            held = self._database.do(
                "finish",
                photo=claim.id,
                token=claim.token,
                now=self._clock(),
                content=contents.number_of(self._database, digest),
                sidecars_written=sidecars_written,
                anew_since=claim.anew_since,
            )
            if held:
                claims.send(self._database, record)
                admission.drop_if_fileless(self._database, claim.id)
        return held > 0

    @paid
    def release(
        self, claim: Claim, record: Outgoing | None = None, *, as_it_was: bool = False
    ) -> None:
        """See the port."""
        with self._database.transaction():
            if claims.put_back(
                self._database, claim, now=self._clock(), uncharged=True, released_by=claim.run
            ):
                claims.send(self._database, record)
                if as_it_was:
                    self._database.do("as_it_was", photo=claim.id)

    @in_thread
    def defer(self, claim: Claim, reason: str, until: float) -> None:
        """See the port."""
        with self._database.transaction():
            claims.put_back(
                self._database,
                claim,
                now=self._clock(),
                uncharged=True,
                reason=reason,
                not_before=until,
            )

    @in_thread
    def resettle(self, claim: Claim) -> None:
        """See the port."""
        with self._database.transaction():
            claims.resettle(self._database, claim, self._clock())

    @paid
    def fail(
        self,
        claim: Claim,
        reason: str,
        *,
        final: bool,
        retryable_sidecar: bool = False,
        record: Outgoing | None = None,
    ) -> bool:
        """See the port."""
        with self._database.transaction():
            quarantined = self._database.do(
                "quarantine",
                photo=claim.id,
                token=claim.token,
                now=self._clock(),
                reason=reason,
                retryable=retryable_sidecar,
                final=final,
                max_attempts=self._max_attempts,
            )
            if quarantined:
                claims.send(self._database, record)
                admission.drop_if_fileless(self._database, claim.id)
            else:
                claims.put_back(
                    self._database, claim, now=self._clock(), uncharged=False, reason=reason
                )
        return quarantined > 0

    async def undone(self, files: Iterable[Path]) -> int:
        """See the port."""
        return sum([await self._undone(batch) for batch in batches(files)])

    @in_thread
    def _undone(self, files: Sequence[Path]) -> int:
        now, database = self._clock(), self._database
        with database.transaction():
            places = (Place.of(path)._asdict() for path in files)
            return sum(database.do("undone", now=now, **place) for place in places)
