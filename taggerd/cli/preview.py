"""The preview of ``taggerd setup``: some photos are asked about, and nothing is written."""

from __future__ import annotations

import tempfile
import time
import uuid
from typing import TYPE_CHECKING

from taggerd.attempt import RunOptions
from taggerd.cli import interrupts, options
from taggerd.errors import TaggerdError
from taggerd.photo import printable
from taggerd.scan import ScanRequest, scan_photos
from taggerd.settings import configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from taggerd.cli.dialogue import Dialogue
    from taggerd.runner.outcome import Outcome
    from taggerd.scan import Estimate, Tally

_TEXT = "     "


def show_words(
    folders: Sequence[Path],
    count: int,
    values: Mapping[str, object],
    config: Path | None,
    dialogue: Dialogue,
) -> float:
    """Ask about some photos and show the words; return seconds per photo, 0 if none got any.

    The queue, the answers and the records are in a folder that is gone afterwards.

    Args:
        folders: where the photos lie.
        count: how many of them, drawn from all.
        values: settings that are not written yet, by dotted key.
        config: the settings file, if one is named.
        dialogue: shows them.
    """
    shown = _Shown(dialogue)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taggerd-setup-") as state:
        own = {"state_directory": state, "journal.directory": f"{state}/outputs"}
        try:
            tried = configuration.load(options.nested({**values, **own}), config=config)
            run = RunOptions(run=f"setup-{uuid.uuid4().hex[:12]}", dry_run=True)
            interrupts.run(scan_photos(tried, ScanRequest(folders, run, sample=count), shown))
        except TaggerdError as error:
            dialogue.say(f"That did not work: {error}")
    took, asked = time.monotonic() - began, shown.tagged + shown.failed
    if shown.failed:
        dialogue.say()
        dialogue.say(
            f"{shown.failed} of {asked} photos got no words from this model. Another may do better."
        )
    return took / asked if shown.tagged else 0.0


class _Shown:
    """Hears of each photo, and shows its words."""

    def __init__(self, dialogue: Dialogue) -> None:
        """Show them by *dialogue*."""
        self._dialogue = dialogue
        self.tagged = self.failed = 0

    async def proceeds(self, estimate: Estimate) -> bool:  # noqa: ARG002 - the form of an observer
        """Begin: it was asked before."""
        return True

    def probing(self, base_url: str) -> None:
        """Say nothing: it was probed a moment ago."""

    def paused(self, reason: str) -> None:
        """Say nothing: a preview is made now."""

    def read_only(self, reason: str) -> None:
        """Say nothing: nothing is written."""

    def first_jpegs(self) -> None:
        """Say nothing: nothing is written."""

    def settings_changed(self) -> None:
        """Say nothing: nothing is written."""

    def warned(self, warning: str) -> None:
        """Say nothing: what the describer is was said when it was chosen."""

    def begun(self, todo: int, tally: Tally) -> None:  # noqa: ARG002 - as above
        """Say that it takes a while."""
        self._dialogue.say(f"Asking about {todo} photo{'' if todo == 1 else 's'} …")

    def outcome(self, outcome: Outcome, tally: Tally) -> None:  # noqa: ARG002 - as above
        """Show one photo."""
        name, record = printable(outcome.photo.primary.path.name), outcome.record
        if outcome.kind == "tagged" and record is not None:
            self.tagged += 1
            self._dialogue.say()
            self._dialogue.say(name, style="bold")
            words = ", ".join(keyword.word for keyword in record.keywords)
            for label, text in (
                ("Caption", record.caption),
                ("Description", record.description),
                ("Keywords", words),
            ):
                self._dialogue.say(f"{label}: {text}", indent=_TEXT)
        elif outcome.kind == "failed":
            self.failed += 1
            self._dialogue.say()
            self._dialogue.say(name, style="bold")
            self._dialogue.say(outcome.reason, indent=_TEXT)
