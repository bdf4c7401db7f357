"""The queue as a whole: how it stands, what is put back into it, whether it is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger import admission, claims
from taggerd.ledger.inthread import InThread, in_thread
from taggerd.ledger.port import Counts, Pause, Quarantined, Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Queue(InThread):
    """The part of :class:`taggerd.ledger.port.Ledger` that looks at all photos at once."""

    @in_thread
    def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """See the port."""
        if within is None:
            row = self._database.one("count_all")
        else:
            self._look_within(within)
            row = self._database.one("count_within")
        waiting = {key: row[key] for key in ("queued", "claimed", "unwritten", "quarantined")}
        return Counts(recorded=row["photos"] - sum(waiting.values()), **waiting)

    @in_thread
    def quarantined(self, limit: int, within: Sequence[Path] | None = None) -> list[Quarantined]:
        """See the port."""
        self._look_within(within)
        return [
            Quarantined(claims.photo_of(self._database, row["id"]), row["reason"], row["since"])
            for row in self._database.rows("quarantined", limit=limit)
        ]

    @in_thread
    def retry(self, within: Sequence[Path] | None, *, failed: bool = False) -> int:
        """See the port."""
        self._look_within(within)
        terms = admission.Terms(self._clock())
        with self._database.transaction():
            if failed:
                rows = self._database.rows("failed")
            else:
                rows = self._database.rows("quarantined", limit=-1)
            if within is not None and not failed:  # to be undone is no failure
                rows += self._database.rows("undone_within")
            for row in rows:
                admission.queue(self._database, row["id"], terms)
        return len(rows)

    @in_thread
    def waiting(self, within: Sequence[Path] | None, run: str) -> Waiting:
        """See the port."""
        self._look_within(within)
        row = self._database.one("waiting", run=run, wanted=within is None, owner=self._me)
        due: float | None = row["due"]
        paused = self._database.row("paused", now=self._clock()) if within is not None else None
        if due is not None and paused is not None:
            due = None if paused["until"] is None else max(due, paused["until"])
        return Waiting(due, nothing_left=row["due"] is None and not row["claimed"])

    @in_thread
    def pause(self, pause: Pause | None) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("resume")
            if pause is not None:
                self._database.do(
                    "pause", reason=pause.reason, since=pause.since, until=pause.until
                )

    @in_thread
    def paused(self, now: float) -> Pause | None:
        """See the port."""
        row = self._database.row("paused", now=now)
        return Pause(row["reason"], row["since"], row["until"]) if row else None
