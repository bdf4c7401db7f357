"""Every setting, as one tree: name, default, unit, meaning, bounds.

``config/taggerd.toml`` is generated from this tree (:mod:`taggerd.configuration`), and so are the
messages about a wrong key. Where a value comes from is decided in :mod:`taggerd.configuration` too.
"""

from __future__ import annotations

import json
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from taggerd.hours import Hours
from taggerd.photo import IMAGE_EXTENSIONS, RAW_EXTENSIONS, RENDERED_EXTENSIONS


def _expanded(value: object) -> object:
    """Expand ``~`` in a path given as text."""
    return Path(value).expanduser() if isinstance(value, str) else value


Folder = Annotated[Path, BeforeValidator(_expanded)]


def default_state_directory() -> Path:
    """Return ``$STATE_DIRECTORY`` (set by systemd), else ``$XDG_STATE_HOME/taggerd``."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "taggerd"


def _without_blanks(table: object, blank: frozenset[str]) -> object:
    """Take ``key = ""`` for not given where a setting has no default to show."""
    if not isinstance(table, dict):
        return table
    return {key: value for key, value in table.items() if value != "" or key not in blank}


class Section(BaseModel):
    """One table of the settings file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _blank_is_default(cls, table: object) -> object:
        optional = (name for name, field in cls.model_fields.items() if field.default is None)
        return _without_blanks(table, frozenset(optional))


