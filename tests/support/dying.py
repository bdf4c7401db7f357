"""taggerd as it is, but killed by SIGKILL at a named instant.

``python -m support.dying WHERE COUNT ARGUMENTS…`` runs ``taggerd ARGUMENTS…`` and dies the COUNTth
time that it comes to WHERE, one of :data:`BOUNDARIES`. Inside the worker process both die at once,
as in a power cut. The program itself knows nothing of this: its functions are wrapped from here.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import io
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import HasFileno

_STEPS = ("claim", "decoded", "checkpoint", "written", "end")
_OUTBOX = ("outbox", "delivered")
_CALLS = ("prepare", "read_embedded", "inspect", "normalise", "write")
"""Functions that run in a worker process."""
_STATEMENTS = ("claim", "new_claim", "decoded", "no_crashes", "put_answer", "spend")
_INSIDE_WRITE = (
    "targets", "opened", "half", "written", "synced", "placed", "renamed", "unlinked", "lasting"
)  # fmt: skip

ADMITTED = ("admit:before", "put_file:uncommitted", "admit:after")
"""From the folder into the queue; once."""

IN_AN_ATTEMPT = (
    *(f"{name}:{side}" for name in (*_STEPS, *_CALLS) for side in ("before", "after")),
    *(
        f"{name}:{side}"
        for name in ("reached", "confirm", "thumbnail")
        for side in ("before", "after")
    ),
    *(f"{name}:uncommitted" for name in (*_STATEMENTS, "written", "finish", "send")),
    "prepare/begun",
    "prepare/done",
    *(f"write/{point}" for point in _INSIDE_WRITE),
)
"""From the queue to the record in the outbox."""

TO_THE_JOURNAL = (
    "outbox:before",
    "lend:uncommitted",
    "outbox:after",
    "deliver:before",
    "append:before",
    "append:half",
    "append:written",
    "append:synced",
    "deliver:after",
    "delivered:before",
    "delivered:uncommitted",
    "delivered:after",
    "summarise:before",
    "summarise:half",
    "summarise:after",
)
"""From the outbox into the day file, and the pages made of it."""

FOLLOWING = (
    *(
        f"{name}:{side}"
        for name in ("notify", "relocated", "prepare_moves", "carry_out")
        for side in ("before", "after")
    ),
    *(f"{name}:after" for name in ("_publish", "_transfer", "_remove_old", "rename_new")),
    "defer_notice:before",
    "keep_notice:uncommitted",
    "notice_done:uncommitted",
    "relocate_photo:uncommitted",
)
"""From the journal to the hooks, and to where the photo is released."""

HOLDING = (
    *(f"{query}:uncommitted" for query in ("finish", "let_go", "hold")),
    "end:before",
    "end:after",
)
"""From the answers to a photo that is held."""

ACCEPTING = (
    "accept:before",
    "accept:uncommitted",
    "request:uncommitted",
    "accept:after",
    "claim:after",
    "write:before",
    "write/placed",
    "written:before",
    "written:after",
    *(f"{query}:uncommitted" for query in ("finish", "let_go", "send")),
    "end:after",
)
"""From there to its sidecar."""

COPYING_IN = (
    "_refuse_others:after",
    "_copy_in:before",
    "_copy_in:after",
    "keep:before",
    "keep:after",
)
"""From the state directory into a database, before that has taken anything."""

MOVING_IN = (
    "write:before",
    "write:after",
    "_name_old:before",
    "_name_old:after",
    "remove:before",
    "remove:after",
)
"""From then on."""

MOVING_OUT = (
    "_copy_out:before",
    "_copy_out:after",
    "keep:before",
    "keep:after",
    "_name_new:before",
    "_name_new:after",
)
"""And back."""

BOUNDARIES = (*ADMITTED, *IN_AN_ATTEMPT, *TO_THE_JOURNAL)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _die_with_program() -> NoReturn:
    # By its number: a worker's parent is the process that it was forked from.
    os.kill(int(sys.argv[-1]), signal.SIGKILL)
    _die()


class _Fuse:
    """Counts how often a boundary was reached, in any thread."""

    def __init__(self, where: str, count: int) -> None:
        self.where = where
        self._left = count
        self._lock = threading.Lock()

    def burn(self, where: str) -> bool:
        """Say whether this is the time to die at *where*, or past it."""
        if where != self.where:
            return False
        with self._lock:
            self._left -= 1
            return self._left <= 0

    def reach(self, where: str) -> None:
        """Die if it is time."""
        if self.burn(where):
            _die()


def _around(owner: Any, name: str, fuse: _Fuse) -> None:  # noqa: ANN401 - a class or a module
    """Make *owner*'s function, which may be a coroutine, die before or after its work."""
    original = getattr(owner, name)
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            fuse.reach(f"{name}:before")
            result = await original(*args, **kwargs)
            fuse.reach(f"{name}:after")
            return result
    else:

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            fuse.reach(f"{name}:before")
            result = original(*args, **kwargs)
            fuse.reach(f"{name}:after")
            return result

    setattr(owner, name, call)


