"""The whole tree of settings, and its small tables."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator

from taggerd.settings.arrivals import Arrivals
from taggerd.settings.backend import Backend, Schedule
from taggerd.settings.hooks import Hooks
from taggerd.settings.ledger import LedgerSettings
from taggerd.settings.metadata import Keywords, Metadata, Ownership, SidecarNames
from taggerd.settings.metrics import Metrics
from taggerd.settings.permissions import user_name
from taggerd.settings.roles import Prompts, Roles
from taggerd.settings.section import Section, UserPath, home, without_blanks
from taggerd.settings.web import Web

SERVICE_USER = "taggerd"
"""The user of ``taggerd.service``; other users' services are ``taggerd@NAME.service``."""


def default_state_directory(services: Path = Path("/var/lib")) -> Path:
    """Return the state directory of this user's service, else ``$XDG_STATE_HOME/taggerd``.

    In the service systemd names it in ``$STATE_DIRECTORY``. To the user's commands it is the one
    below *services* that systemd made for them: beside a service that is stopped they would else
    begin a queue of their own, and pay for its photos again.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    user = user_name(os.geteuid())
    served = services / (SERVICE_USER if user == SERVICE_USER else f"taggerd-{user}")
    with suppress(OSError):
        if served.stat().st_uid == os.geteuid():
            return served
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = state if state.is_absolute() else home(os.environ) / ".local" / "state"
    return state / "taggerd"


_DEFAULT_EDGE = 1024
_EDGES = range(128, 8192 + 1)
"""Pixels."""


def _max_edge(given: object) -> int | Literal["auto"]:
    """Read ``image.max_edge``: of a union pydantic would complain once for each branch."""
    if given == "auto":
        return "auto"
    text = str(given)  # the environment has it as text
    if not text.isdecimal() or int(text[:9]) not in _EDGES:
        message = f'must be "auto" or {_EDGES[0]} to {_EDGES[-1]} pixels, not {given!r}'
        raise ValueError(message)
    return int(text)


class Image(Section):
    """The picture that is sent."""

    max_edge: Annotated[int | Literal["auto"], PlainValidator(_max_edge)] = Field(
        _DEFAULT_EDGE,
        description='Longest side, pixels; "auto": the smallest from which the model that is asked '
        "sees no less than from the default. Another size asks about no photo again.",
    )
    quality: int = Field(85, ge=30, le=100, description="JPEG quality.")
    max_megapixels: float = Field(
        250.0,
        gt=0,
        le=2000,
        description="Largest picture, megapixels; a larger one is rejected by its header.",
    )
    max_file_megabytes: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Largest file, megabytes; a larger one is rejected before it is read.",
    )
    accept_truncated: Literal["auto"] | bool = Field(
        "auto",
        description="Tag a JPEG that lacks its last rows by those that are there, and note that in "
        'its record: "auto" from 95 % of them on, true from 90 % on, false never.',
    )

    @property
    def edge(self) -> int:
        """Longest side, pixels; the default where ``max_edge`` is "auto" and no model is known."""
        return _DEFAULT_EDGE if self.max_edge == "auto" else self.max_edge


class Workers(Section):
    """The processes that decode files, so that a bad file harms nothing else."""

    processes: int = Field(2, ge=1, le=64, description="Number of worker processes.")
    memory_megabytes: int | None = Field(
        None,
        ge=512,
        le=65536,
        description="Address space per process, megabytes; default: 512 to 768 to decode, 512 to "
        "2048 to write, so that all processes together take at most 40 % of the machine's memory.",
    )
    deadline_seconds: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="Longest time for one file, seconds; then its process is replaced.",
    )
    slow_memory_megabytes: int | None = Field(
        None,
        ge=512,
        le=65536,
        description="Address space of the process that decodes slow photos, those that once took "
        "too much memory or time; default: at most 768, of which a picture may take 512.",
    )
    slow_deadline_seconds: float = Field(
        600.0, gt=0, le=36000, description="Longest time for one slow photo, seconds."
    )
    files_per_process: int = Field(
        500,
        ge=1,
        le=100000,
        description="Photos after which a process is replaced; earlier if it grows.",
    )


class Queue(Section):
    """The order of work."""

    photos_in_flight: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Photos in flight at once; default: two per request that may be in flight, so "
        "that the next pictures are ready in time.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="Attempts after which taggerd gives up on a photo.",
    )
    order: Literal["newest", "oldest"] = Field(
        "newest", description="Which complete photo comes first."
    )


class Burst(Section):
    """Photos that a camera took in quick succession and that show the same."""

    enabled: bool = Field(
        default=False,
        description="Ask about the sharpest photo of a burst alone; the others take its words, and "
        "their sidecars and records say so (inherited_from).",
    )
    seconds: float = Field(
        1.0, ge=0, le=3600, description="Longest time between two photos of a burst, seconds."
    )
    distance: int = Field(
        10,
        ge=0,
        le=128,
        description="Most bits in which the difference hashes of two photos of a burst differ, of "
        "128.",
    )


class Review(Section):
    """What people do with the words before and after they are written."""

    hold: bool = Field(
        default=False,
        description="Write nothing about a photo until somebody accepts what was answered: taggerd "
        "web, or taggerd accept.",
    )
    hold_days: float = Field(
        0.0,
        ge=0,
        le=3650,
        description="Days that an answer waits to be accepted before after_hold is done; 0: for as "
        "long as it takes.",
    )
    after_hold: Literal["write", "drop"] = Field(
        "write",
        description="What then becomes of it: it is written as if somebody had accepted it, or "
        "dropped. A photo whose answer was dropped is left alone until taggerd retry PATH or scan "
        "--retag.",
    )


class Journal(Section):
    """Records, summaries, metrics and report pages."""

    directory: UserPath | None = Field(
        None, description="Folder; default: outputs/ in the state directory."
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36500,
        description="Delete day files older than this, and their records in a shared ledger; "
        "0: never.",
    )
    compress_after_days: int = Field(
        0, ge=0, le=36500, description="Compress JSONL day files older than this; 0: never."
    )


Duty = Literal["watch", "tag", "journal"]
"""What a host of several that share a ledger does: admit what arrives, ask and write, keep the day
files."""
DUTIES: tuple[Duty, ...] = get_args(Duty)


class Service(Section):
    """The daemon."""

    host: str | None = Field(
        None,
        description="Name of this host among those that share a ledger; each has its own. Default: "
        "the machine's host name.",
    )
    duties: list[Duty] = Field(
        list(DUTIES),
        min_length=1,
        description='What this host does, of those that share a ledger: "watch" its import '
        'folders, "tag" photos, write the "journal". All, unless ledger.url is set.',
    )
    drain_seconds: float = Field(
        20.0, ge=0, le=600, description="Longest wait for photos in flight on stop, seconds."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto",
        description="auto: entries in the journal; coloured on a terminal; elsewhere plain.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level shown."
    )

    @field_validator("host")
    @classmethod
    def _is_a_name(cls, host: str | None) -> str | None:
        if host is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", host):
            message = "must be a name of at most 63 letters, digits, hyphens, dots and underscores"
            raise ValueError(message)
        return host

    @field_validator("duties")
    @classmethod
    def _each_once(cls, duties: list[Duty]) -> list[Duty]:
        return [duty for duty in DUTIES if duty in duties]

    @property
    def host_name(self) -> str:
        """Name of this host; where the machine's has other characters, without them."""
        return self.host or re.sub(r"[^A-Za-z0-9._-]", "", socket.gethostname()) or "localhost"

    @property
    def all_duties(self) -> bool:
        """Whether this host does everything."""
        return len(self.duties) == len(DUTIES)

    @property
    def needs_folders(self) -> bool:
        """Whether this host does anything with photos."""
        return self.duties != ["journal"]