class Root(Section):
    """One import folder."""

    path: Folder = Field(description="The folder, absolute.")
    mode: Literal["auto", "inotify", "poll"] = Field(
        "auto",
        description="How changes are noticed; auto polls network and FUSE file systems.",
    )
    recursive: bool | None = Field(
        None, description="Folders below too; default: arrivals.recursive."
    )
    settle_seconds: float | None = Field(
        None, ge=0, le=86400, description="Default: arrivals.settle_seconds."
    )
    ignore: list[str] = Field([], description="Further globs to ignore under this root.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            message = f"an import folder needs an absolute path, not {str(path)!r}"
            raise ValueError(message)
        return path


def _root_table(value: object) -> object:
    """Accept a bare path where a root table is expected."""
    return {"path": value} if isinstance(value, str | Path) else value


def _normal_extensions(value: object) -> object:
    """Accept ``".JPG"`` and ``"jpg"`` alike, and one comma-separated text."""
    if isinstance(value, str):
        value = [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, list | tuple):
        return [v.lower().lstrip(".") if isinstance(v, str) else v for v in value]
    return value


class Arrivals(Section):
    """How new photos are noticed."""

    roots: list[Annotated[Root, BeforeValidator(_root_table)]] = Field(
        [],
        description='Import folders: paths, or tables {path = "/srv/import", mode = "auto", '
        "recursive = true, settle_seconds = 5.0, ignore = []}.",
    )
    settle_seconds: float = Field(
        5.0,
        ge=0,
        le=86400,
        description="Seconds a file must stay unchanged before it counts as complete.",
    )
    reconcile_minutes: float = Field(
        30.0,
        gt=0,
        le=10080,
        description="Minutes between full comparisons of the disk with the queue.",
    )
    poll_seconds: float = Field(
        10.0, gt=0, le=86400, description="Seconds between looks at a root in poll mode."
    )
    recursive: bool = Field(default=True, description="Look into folders below a root.")
    image_extensions: Annotated[list[str], BeforeValidator(_normal_extensions)] = Field(
        [*RENDERED_EXTENSIONS, *sorted(RAW_EXTENSIONS)],
        min_length=1,
        description="File name extensions taken as photos, without the dot.",
    )
    ignore: list[str] = Field(
        [],
        description='Globs of names or paths below a root to leave alone, e.g. ["*_preview.jpg"].',
    )
    forget_days: float = Field(
        30.0,
        ge=0,
        le=36500,
        description="Days after which a photo that is gone is forgotten; its answers are kept.",
    )
    unpack: bool = Field(
        default=False,
        description="Unpack the photos and sidecars of a ZIP into a folder beside it, once; the "
        "ZIP stays. Not where recursive is off.",
    )
    archive_keywords: list[str] = Field(
        [],
        description='Keywords for every photo that came out of a ZIP; "{archive}" stands for the '
        "ZIP's name without its extension.",
    )
    unpack_members: int = Field(
        20_000, ge=1, le=1_000_000, description="A ZIP with more members is left alone."
    )
    unpack_gigabytes: float = Field(
        50.0, gt=0, le=100_000, description="A ZIP that unpacks to more is left alone, gigabytes."
    )
    unpack_ratio: float = Field(
        100.0,
        gt=1,
        le=10_000,
        description="A ZIP that unpacks to more times its own size is taken for a bomb.",
    )

    def extensions(self, *, recursive: bool) -> list[str]:
        """Return the extensions of all that is waited for: photos, and archives where unpacked."""
        return [*self.image_extensions, *(["zip"] if self.unpack and recursive else [])]

    @field_validator("roots")
    @classmethod
    def _once(cls, roots: list[Root]) -> list[Root]:
        """Refuse a folder named twice; one in another is served by the inner one's settings."""
        seen: set[str] = set()
        for root in roots:
            path = os.path.normpath(root.path)
            if path in seen:
                message = f"the import folder {path!r} is named twice: keep one of the two"
                raise ValueError(message)
            seen.add(path)
        return roots

    @field_validator("image_extensions")
    @classmethod
    def _known(cls, extensions: list[str]) -> list[str]:
        unknown = [e for e in extensions if e not in IMAGE_EXTENSIONS]
        if unknown:
            message = (
                f"cannot read .{unknown[0]} files; known: {' '.join(sorted(IMAGE_EXTENSIONS))}"
            )
            raise ValueError(message)
        return extensions


def _listed(value: object) -> object:
    """Accept one text where a list of texts is expected."""
    return [value] if isinstance(value, str) else value


def _address(url: str) -> str:
    """Check an address of a backend."""
    if url in {"auto", "builtin:"}:
        return url
    if not url.startswith(("http://", "https://")):
        message = 'must be "auto", "builtin:", or begin with http:// or https://'
        raise ValueError(message)
    return url.rstrip("/")


class Endpoint(Section):
    """One of several places that serve the models."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        description="Address up to and including /v1."
    )
    api_key: SecretStr | None = Field(None, description="Its own key; sent nowhere else.")
    model: str = Field("", description="Model asked here; empty: backend.model.")
    max_concurrency: int | None = Field(
        None, ge=1, le=256, description="Requests under way here; default: as for the backend."
    )


def _endpoint_table(value: object) -> object:
    """Accept a bare address where an endpoint's table is expected."""
    return {"base_url": value} if isinstance(value, str) else value


class Backend(Section):
    """The OpenAI-compatible service that looks at the photos."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "auto",
        description='Address up to and including /v1. "auto" looks for Ollama, LM Studio, '
        'llama-server and vLLM on this machine; "builtin:" is the describer inside the program, '
        "which says only what pixels show.",
    )
    api_key: SecretStr | None = Field(
        None, description="Key, if the backend wants one; better given as a systemd credential."
    )
    model: str = Field("", description="Model for every role; empty: the first the backend lists.")
    timeout_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest wait for one answer, seconds."
    )
    max_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Most requests under way at once, from all taggerd programs of this machine; "
        "fewer where the backend refuses more or slows down.",
    )
    endpoints: list[Annotated[Endpoint, BeforeValidator(_endpoint_table)]] = Field(
        [],
        description="Several backends instead of base_url: addresses, or tables "
        '{base_url = "http://gpu1:8000/v1", api_key = "...", model = "...", max_concurrency = 4}. '
        "Each photo is asked about at one of them. api_key above is not sent to them.",
    )
    request_mode: Literal["per-role", "combined"] = Field(
        "per-role",
        description="per-role: one request for each answer; combined: one for all roles of a "
        "model, where it can answer so.",
    )
    preflight: bool = Field(default=True, description="Probe the backend before work starts.")
    preflight_minutes: float = Field(
        10.0, gt=0, le=10080, description="Minutes between probes of a running daemon."
    )
    use_registry: bool = Field(
        default=False, description="Resolve each role's model from a registry file."
    )
    use_loader: bool = Field(
        default=False,
        description="Take registry names as logical names and send the name that is served.",
    )
    registry_path: Folder | None = Field(
        None, description="The registry file, JSON (see models.example.json)."
    )

    @field_validator("endpoints")
    @classmethod
    def _apart(cls, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Refuse a place named twice, and one that has to be looked for."""
        urls = [endpoint.base_url for endpoint in endpoints]
        if "auto" in urls:
            message = 'each needs an address: "auto" is for base_url'
            raise ValueError(message)
        if len(set(urls)) < len(urls):
            message = "an address is named twice: keep one of the two"
            raise ValueError(message)
        return endpoints


class Schedule(Section):
    """When the backend may be asked."""

    active: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [],
        description='Windows of local time, e.g. ["22:00-07:00"] or ["Mon-Fri 20:00-07:00", '
        '"Sat,Sun 00:00-24:00"]; days are those on which a window begins. Outside of them the '
        "daemon asks the backend nothing; photos arrive and wait. Empty: always.",
    )

    @field_validator("active")
    @classmethod
    def _windows(cls, texts: list[str]) -> list[str]:
        Hours.of(texts)
        return texts

    @property
    def hours(self) -> Hours:
        """The windows."""
        return Hours.of(self.active)


