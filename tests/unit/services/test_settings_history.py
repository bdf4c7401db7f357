"""When the settings for sidecars changed: what is kept, and what follows for a photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.ledger import SqliteLedger
from taggerd.services.settings_history import SettingsHistory, recall_history, settings_digest
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("when", "changed"), [(0.5, True), (1.0, True), (2.0, False), (3.0, True), (4.0, False)]
)
def test_a_photo_is_outdated_if_other_settings_were_in_force(when: float, changed: bool) -> None:
    """Settings that were changed and changed back leave only the photos in between."""
    history = SettingsHistory(((1.0, "a"), (2.0, "b"), (3.0, "a"), (4.0, "b")))
    assert history.changed_since(when) is changed


def test_without_a_history_nothing_is_outdated() -> None:
    """Nobody is told of changes that are not known."""
    assert not SettingsHistory().changed_since(1.0)


async def test_only_changes_are_kept(tmp_path: Path) -> None:
    """The same settings add nothing, and a dry run keeps nothing."""
    first = Settings.model_validate({})
    other = Settings.model_validate({"metadata": {"target": "both"}})
    assert settings_digest(first) != settings_digest(other)
    ledger = await SqliteLedger.open(tmp_path)
    try:
        await recall_history(ledger, first, 1.0, keep=True)
        await recall_history(ledger, first, 2.0, keep=True)
        tried = await recall_history(ledger, other, 3.0, keep=False)
        assert tried.changed_since(2.5)
        known = await recall_history(ledger, first, 4.0, keep=True)
        assert [at for at, _ in known.changes] == [1.0]
        await ledger.note("sidecars.settings", ["damaged", 1])
        assert not (await recall_history(ledger, first, 5.0, keep=True)).changed_since(1.0)
    finally:
        await ledger.close()