class Settings(BaseModel):
    """taggerd's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_directory: UserPath = Field(
        default_factory=default_state_directory,
        description="Folder of the queue, the answers and the outputs; default: that of your "
        "systemd service, /var/lib/taggerd-USER, else $XDG_STATE_HOME/taggerd.",
    )
    ledger: LedgerSettings = Field(
        LedgerSettings(), description="Where the queue and the answers are kept."
    )
    arrivals: Arrivals = Field(Arrivals(), description="How new photos are found.")
    backend: Backend = Field(
        Backend(), description="The OpenAI-compatible service with the vision model."
    )
    schedule: Schedule = Field(Schedule(), description="When requests may be sent.")
    roles: Roles = Field(Roles(), description="The roles, one table each.")
    prompts: Prompts = Field(Prompts(), description="The prompts.")
    image: Image = Field(Image(), description="The picture that is sent.")
    workers: Workers = Field(Workers(), description="The processes that decode files.")
    queue: Queue = Field(Queue(), description="The order of work.")
    burst: Burst = Field(Burst(), description="Which photos are asked about only once.")
    metadata: Metadata = Field(Metadata(), description="What is written.")
    ownership: Ownership = Field(Ownership(), description="How machine keywords are marked.")
    sidecar: SidecarNames = Field(SidecarNames(), description="How a new sidecar is named.")
    keywords: Keywords = Field(Keywords(), description="How keywords are cleaned.")
    review: Review = Field(Review(), description="What waits until somebody accepts it.")
    journal: Journal = Field(Journal(), description="Records, summaries, metrics and report pages.")
    service: Service = Field(Service(), description="The daemon.")
    metrics: Metrics = Field(
        Metrics(), description="Figures for Prometheus, and the health of the daemon."
    )
    web: Web = Field(Web(), description="The review in the browser.")
    hooks: Hooks = Field(
        Hooks(),
        description="Who is told what taggerd did: commands and webhooks, which never hold a photo "
        "up.",
    )

    @model_validator(mode="before")
    @classmethod
    def _blank_is_default(cls, table: object) -> object:
        return without_blanks(table, frozenset({"state_directory"}))

    @property
    def journal_directory(self) -> Path:
        """Folder of the day files."""
        return self.journal.directory or self.state_directory / "outputs"

    @property
    def follows_records(self) -> bool:
        """Whether anything follows when a photo's record is in the journal."""
        return self.hooks.wanted or self.arrivals.release_to is not None

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Folders whose pictures are taggerd's own and never photos, wherever they are."""
        folders = self.state_directory, self.journal_directory / "thumbnails"
        return tuple(folder.absolute() for folder in folders)