class Role(Section):
    """One question asked of every photo."""

    model: str = Field("", description="Model for this role; empty: backend.model.")
    registry_role: str = Field(
        "", description="Role looked up in the registry; empty: the role's own name."
    )
    registry_model: str = Field("", description="Name preferred in the registry for this role.")
    prompt: str = Field("", description="Text of the question; empty: the prompt profile's.")
    max_tokens: int | None = Field(
        None, ge=16, le=32768, description="Longest answer, tokens; default: the prompt profile's."
    )


TextField = Literal[
    "dc:description",
    "dc:title",
    "photoshop:Headline",
    "tiff:ImageDescription",
    "Iptc4xmpCore:AltTextAccessibility",
    "Iptc4xmpCore:ExtDescrAccessibility",
    "photoshop:Instructions",
    "acdsee:notes",
]
"""The XMP properties that may take a text; all others are somebody else's."""


def _listed_as_json(value: object) -> object:
    """Accept a list as JSON, as an environment variable gives it where names are the user's."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return [value]
    return value


class OwnRole(Role):
    """A question of the user's own."""

    fields: Annotated[list[TextField], BeforeValidator(_listed_as_json)] = Field(
        description="XMP properties that take the answer, each in one role alone; [] keeps it in "
        "the records only.",
    )
    max_characters: int = Field(
        1000, ge=10, le=10000, description="A longer answer is cut after a sentence or a word."
    )


class Roles(Section):
    """The questions, one table each."""

    # Tables of other names are roles of the user's own, in the order in which they are given.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OwnRole]

    caption: Role = Field(Role(), description="One line that names what is seen.")
    keywords: Role = Field(Role(), description="Words to find the photo by.")
    description: Role = Field(Role(), description="Two or three sentences.")

    @model_validator(mode="before")
    @classmethod
    def _names(cls, tables: object) -> object:
        """Refuse names that nobody means as a role's."""
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if name in cls.model_fields:
                continue
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", str(name)) or name in _NO_ROLES:
                message = f"{name!r} cannot name a role: take small letters, digits and _"
                raise ValueError(message)
            if isinstance(table, dict) and "fields" not in table:
                near = get_close_matches(name, cls.model_fields, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                message = f"{name!r}{hint}: a role of your own needs fields = [...]; [] writes none"
                raise ValueError(message)
        return tables

    @property
    def own(self) -> dict[str, OwnRole]:
        """The user's own roles, in order."""
        return dict(self.__pydantic_extra__)

    def named(self, role: str) -> Role:
        """Return the table of *role*; an empty one where there is none."""
        given = getattr(self, role) if role in type(self).model_fields else self.own.get(role)
        return given or Role()


ContextWord = Literal["place", "date", "folder", "keywords"]

_NO_ROLES = frozenset({*get_args(ContextWord), "combined", "decode", "metadata", "answer"})
"""Names that mean something else in a prompt or a record."""


class Prompts(Section):
    """The texts of the questions."""

    profile: str = Field("default", description="Name of the prompt profile: a file NAME.toml.")
    directory: Folder | None = Field(
        None, description="Folder of your own profiles; default: prompts/ beside the settings file."
    )
    context: list[ContextWord] = Field(
        ["place", "date"],
        description="What a prompt may tell of a photo besides its pixels: place (the nearest "
        "town's name, looked up on this machine; never coordinates), date (month and year), "
        "folder (its name), keywords (those that humans gave). []: nothing.",
    )


class Image(Section):
    """The picture that is sent."""

    max_edge: int = Field(1024, ge=128, le=8192, description="Longest side, pixels.")
    quality: int = Field(85, ge=30, le=100, description="JPEG quality.")
    max_megapixels: float = Field(
        250.0,
        gt=0,
        le=2000,
        description="Larger pictures are refused from their header, megapixels.",
    )


class Workers(Section):
    """The processes that touch foreign bytes, so that a bad file harms nothing else."""

    processes: int = Field(2, ge=1, le=64, description="How many.")
    memory_megabytes: int = Field(
        2048, ge=512, le=65536, description="Address space of each, megabytes."
    )
    deadline_seconds: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="Longest time for one file before its process is replaced, seconds.",
    )
    files_per_process: int = Field(
        500, ge=1, le=100000, description="A process is replaced after this many files."
    )


