"""A record: one line of a day file. This is the one definition of the JSONL.

A field's annotation says how the field is written and how it is read back. Day files outlive
versions of taggerd and people edit them, so nothing that is read is trusted: a value of another
type than expected counts as missing, and texts become one line of valid Unicode.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from taggerd.photo import Keyword, printable

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

SCHEMA_VERSION = 1

_CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""White space, controls, and the marks that turn the direction of all text that follows."""
_DIGEST = re.compile(r"[0-9a-f]{16,128}")


def _text(value: object) -> str:
    """Return *value* as one line; half surrogate pairs, which no file can hold, become ``?``."""
    if not isinstance(value, str):
        return ""
    return _CONTROLS.sub(" ", value.encode("utf-8", "replace").decode()).strip()


def _number(value: object) -> float:
    """Return *value* as a number that can be added up, else 0."""
    if not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return max(number, 0.0) if math.isfinite(number) else 0.0


def _texts(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value if isinstance(value, list) else ())))


def _table(read: Callable[[object], Any]) -> Callable[[object], dict[str, Any]]:
    def read_table(value: object) -> dict[str, Any]:
        items = value.items() if isinstance(value, dict) else ()
        return {_text(key): read(item) for key, item in items}

    return read_table


def _keywords(value: object) -> tuple[Keyword, ...]:
    found: dict[str, Keyword] = {}
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and (word := _text(entry.get("keyword"))):
            score = entry.get("score")
            found.setdefault(word, Keyword(word, score if isinstance(score, float) else None))
    return tuple(found.values())


def _moment(value: object) -> datetime | None:
    """Return an aware time; one without a zone is taken as UTC so that a re-read is the same."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _digest(value: object) -> str:
    """Return a digest that is safe as a file name, else nothing."""
    return value if isinstance(value, str) and _DIGEST.fullmatch(value) else ""


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _path(value: object) -> Path:
    name = value if isinstance(value, str) and value else "unnamed"
    return Path(os.fsdecode(name.encode("utf-8", "replace")))


class _Form(NamedTuple):
    """How a value stands in JSON."""

    kind: object
    """Its type there."""
    write: Callable[[Any], object]
    read: Callable[[object], object]

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let the schema describe what is written."""
        return handler(self.kind)


class KeywordJson(TypedDict):
    """A keyword, and how sure the model was of it where it said so."""

    keyword: str
    score: float | None


Text = Annotated[str, _Form(str, str, _text)]
Texts = Annotated[tuple[str, ...], _Form(list[str], list, _texts)]
TextByName = Annotated[Mapping[str, str], _Form(dict[str, str], dict, _table(_text))]
Digest = Annotated[str, _Form(str, str, _digest)]
Image = Annotated[
    Path, _Form(str, lambda path: str(path) if _is_utf8(path) else printable(path), _path)
]
Keywords = Annotated[
    tuple[Keyword, ...],
    _Form(
        list[KeywordJson],
        lambda found: [{"keyword": k.word, "score": k.score} for k in found],
        _keywords,
    ),
]
Flag = Annotated[bool, _Form(bool, bool, lambda value: value is True)]
Count = Annotated[int, _Form(int, int, lambda value: int(_number(value)))]
CountByName = Annotated[
    Mapping[str, int], _Form(dict[str, int], dict, _table(lambda n: int(_number(n))))
]
Seconds = Annotated[float, _Form(float, lambda seconds: round(seconds, 3), _number)]
SecondsByName = Annotated[
    Mapping[str, float],
    _Form(
        dict[str, float],
        lambda stages: {stage: round(s, 4) for stage, s in stages.items()},
        _table(_number),
    ),
]
Moment = Annotated[
    datetime | None,
    _Form(
        datetime | None,
        lambda moment: moment and moment.isoformat(timespec="milliseconds"),
        _moment,
    ),
]


