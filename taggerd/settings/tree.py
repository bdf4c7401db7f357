"""The whole tree, and the small tables of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from taggerd.settings.arrivals import Arrivals
from taggerd.settings.backend import Backend, Schedule
from taggerd.settings.metadata import Keywords, Metadata, Ownership, SidecarNames
from taggerd.settings.roles import Prompts, Roles
from taggerd.settings.section import Folder, Section, without_blanks


def default_state_directory() -> Path:
    """Return ``$STATE_DIRECTORY`` (set by systemd), else ``$XDG_STATE_HOME/taggerd``."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "taggerd"


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
        return without_blanks(table, frozenset({"state_directory"}))

    @property
    def journal_directory(self) -> Path:
        """Folder of the day files."""
        return self.journal.directory or self.state_directory / "outputs"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Folders whose pictures are taggerd's own, never photos, wherever they lie."""
        folders = self.state_directory, self.journal_directory / "thumbnails"
        return tuple(folder.absolute() for folder in folders)
