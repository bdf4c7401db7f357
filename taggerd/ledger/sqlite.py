"""The ledger in an SQLite file in the state directory: the embedded default.

One thread owns the connection; the coroutines hand it whole transactions. A method marked
``@_in_thread`` is written as that thread runs it and is awaited like the port says.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, Self, TypeVar

from taggerd.errors import StorageError
from taggerd.ledger import admission, claims
from taggerd.ledger.atrest import (
    Place,
    answer_of,
    answer_text,
    digest_bytes,
    file_of,
    folder_bytes,
    folder_range,
    name_beside,
    path_of,
    stamp_columns,
    stamp_of,
)
from taggerd.ledger.port import (
    Admitted,
    Claim,
    Counts,
    Held,
    Json,
    Outgoing,
    Quarantined,
    Standing,
    State,
)
from taggerd.ledger.statedirectory import DATABASE, StateDirectory

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from taggerd.ledger.database import Value
    from taggerd.photo import Answer, PhotoFile, Sidecar, Stamp

P = ParamSpec("P")
T = TypeVar("T")

BATCH = 1000
"""Files taken in one transaction."""


def _in_thread(
    method: Callable[Concatenate[SqliteLedger, P], T],
) -> Callable[Concatenate[SqliteLedger, P], Coroutine[None, None, T]]:
    """Make a coroutine of *method* that runs it in the ledger's thread."""

    @wraps(method)
    async def call(self: SqliteLedger, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._state.run(partial(method, self, *args, **kwargs))

    return call


class SqliteLedger:
    """Keeps :class:`taggerd.ledger.port.Ledger` in ``<state directory>/ledger.sqlite``."""

    def __init__(
        self, state: StateDirectory, *, max_attempts: int, order: Literal["newest", "oldest"]
    ) -> None:
        """Use an open *state*; :meth:`open` is the usual way."""
        self._state = state
        self._database = state.database
        self._me = state.owners.me
        self._clock = state.clock
        self._max_attempts = max_attempts
        self._order = order
        self._scope: tuple[Path, ...] | None = None

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        exclusive: bool = False,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "newest",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the ledger in the state *directory*, making both if need be.

        A damaged database is set aside and named in :attr:`notices`. What dead owners had claimed
        is given back.

        Args:
            directory: the state directory.
            exclusive: this is the daemon; a state directory has one at most.
            max_attempts: a photo that failed this often is quarantined.
            order: which settled photo comes first.
            clock: the time, seconds since the epoch.

        Raises:
            StartError: the directory cannot be used, or another daemon uses it.
            StorageError: the disk is full or failing.
        """
        state = await StateDirectory.open(directory, exclusive=exclusive, clock=clock)
        ledger = cls(state, max_attempts=max_attempts, order=order)
        try:
            await ledger.recover()
        except BaseException:
            await state.close()
            raise
        return ledger

    @staticmethod
    def exists(directory: Path) -> bool:
        """Say whether there is a ledger in the state *directory*."""
        return (directory / DATABASE).exists()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know about the opening, one line each."""
        return self._state.notices

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on this state directory; None if none runs."""
        return self._state.daemon_pid()

    async def close(self) -> None:
        """See the port."""
        if not self._state.closed:
            try:
                with suppress(StorageError):  # then they go back when this owner is found gone
                    await self._give_back()
            finally:
                await self._state.close()

    @_in_thread
    def _give_back(self) -> None:
        with self._database.transaction():
            claims.put_back_all(self._database, self._me, now=self._clock(), died=False)

    # What was seen on disk.

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        anew: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """See the port. A thousand files make one transaction."""
        total = Admitted()
        for batch in _batches(files):
            terms = admission.Terms(
                self._clock(), anew=anew, sidecars=sidecars, run=run, owner=self._me
            )
            total += await self._admit(batch, terms)
        return total

    @_in_thread
    def _admit(self, files: Sequence[PhotoFile], terms: admission.Terms) -> Admitted:
        with self._database.transaction():
            return admission.admit(self._database, files, terms)

    async def standing(self, files: Iterable[PhotoFile]) -> Mapping[Path, Standing]:
        """See the port."""
        standings: dict[Path, Standing] = {}
        for batch in _batches(files):
            standings |= await self._standing(batch)
        return standings

    @_in_thread
    def _standing(self, files: Sequence[PhotoFile]) -> dict[Path, Standing]:
        return {file.path: self._standing_of(file) for file in files}

    def _standing_of(self, file: PhotoFile) -> Standing:
        row = self._database.row("file_standing", **Place.of(file.path)._asdict())
        if row is None:
            return Standing("new")
        state: State = row["state"]
        if stamp_of(row) != file.stamp:
            state = "changed"
        elif row["retryable"] if state == "quarantined" else not row["sidecars_written"]:
            undone = state == "recorded" and row["recorded"] == admission.UNDONE
            state = "unwritten" if state in {"recorded", "quarantined"} else state
            state = "undone" if undone else state
        return Standing(state, row["reason"], row["since"])

    @_in_thread
    def known(self, folder: Path) -> dict[Path, Stamp]:
        """See the port."""
        path = folder_bytes(folder)
        files = (file_of(path, row) for row in self._database.rows("folder_files", path=path))
        return {file.path: file.stamp for file in files}

    @_in_thread
    def stamps(self, folders: Sequence[Path]) -> list[set[tuple[bytes, int, int, int, int]]]:
        """See the port."""
        return [self._database.tuples("folder_stamps", path=folder_bytes(path)) for path in folders]

    async def unknown(self, files: Iterable[PhotoFile]) -> list[PhotoFile]:
        """See the port."""
        return [file for batch in _batches(files) for file in await self._unknown(batch)]

    @_in_thread
    def _unknown(self, files: Sequence[PhotoFile]) -> list[PhotoFile]:
        return [file for file in files if not self._is_known(file)]

    def _is_known(self, file: PhotoFile) -> bool:
        row = self._database.row("file_stamp", **Place.of(file.path)._asdict())
        return row is not None and stamp_of(row) == file.stamp

    @_in_thread
    def folders(self, below: Path) -> list[Path]:
        """See the port."""
        low, high = folder_range(below)
        return [
            path_of(r["path"]) for r in self._database.rows("folders_below", low=low, high=high)
        ]

    async def forget(self, paths: Iterable[Path]) -> None:
        """See the port."""
        for batch in _batches(paths):
            await self._forget(batch)

    @_in_thread
    def _forget(self, paths: Sequence[Path]) -> None:
        with self._database.transaction():
            admission.forget(self._database, paths, self._clock())

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """See the port."""
        now = self._clock()
        noted = await self._noted_gone(below)
        for batch in _batches(path for path in noted if path not in paths):
            await self._note_gone(batch, None)
        for batch in _batches(path for path in paths if path not in noted):
            await self._note_gone(batch, now)
        noted = await self._noted_gone(below)
        overdue = [path for path, since in noted.items() if now - since >= grace_seconds]
        await self.forget(overdue)
        return overdue

    @_in_thread
    def _noted_gone(self, below: Path) -> dict[Path, float]:
        low, high = folder_range(below)
        return {
            path_of(row["folder"] + row["stem"] + row["suffix"]): row["gone_since"]
            for row in self._database.rows("gone_files", low=low, high=high)
        }

    @_in_thread
    def _note_gone(self, paths: Sequence[Path], since: float | None) -> None:
        with self._database.transaction():
            for path in paths:
                self._database.do("set_gone", gone_since=since, **Place.of(path)._asdict())

    # The way of a photo.

    async def claim(
        self, limit: int, *, within: Sequence[Path] | None, run: str, now: float
    ) -> list[Claim]:
        """See the port. Claims that a cancelled caller never sees are given back."""
        claiming = asyncio.ensure_future(self._claim(limit, within, run, now))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StorageError):  # then they go back when this owner ends
                for claim in await claiming:
                    await self.defer(claim, "", 0)
            raise

    @_in_thread
    def _claim(
        self, limit: int, within: Sequence[Path] | None, run: str, now: float
    ) -> list[Claim]:
        self._look_within(within)
        with self._database.transaction():
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

    @_in_thread
    def survived(self, claim: Claim) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("survived", photo=claim.id, token=claim.token)

    @_in_thread
    def answers(self, digest: str) -> list[Held]:
        """See the port."""
        return [
            Held(answer_of(row["role"], row["question"], row["answer"]), row["at"])
            for row in self._database.rows("answers", digest=digest_bytes(digest))
        ]

    @_in_thread
    def checkpoint(self, claim: Claim, digest: str, answer: Answer) -> None:  # noqa: ARG002  # kept also when the claim is lost: it is paid
        """See the port."""
        asked = {"role": answer.role, "question": answer.question}
        with self._database.transaction(paid=True):
            self._database.do("put_question", **asked)
            self._database.do(
                "put_answer",
                digest=digest_bytes(digest),
                at=self._clock(),
                answer=answer_text(answer),
                **asked,
            )

    @_in_thread
    def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """See the port."""
        held: dict[str, Value] = {"photo": claim.id, "token": claim.token}
        with self._database.transaction():
            self._database.do("written", digest=digest_bytes(digest), **held)
            for sidecar in sidecars:
                if sidecar.stamp is not None:
                    admission.restamp(self._database, claim, sidecar.path, sidecar.stamp)
                if not sidecar.error and not sidecar.embedded:
                    name = name_beside(sidecar.path, claim.photo.folder)
                    self._database.do("put_sidecar", name=name, digest=sidecar.digest, **held)

    @_in_thread
    def finish(
        self, claim: Claim, record: Outgoing | None, *, digest: str, sidecars_written: bool
    ) -> bool:
        """See the port."""
        with self._database.transaction(paid=True):
            held = self._database.do(
                "finish",
                photo=claim.id,
                token=claim.token,
                now=self._clock(),
                digest=digest_bytes(digest),
                sidecars_written=sidecars_written,
                anew_since=claim.anew_since,
            )
            if held:
                claims.send(self._database, record)
                admission.drop_if_fileless(self._database, claim.id)
        return held > 0

    @_in_thread
    def release(
        self, claim: Claim, record: Outgoing | None = None, *, as_it_was: bool = False
    ) -> None:
        """See the port."""
        with self._database.transaction(paid=record is not None):
            if claims.put_back(
                self._database, claim, now=self._clock(), uncharged=True, released_by=claim.run
            ):
                claims.send(self._database, record)
                if as_it_was:
                    self._database.do("as_it_was", photo=claim.id)

    @_in_thread
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

    @_in_thread
    def resettle(self, claim: Claim) -> None:
        """See the port."""
        with self._database.transaction():
            claims.resettle(self._database, claim, self._clock())

    @_in_thread
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
        with self._database.transaction(paid=record is not None):
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
        return sum([await self._undone(batch) for batch in _batches(files)])

    @_in_thread
    def _undone(self, files: Sequence[Path]) -> int:
        now, database = self._clock(), self._database
        with database.transaction():
            places = (Place.of(path)._asdict() for path in files)
            return sum(database.do("undone", now=now, **place) for place in places)

    @_in_thread
    def restamped(self, path: Path, before: Stamp, after: Stamp) -> None:
        """See the port."""
        place = Place.of(path)._asdict()
        with self._database.transaction():
            row = self._database.row("file_stamp", **place)
            if row is not None and stamp_of(row) == before:
                self._database.do("restamp_known", **place, **stamp_columns(after))

    # The journal's outbox.

    @_in_thread
    def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """See the port."""
        mine: dict[str, Value] = {"stream": stream, "owner": self._me, "limit": limit}
        if not self._database.rows("undelivered", **mine):
            return []  # the usual case needs no turn at writing
        with self._database.transaction():
            rows = self._database.rows("undelivered", **mine)
            for row in rows:
                self._database.do("lend", id=row["id"], owner=self._me)
        return [Outgoing(row["record"], row["day"], row["line"], row["stream"]) for row in rows]

    @_in_thread
    def delivered(self, ids: Iterable[str]) -> None:
        """See the port."""
        with self._database.transaction():
            for record in ids:
                self._database.do("delivered", record=record)

    # How things stand.

    @_in_thread
    def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """See the port."""
        if within is None:
            row = self._database.one("count_all")
        else:
            self._look_within(within)
            row = self._database.one("count_within")
        waiting = {key: row[key] for key in ("queued", "claimed", "unwritten", "quarantined")}
        return Counts(recorded=row["photos"] - sum(waiting.values()), **waiting)

    @_in_thread
    def quarantined(self, limit: int, within: Sequence[Path] | None = None) -> list[Quarantined]:
        """See the port."""
        self._look_within(within)
        return [
            Quarantined(claims.photo_of(self._database, row["id"]), row["reason"], row["since"])
            for row in self._database.rows("quarantined", limit=limit)
        ]

    @_in_thread
    def retry(self, within: Sequence[Path] | None) -> int:
        """See the port."""
        self._look_within(within)
        terms = admission.Terms(self._clock())
        with self._database.transaction():
            rows = self._database.rows("quarantined", limit=-1)
            if within is not None:
                rows += self._database.rows("undone_within")
            for row in rows:
                admission.queue(self._database, row["id"], terms)
        return len(rows)

    @_in_thread
    def next_due(self, within: Sequence[Path] | None, run: str) -> float | None:
        """See the port."""
        self._look_within(within)
        due: float | None = self._database.one("next_due", run=run, wanted=within is None)["due"]
        return due

    @_in_thread
    def quiet(self, within: Sequence[Path] | None, run: str) -> bool:
        """See the port."""
        self._look_within(within)
        row = self._database.one("quiet", run=run, wanted=within is None, owner=self._me)
        return bool(row["quiet"])

    @_in_thread
    def recover(self) -> int:
        """See the port."""
        try:
            return sum(self._give_back_of(owner) for owner in self._dead_owners())
        except OSError as error:
            message = f"the owners of the ledger cannot be told apart: {error}"
            raise StorageError(message) from error

    def _dead_owners(self) -> list[str]:
        owners = {row["owner"] for row in self._database.rows("owners")}
        others = (owners | self._state.owners.all()) - {self._me}
        return [owner for owner in others if not self._state.owners.alive(owner)]

    def _give_back_of(self, owner: str) -> int:
        """Give back what a dead owner held; its file goes last, so that a kill changes nothing."""
        with self._database.transaction():
            count = claims.put_back_all(self._database, owner, now=self._clock(), died=True)
        self._state.owners.bury(owner)
        return count

    def _look_within(self, within: Sequence[Path] | None) -> None:
        """Tell the queries which folders and files are meant."""
        scope = (Path("/"),) if within is None else tuple(within)
        if scope == self._scope:
            return
        self._scope = None
        self._database.do("clear_scope")
        for path in scope:
            low, high = folder_range(path)
            place = Place.of(path)
            self._database.do(
                "add_scope",
                low=low,
                high=high,
                parent=place.folder,
                stem=place.stem,
                suffix=place.suffix,
            )
        self._scope = scope

    # Small things that other rooms want to find again after a restart.

    @_in_thread
    def note(self, key: str, value: Json) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("note", key=key, value=json.dumps(value))

    @_in_thread
    def recall(self, key: str) -> Json:
        """See the port."""
        row = self._database.row("recall", key=key)
        value: Json = json.loads(row["value"]) if row else None
        return value


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut *items* into lists of :data:`BATCH`."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
