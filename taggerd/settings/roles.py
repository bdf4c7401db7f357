"""Settings of the roles and their prompts."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from taggerd.settings.metadata import TextField  # noqa: TC001 - pydantic reads it as it runs
from taggerd.settings.section import Section, UserPath


class Role(Section):
    """One question about every photo."""

    model: str = Field("", description="Model for this role; empty: backend.model.")
    registry_role: str = Field(
        "", description="Role to look up in the registry; empty: the name of this role."
    )
    registry_model: str = Field("", description="Registry model to prefer for this role.")
    prompt: str = Field("", description="Prompt; empty: the one of the prompt profile.")
    max_tokens: int | None = Field(
        None,
        ge=16,
        le=32768,
        description="Longest answer, tokens; default: backend.max_tokens.",
    )
    temperature: float | None = Field(None, ge=0, le=2, description="Default: backend.temperature.")
    top_p: float | None = Field(None, gt=0, le=1, description="Default: backend.top_p.")


def _listed_as_json(value: object) -> object:
    """Accept a list as JSON or with commas: so environment variables give it to a role."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return [text.strip() for text in value.split(",")]
    return value


class OwnRole(Role):
    """A role of the user's own."""

    fields: Annotated[list[TextField], BeforeValidator(_listed_as_json)] = Field(
        description="XMP properties for the answer, each used by one role only; [] keeps it in the "
        "records only.",
    )
    max_characters: int = Field(
        1000, ge=10, le=10000, description="A longer answer is cut after a sentence or a word."
    )


class Roles(Section):
    """The roles, one table each."""

    # Tables with other names are roles of the user's own, in the order of the file.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OwnRole]

    caption: Role = Field(Role(), description="One line that names what the photo shows.")
    keywords: Role = Field(Role(), description="Words to find the photo by.")
    description: Role = Field(Role(), description="Two or three sentences.")

    @model_validator(mode="before")
    @classmethod
    def _names(cls, tables: object) -> object:
        """Refuse names that cannot be meant as roles."""
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if name in cls.model_fields:
                continue
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", str(name)) or name in _NO_ROLES:
                message = f"{name!r} cannot be the name of a role: use a-z, 0-9 and _"
                raise ValueError(message)
            if isinstance(table, dict) and "fields" not in table:
                near = get_close_matches(name, cls.model_fields, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                message = f"{name!r}{hint}: a role of your own needs fields = [...] or fields = []"
                raise ValueError(message)
        return tables

    @property
    def own(self) -> dict[str, OwnRole]:
        """The user's own roles, in order."""
        return dict(self.__pydantic_extra__)

    def named(self, role: str) -> Role:
        """Return the table of *role*; an empty one if there is none."""
        given = getattr(self, role) if role in type(self).model_fields else self.own.get(role)
        return given or Role()


ContextWord = Literal["place", "date", "folder", "keywords"]

_NO_ROLES = frozenset({*get_args(ContextWord), "combined", "decode", "metadata", "answer"})
"""Names with another meaning in a prompt or a record."""


class Prompts(Section):
    """The prompts."""

    profile: str = Field("default", description="Prompt profile: the name of a file NAME.toml.")
    directory: UserPath | None = Field(
        None, description="Folder of your own profiles; default: prompts/ beside the settings file."
    )
    context: list[ContextWord] = Field(
        ["place", "date"],
        description="What a prompt may say about a photo: place (the name of the nearest town, "
        "looked up on this machine; never coordinates), date (month and year), folder (its name), "
        "keywords (those that humans wrote). []: nothing.",
    )
    examples: list[Annotated[str, Field(max_length=300)]] = Field(
        [],
        max_length=10,
        description="Captions of your own that a prompt shows as examples of style; they are sent "
        "to the backend with every photo. taggerd suggestions offers those that you edited.",
    )