class Queue(Section):
    """The order of work."""

    photos_in_flight: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Photos worked on at once; default: two for each request that may be under "
        "way, so that pictures are ready before there is room for them.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="A photo that failed this often on its own account is quarantined.",
    )
    order: Literal["newest", "oldest"] = Field(
        "newest", description="Which settled photo comes first."
    )


KeywordField = Literal["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"]


class Fields(Section):
    """Which answer goes into which XMP property."""

    caption: list[TextField] = Field(
        ["photoshop:Headline", "dc:title", "Iptc4xmpCore:AltTextAccessibility"],
        description="Properties that take the caption (dc:title only where it is empty).",
    )
    description: list[TextField] = Field(
        ["dc:description", "tiff:ImageDescription"],
        description="Properties that take the description.",
    )
    keywords: list[KeywordField] = Field(
        ["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"],
        description="Keyword lists that are written; lists already present get the union too.",
    )


def _known_language(tag: str) -> str:
    """Return a language tag (BCP 47) as it is usually written; one that is unknown is refused."""
    if not tag.strip():
        return ""
    from babel.core import Locale, UnknownLocaleError  # noqa: PLC0415 - few people need it

    tag = tag.strip().replace("_", "-")
    try:
        Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        message = f'{tag!r} is no language that is known; write one as "fr", "pt-BR" or "zh-Hant"'
        raise ValueError(message) from None
    first, *rest = tag.split("-")
    cased = (part.title() if len(part) == _SCRIPT_LETTERS else part.upper() for part in rest)
    return "-".join([first.lower(), *cased])


_SCRIPT_LETTERS = 4
"""Letters of a script in a language tag (ISO 15924); regions have two, or three digits."""


class Metadata(Section):
    """What is written."""

    language: str = Field(
        "",
        description='Language of texts and keywords, e.g. "fr", "pt-BR", "ja" (BCP 47); empty: as '
        "the prompts have it, with English rules for keywords.",
    )
    target: Literal["sidecar", "embed", "both"] = Field(
        "sidecar",
        description="Where tags go. embed: into JPEG, PNG, WebP, TIFF and DNG, with exiftool also "
        "into HEIC and AVIF; a sidecar where that could harm the file, or where one exists. Never "
        "into proprietary raw.",
    )
    overwrite: bool = Field(
        default=False, description="Replace texts that a human wrote (said in the record)."
    )
    backup_originals: bool = Field(
        default=False,
        description="Keep a sidecar, or a photo that is embedded into, beside it as it was before "
        "it changes.",
    )
    fields: Fields = Field(Fields(), description="Which answer goes into which XMP property.")

    @field_validator("language")
    @classmethod
    def _language(cls, tag: str) -> str:
        return _known_language(tag)


