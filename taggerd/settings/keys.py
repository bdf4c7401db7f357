"""The dotted keys of the settings, and the nearest one to a misspelt key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pydantic import BaseModel

from taggerd.settings.roles import OwnRole, Roles
from taggerd.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo


def leaves(
    model: type[BaseModel] = Settings, at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield every setting that is not itself a table, with its keys."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from leaves(section, (*at, name))
        else:
            yield (*at, name), field


def leaves_of_own(roles: object) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield the settings of the *roles* that are the user's own."""
    for name in roles if isinstance(roles, dict) else ():
        if name not in Roles.model_fields:
            yield from leaves(OwnRole, ("roles", name))


def fields_at(keys: list[str]) -> Mapping[str, FieldInfo] | None:
    """Return the settings of the table at *keys*; None if there is no such table."""
    fields: Mapping[str, FieldInfo] = Settings.model_fields
    for depth, key in enumerate(keys):
        own = OwnRole if keys[:depth] == ["roles"] else None
        section = fields[key].annotation if key in fields else own
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return None
        fields = section.model_fields
    return fields


def nearest_to(keys: list[str]) -> str:
    """Return the dotted key most similar to *keys*; empty if none is similar."""
    wanted = ".".join(keys)
    best = (0.0, "")
    tables = {".".join(known[:n]) for known, _ in leaves() for n in range(1, len(known))}
    for known in [".".join(known) for known, _ in leaves()] + sorted(tables):
        whole = difflib.SequenceMatcher(None, wanted, known).ratio()
        last = difflib.SequenceMatcher(None, keys[-1], known.rsplit(".", 1)[-1]).ratio()
        best = max(best, (max(whole, last * 0.95), known))
    if wanted.startswith(f"{best[1]}."):
        return ""  # the table or list around it: that part was right
    return best[1] if best[0] > 0.6 else ""  # noqa: PLR2004 - difflib's own default cutoff
