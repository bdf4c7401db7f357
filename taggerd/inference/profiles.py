"""Prompt profiles: named sets of prompts, one TOML file each.

The shipped ones are in ``taggerd/data/prompts``. Users have theirs in a folder of their own; they
win over shipped ones of the same name.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taggerd.errors import ConfigurationError
from taggerd.photo import brief, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

Wants = Literal["text", "keywords"]
"""What kind of answer a prompt asks for."""

ROLES = ("caption", "keywords", "description")
"""The roles that every profile has, in the order in which they are asked."""
_SHIPPED = Path(str(files("taggerd"))) / "data" / "prompts"


class RolePrompt(BaseModel):
    """The prompt of one role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1)
    """``{max_keywords}`` in it is replaced by a number."""
    form: str = ""
    """How to answer if nothing else is asked; follows the prompt."""
    max_tokens: int = Field(ge=16, le=32768)
    """Longest answer, tokens."""
    wants: Wants = "text"

    @property
    def whole(self) -> str:
        """The text of the question if it is asked alone."""
        return " ".join(filter(None, (self.prompt.strip(), self.form.strip())))


class _ProfileFile(BaseModel):
    """The tables of a profile's TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = ""
    description: str = ""
    roles: dict[str, RolePrompt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named set of prompts."""

    name: str
    system: str
    """Precedes every picture, the same for all roles."""
    roles: Mapping[str, RolePrompt]
    """At least those of :data:`ROLES`."""
    description: str = ""
    """One line for people."""
    shipped: bool = False
    """It is ours, and may be spelt as the language of the answers is."""

    @property
    def digest(self) -> str:
        """BLAKE2b-128 over all that is sent, 32 hex digits: not over name and description."""
        texts = {role: prompt.model_dump() for role, prompt in self.roles.items()}
        sent = json.dumps([self.system, texts], sort_keys=True)
        return hashlib.blake2b(sent.encode(), digest_size=16).hexdigest()


def available_profiles(directory: Path | None = None) -> dict[str, Path]:
    """Return the file of each profile by name: the shipped ones, and those in *directory* first.

    A *directory* that does not exist has none: it is a default that few people use.
    """
    folders = [_SHIPPED] if directory is None else [_SHIPPED, directory]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def load_profile(name: str, directory: Path | None = None) -> Profile:
    """Read the profile *name*.

    Raises:
        ConfigurationError: there is none of that name, or its file is damaged.
    """
    profiles = available_profiles(directory)
    if name not in profiles:
        near = get_close_matches(name, profiles, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        where = f" in {printable(directory)} or" if directory else ""
        known = ", ".join(sorted(profiles))
        message = f"no prompt profile {name!r}{where} among the shipped ones; {hint}known: {known}"
        raise ConfigurationError(message)
    path = profiles[name]
    read = _read(path)
    missing = [role for role in ROLES if role not in read.roles]
    if missing:
        message = f"{printable(path)}: a profile needs a table [roles.{missing[0]}]"
        raise ConfigurationError(message)
    return Profile(
        name=name,
        system=read.system.strip(),
        roles=read.roles,
        description=read.description,
        shipped=path.parent == _SHIPPED,
    )


def _read(path: Path) -> _ProfileFile:
    """Read a profile's file. Raises :class:`ConfigurationError`."""
    where = printable(path)
    try:
        return _ProfileFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"cannot read the prompt profile {where}: {error.strerror}"
    except UnicodeDecodeError:
        message = f"{where} is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        message = f"{where} is not valid TOML: {brief(str(error))}"
    except RecursionError:
        message = f"{where} is nested too deeply"
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{where}: {brief('.'.join(map(str, first['loc'])))}: {first['msg'].lower()}"
    except ValueError:  # Python reads no number of thousands of digits
        message = f"{where} has a number that is too long"
    raise ConfigurationError(message)