@with_config(ConfigDict(use_attribute_docstrings=True))
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was done with one photo, in the order of the JSON's keys."""

    id: Text
    """Unique; a record is journalled once however often it is delivered."""
    image: Image
    """Path of the photo, exact also where it is not UTF-8: see ``image_base64``."""
    digest: Digest
    """64 hex digits, or empty if the file was never read."""
    files: Texts
    """Paths of all files of the photo, printable."""
    keywords: Keywords
    caption: Text
    description: Text
    roles: TextByName
    """Every role's answer as text (keywords joined by ``", "``), in the roles' order."""
    models: TextByName
    """Model by role."""
    inherited_from: Text
    """Name of the photo that was asked about, where that is another one of the same burst."""
    backend: Text
    """Base URL, without credentials."""
    prompt_profile: Text
    prompt_profile_digest: Text
    """Of the texts in it: a profile that was edited keeps its name."""
    metadata_written: Flag
    sidecars: Texts
    """Sidecars that hold the tags, printable paths."""
    embedded: Texts
    """Photo files that hold the tags themselves, printable paths."""
    notes: Texts
    error: Text
    """Why the photo is not tagged; empty if it is."""
    error_kind: Text
    """Name of the error's class, for counting; empty if all is well."""
    attempts: Count
    started_at: Moment
    """Aware; None where the line does not say."""
    finished_at: Moment
    duration_seconds: Seconds
    """As a monotonic clock measured it: the clock on the wall may be set meanwhile."""
    stages: SecondsByName
    """Seconds in each stage: ``decode, caption, keywords, description, metadata``."""
    usage: CountByName
    """``prompt_tokens``, ``completion_tokens``, ``requests``."""
    dry_run: Flag
    no_meta: Flag
    """``--no-meta``: the sidecars are left to a later scan."""
    held: Flag
    """Nothing was written: the words wait until somebody accepts them."""
    run: Text
    """Identity of the run: ``run-…`` for a daemon, ``scan-…`` for a scan."""
    version: Text
    """Of taggerd."""
    raw: TextByName
    """Raw answers that were not used, by role; in the JSON only if there are any."""

    @property
    def name(self) -> str:
        """The file's name, printable."""
        return printable(self.image.name)

    @property
    def folder(self) -> str:
        """The folder that the photo lies in, printable."""
        return printable(self.image.parent)

    @property
    def words(self) -> tuple[str, ...]:
        """The keywords without their scores."""
        return tuple(keyword.word for keyword in self.keywords)

    @property
    def own(self) -> dict[str, str]:
        """What the user's own roles answered, by role."""
        shown_elsewhere = ("caption", "keywords", "description")
        return {r: text for r, text in self.roles.items() if text and r not in shown_elsewhere}

    @property
    def has_words(self) -> bool:
        """Whether there is something to show of the photo."""
        return bool(self.caption or self.description or self.keywords or self.own)

    def to_json(self) -> dict[str, object]:
        """Return the record as a plain dict, ``schema_version`` first.

        Where the photo's path is not UTF-8, ``image`` is printable and ``image_base64`` holds its
        bytes, so that the photo can be found again.
        """
        told: dict[str, object] = {"schema_version": SCHEMA_VERSION}
        for name, form in _FORMS.items():
            told[name] = form.write(getattr(self, name))
            if name == "image" and not _is_utf8(self.image):
                told["image_base64"] = base64.b64encode(os.fsencode(self.image)).decode()
        if not self.raw:
            del told["raw"]
        return told


_FORMS: dict[str, _Form] = {
    name: get_args(hint)[1] for name, hint in get_type_hints(Record, include_extras=True).items()
}


def record_schema() -> dict[str, Any]:
    """Return the JSON schema of a line of a day file."""
    schema = TypeAdapter(Record).json_schema(mode="serialization")
    version = {"const": SCHEMA_VERSION, "type": "integer"}
    exact = {
        "description": "Bytes of the path, in base64; only where they are not UTF-8.",
        "type": "string",
    }
    schema["properties"] = {
        "schema_version": version,
        **schema["properties"],
        "image_base64": exact,
    }
    schema["required"] = ["schema_version", *(name for name in schema["required"] if name != "raw")]
    return schema


def parse(stored: bytes) -> Record | None:
    """Read one line of a day file; None if it is no record: a JSON object with an ``id``."""
    line = _line(stored)
    if line is None:
        return None
    values: dict[str, Any] = {name: form.read(line.get(name)) for name, form in _FORMS.items()}
    if isinstance(exact := line.get("image_base64"), str):
        with suppress(ValueError):
            values["image"] = Path(os.fsdecode(base64.b64decode(exact, validate=True)))
    return Record(**values | {"id": line["id"]})


def identity(stored: bytes | None) -> str:
    """Return the ``id`` of one line of a day file; empty if it is no record."""
    line = _line(stored or b"")
    return "" if line is None else str(line["id"])


def _line(stored: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    return (
        line if isinstance(line, dict) and isinstance(line.get("id"), str) and line["id"] else None
    )