def _wrap_ledger(fuse: _Fuse) -> None:
    from taggerd.ledger import sqlite  # noqa: PLC0415 - only in the program that dies
    from taggerd.ledger.database import Database  # noqa: PLC0415 - likewise
    from taggerd.ledger.durability import Durability  # noqa: PLC0415 - likewise

    for name in ("admit", *_STEPS, *_OUTBOX, "notify", "relocated", "defer_notice", "accept"):
        _around(sqlite.SqliteLedger, name, fuse)
    _around(Durability, "reached", fuse)
    do = Database.do

    @functools.wraps(do)
    def dying_do(self: Database, query: str, /, **values: Any) -> int:  # noqa: ANN401 - SQL's
        done = do(self, query, **values)
        fuse.reach(f"{query}:uncommitted")
        return done

    Database.do = dying_do  # type: ignore[method-assign]


def _wrap_workers(fuse: _Fuse) -> None:
    from taggerd.workers.pool import Workers  # noqa: PLC0415 - only in the program that dies

    run = Workers.run

    async def dying_run(
        self: Workers,
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401 - whatever it takes
        **options: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - the function's
        name = function.__name__
        fuse.reach(f"{name}:before")
        if fuse.where.startswith(f"{name}/") and fuse.burn(fuse.where):
            result = await run(self, dying_call, fuse.where, function, args, options)
        else:
            result = await run(self, function, *args, **options)
        fuse.reach(f"{name}:after")
        return result

    Workers.run = dying_run  # type: ignore[method-assign]
    if "/" in fuse.where:  # a decoder cannot kill the program: that is what its cage is for
        init = Workers.__init__

        def uncaged(self: Workers, *args: Any, returns: Any = (), **_: Any) -> None:  # noqa: ANN401
            init(self, *args, returns=returns)

        Workers.__init__ = uncaged  # type: ignore[method-assign]


def _wrap_journal(fuse: _Fuse) -> None:
    from taggerd.journal import dayfile, disk, journal  # noqa: PLC0415 - only where it dies

    for name in ("thumbnail", "deliver", "summarise"):
        _around(journal.Journal, name, fuse)
    write_all, fsync = dayfile._write_all, os.fsync

    def dying_write_all(descriptor: int, content: bytes) -> None:
        fuse.reach("append:before")
        if content and fuse.burn("append:half"):
            half = len(content) // 2
            os.write(descriptor, content[: half - (content[half - 1 : half] == b"\n")])
            _die()
        write_all(descriptor, content)
        fuse.reach("append:written")

    def dying_fsync(fd: int | HasFileno) -> None:
        fsync(fd)
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if name.endswith(".jsonl"):
            fuse.reach("append:synced")
        elif name.endswith(disk.TEMPORARY_SUFFIX) and "/summaries/" in name:
            fuse.reach("summarise:half")

    dayfile._write_all = dying_write_all
    os.fsync = dying_fsync


def _wrap_pipeline(fuse: _Fuse) -> None:
    from taggerd import pipeline  # noqa: PLC0415 - only in the program that dies

    _around(pipeline, "confirm", fuse)


def _wrap_release(fuse: _Fuse) -> None:
    from taggerd import files  # noqa: PLC0415 - only where it dies
    from taggerd.arrivals import release  # noqa: PLC0415 - likewise

    release.prepare_moves = release.prepare  # type: ignore[attr-defined]
    _around(release, "prepare_moves", fuse)
    release.prepare = release.prepare_moves  # type: ignore[attr-defined]
    for name in ("carry_out", "_publish", "_transfer", "_remove_old"):
        _around(release, name, fuse)
    _around(files, "rename_new", fuse)


def _wrap_moving(fuse: _Fuse) -> None:
    if fuse.where not in {*COPYING_IN, *MOVING_IN, *MOVING_OUT}:
        return
    from taggerd.ledger.moved import Departure  # noqa: PLC0415 - only in the program that dies
    from taggerd.ledger.postgres import move, moving  # noqa: PLC0415 - likewise

    for name in ("_refuse_others", "_copy_in", "_name_old", "_copy_out", "_name_new"):
        _around(move, name, fuse)
    for owner, name in ((Departure, "write"), (moving.Move, "keep"), (moving.Move, "remove")):
        _around(owner, name, fuse)


def dying_call(
    where: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:  # noqa: ANN401 - the function's
    """Call *function* in a worker process that dies at *where*, and the program with it."""
    name, _, point = where.partition("/")
    if point == "begun":
        _die_with_program()
    if name == "write":
        _wrap_replacing(point)
    result = function(*args, **options)
    if point == "done":
        _die_with_program()
    return result


def _wrap_replacing(point: str) -> None:
    """Die at *point* of the atomic replacement of a sidecar."""
    from taggerd import files  # noqa: PLC0415 - only where it dies
    from taggerd.metadata import atomic, naming  # noqa: PLC0415 - only where it dies

    def after(owner: Any, name: str) -> None:  # noqa: ANN401 - a class or a module
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401 - whatever it takes
            original(*args, **kwargs)
            _die_with_program()

        setattr(owner, name, call)

    class Half(io.BufferedWriter):
        def write(self, data: Any) -> NoReturn:  # noqa: ANN401 - bytes
            super().write(data[: len(data) // 2])
            self.flush()
            _die_with_program()

    def dying_open(descriptor: int, mode: str, **options: Any) -> Any:  # noqa: ANN401 - a file
        if mode != "wb":
            return builtins.open(descriptor, mode, **options)
        if point == "opened":
            _die_with_program()
        return Half(io.FileIO(descriptor, "w"))

    if point in {"opened", "half"}:
        atomic.open = dying_open  # type: ignore[attr-defined]
    elif point == "unlinked":

        def dying_fsync_name(path: Path) -> None:  # noqa: ARG001 - the name in its stead
            _die_with_program()

        atomic.fsync_name = dying_fsync_name
    else:
        after(
            *{
                "targets": (naming, "targets"),
                "written": (files, "copy_owner"),
                "synced": (os, "fsync"),
                "placed": (atomic, "_link"),
                "renamed": (files, "exchange"),
                "lasting": (atomic, "fsync_name"),
            }[point]
        )


def main() -> int:
    """Run the program until it comes to the boundary."""
    where, count, *arguments = sys.argv[1:]
    moving = {*COPYING_IN, *MOVING_IN, *MOVING_OUT}
    if where not in {*BOUNDARIES, *FOLLOWING, *HOLDING, *ACCEPTING} | moving:
        sys.exit(f"no such boundary: {where}")
    fuse = _Fuse(where, int(count))
    for wrap in (_wrap_ledger, _wrap_workers, _wrap_journal, _wrap_pipeline, _wrap_release):
        wrap(fuse)
    _wrap_moving(fuse)
    from taggerd import cli  # noqa: PLC0415 - after its functions are wrapped

    return cli.main(arguments)


if __name__ == "__main__":
    # Workers import it by this name, to find `dying_call`.
    sys.exit(import_module("support.dying").main())