class Ownership(Section):
    """How the words that taggerd wrote are marked, beside its own record in every sidecar."""

    keyword: str = Field(
        "",
        description='A word, e.g. "AI", under which machine keywords are listed once more in the '
        "hierarchical lists; empty: nowhere.",
    )

    @field_validator("keyword")
    @classmethod
    def _one_level(cls, word: str) -> str:
        if set(word) & set("|/") or not word.isprintable():
            message = "must be one word or name, without | and /"
            raise ValueError(message)
        return " ".join(word.split())


class SidecarNames(Section):
    """How a new sidecar is called."""

    naming: Literal["auto", "full", "stem"] = Field(
        "auto",
        description="auto: IMG.xmp for proprietary raw, IMG.ext.xmp for all else; full: always "
        "IMG.ext.xmp; stem: always IMG.xmp. One that exists is always used.",
    )


VocabularyMode = Literal["prefer", "only"]


class Keywords(Section):
    """How keywords are cleaned."""

    max: int = Field(15, ge=1, le=100, description="Most keywords a photo gets from the model.")
    stop: list[str] = Field([], description="Words never written as keywords.")
    vocabulary: Folder | None = Field(
        None,
        description="Your list of keywords: Lightroom's (tab-indented, {synonym}, [not exported]) "
        "or one word a line, UTF-8.",
    )
    mode: VocabularyMode = Field(
        "prefer",
        description="prefer: words that the vocabulary knows are spelled and placed as in it; "
        "only: all others are dropped.",
    )


class Journal(Section):
    """Records, summaries, metrics and report pages."""

    directory: Folder | None = Field(
        None, description="Folder; default: outputs/ in the state directory."
    )
    retention_days: int = Field(
        0, ge=0, le=36500, description="Delete day files older than this; 0: never."
    )
    compress_after_days: int = Field(
        0, ge=0, le=36500, description="Compress JSONL day files older than this; 0: never."
    )


class Service(Section):
    """The daemon."""

    drain_seconds: float = Field(
        20.0, ge=0, le=600, description="Longest wait for photos under way when stopping, seconds."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto",
        description="auto: coloured on a terminal, plain elsewhere, with priorities for journald.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level shown."
    )


class Settings(BaseSettings):
    """taggerd's settings."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="TAGGERD__",
        env_nested_delimiter="__",
    )

    state_directory: Folder = Field(
        default_factory=default_state_directory,
        description="Queue, answers and outputs; default: $STATE_DIRECTORY, "
        "else $XDG_STATE_HOME/taggerd.",
    )
    arrivals: Arrivals = Field(Arrivals(), description="How new photos are noticed.")
    backend: Backend = Field(
        Backend(), description="The OpenAI-compatible service that looks at the photos."
    )
    schedule: Schedule = Field(Schedule(), description="When the backend may be asked.")
    roles: Roles = Field(Roles(), description="The questions, one table each.")
    prompts: Prompts = Field(Prompts(), description="The texts of the questions.")
    image: Image = Field(Image(), description="The picture that is sent.")
    workers: Workers = Field(Workers(), description="The processes that touch foreign bytes.")
    queue: Queue = Field(Queue(), description="The order of work.")
    metadata: Metadata = Field(Metadata(), description="What is written.")
    ownership: Ownership = Field(Ownership(), description="How machine words are marked.")
    sidecar: SidecarNames = Field(SidecarNames(), description="How a new sidecar is called.")
    keywords: Keywords = Field(Keywords(), description="How keywords are cleaned.")
    journal: Journal = Field(Journal(), description="Records, summaries, metrics and report pages.")
    service: Service = Field(Service(), description="The daemon.")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_default(cls, table: object) -> object:
        return _without_blanks(table, frozenset({"state_directory"}))

    @property
    def journal_directory(self) -> Path:
        """Folder of the day files."""
        return self.journal.directory or self.state_directory / "outputs"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Folders whose pictures are taggerd's own, never photos, wherever they lie."""
        folders = self.state_directory, self.journal_directory / "thumbnails"
        return tuple(folder.absolute() for folder in folders)

    def dumped(self) -> dict[str, Any]:
        """Return the tree as plain values, secrets masked."""
        return self.model_dump(mode="json")
