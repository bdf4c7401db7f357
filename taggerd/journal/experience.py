"""What photos took before, by the same models: what an estimate rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from taggerd.journal.metrics import spans
from taggerd.photo import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.journal.record import Record

MOST_PHOTOS = 500
"""So many of the latest tell as much as all."""
MOST_DAYS = 90
"""Older ones are of another machine, another server or another prompt."""
_GAP = timedelta(seconds=10)
"""Between photos that were worked on without a pause."""


@dataclass(slots=True)
class Experience:
    """What some photos took."""

    photos: int = 0
    usage: Usage = field(default_factory=Usage)
    by_model: dict[str, Usage] = field(default_factory=dict)
    """The same by model; where several answered about one photo, in equal parts."""
    active_seconds: float = 0.0
    """In which at least one of them was worked on."""
    models: str = ""
    """Those that answered."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Experience:
        """Add up *records*."""
        total, names = cls(photos=len(records)), dict[str, None]()
        for record in records:
            took = Usage(*(record.usage.get(name, 0) for name in Usage._fields))
            total.usage = total.usage.plus(took)
            models = list(dict.fromkeys(filter(None, record.models.values()))) or [""]
            names |= dict.fromkeys(models)
            for model in models:
                part = Usage(*(number // len(models) for number in took))
                total.by_model[model] = total.by_model.get(model, Usage()).plus(part)
        active = ((end - start).total_seconds() for start, end, _ in spans(records, _GAP))
        total.active_seconds, total.models = sum(active), ", ".join(filter(None, names))
        return total


def alike(records: Iterable[Record], models: Mapping[str, str]) -> list[Record]:
    """Return those of *records* whose photo was asked about, in each role, to these *models*.

    A role whose model is empty may have been any one's. Servers add a date or a version to the name
    that they were asked for, so a name counts that begins like it.
    """
    return [
        record
        for record in records
        if not record.error
        and record.usage.get("requests", 0) > 0
        and record.models.keys() >= models.keys()
        and all(_is(record.models[role], model) for role, model in models.items())
    ]


def _is(answered: str, asked: str) -> bool:
    return answered.startswith(asked) or asked.endswith(f"/{answered}")
