"""Which photos a scan takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from taggerd.attempt import RunOptions
    from taggerd.ledger import FileState, State
    from taggerd.photo import Photo


def needless(
    photo: Photo, states: Mapping[Path, FileState], options: RunOptions, asked_as: str = ""
) -> str:
    """Return why a run with *options* would leave *photo* alone; empty: it would tag it.

    *asked_as*: the questions of the run; a photo that failed over others gets another attempt.
    """
    of_photo = [states[file.path] for file in photo.files]
    found = {state.state for state in of_photo}
    if not options.asks:
        wanted, otherwise = {"recorded"}, "not tagged yet"
        if options.accept:  # or accepted before, and not written yet
            wanted, otherwise = {"held", "queued"}, "not held"
        return "" if found <= wanted else otherwise
    if found & {"new", "changed", "queued"} or (found & written_by(options)):
        return ""
    first = of_photo[0]
    if first.state == "quarantined":
        failed = f"failed before: {first.reason}; taggerd retry PATH tries it again"
        return "" if first.asked_as not in {"", asked_as} else failed
    if first.state == "claimed":
        return "in flight in another taggerd"
    if options.ask_again:
        return ""
    when = time.strftime("%Y-%m-%d", time.localtime(first.since))
    return _DONE.get(first.state, "answered on {}, not written").format(when)


def written_by(options: RunOptions) -> set[State]:
    """Return the states of answered photos whose sidecars a run with *options* writes.

    Whoever has a scan write without holding wants those that are held, too.
    """
    if not options.writes:
        return set()
    return {"unwritten"} if options.hold else {"unwritten", "held"}


_DONE = {
    "recorded": "tagged on {}",
    "held": "answered on {}, waits to be accepted; taggerd accept PATH writes it",
    "dropped": "not accepted on {}; taggerd retry PATH or scan --retag tags it again",
    "undone": "undone on {}; taggerd retry PATH or scan --retag tags it again",
}
