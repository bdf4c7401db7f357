"""Settings of the hooks: who hears of photos, batches and problems, and how."""

from __future__ import annotations

import re
from pathlib import PurePath

from pydantic import Field, SecretStr, field_validator, model_validator

from taggerd.settings.section import Section


class Hook(Section):
    """One hook: a command or a webhook."""

    command: list[str] = Field(
        [],
        description="Program, by its absolute path, and its arguments; no shell. It gets the "
        "notice as JSON on its standard input.",
    )
    url: str | None = Field(
        None, description="Webhook instead of a command: the notice is sent there by POST."
    )
    secret: SecretStr | None = Field(
        None,
        description="Key of the webhook's signature (Standard Webhooks), whsec_ and base64, or "
        "any text; a systemd credential is safer.",
    )
    header: SecretStr | None = Field(
        None,
        description='Header of the webhook\'s requests, e.g. "x-api-key: KEY"; a systemd '
        "credential is safer.",
    )
    body: str | None = Field(
        None,
        description="JSON that is sent instead of the notice, for programs that want their own.",
    )

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.command or self.url)

    @field_validator("command")
    @classmethod
    def _absolute(cls, command: list[str]) -> list[str]:
        # A relative one would be looked up in the folder, or by the PATH, of whoever starts us.
        if command and not PurePath(command[0]).is_absolute():
            message = "must begin with a program's absolute path, like /usr/bin/curl"
            raise ValueError(message)
        if any("\0" in part for part in command):
            message = "must not contain a NUL"
            raise ValueError(message)
        return command

    @field_validator("url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/\s]\S*", url):
            message = "must begin with http:// or https://"
            raise ValueError(message)
        return url

    @field_validator("header")
    @classmethod
    def _is_header(cls, header: SecretStr | None) -> SecretStr | None:
        # RFC 9110, 5.1 and 5.5; no message repeats the value: it is a key.
        pattern = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x20-\x7e]+"
        if header is not None and not re.fullmatch(pattern, header.get_secret_value()):
            message = 'must be one header, like "x-api-key: KEY"'
            raise ValueError(message)
        return header

    @model_validator(mode="after")
    def _one_of_two(self) -> Hook:
        if self.command and self.url:
            message = "has a command and a url: keep one of the two"
            raise ValueError(message)
        return self


class Hooks(Section):
    """Who is told what taggerd did: commands and webhooks, which never hold a photo up."""

    timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=86400,
        description="Longest run of a command, and longest wait for a webhook's answer, seconds.",
    )
    idle_seconds: float = Field(
        30.0,
        ge=0,
        le=86400,
        description="A batch ends when the queue has been empty for so long, seconds.",
    )
    quiet_minutes: float = Field(
        10.0,
        gt=0,
        le=10080,
        description="It also ends when no photo of it has been tagged for so long, minutes, though "
        "some wait: for a backend that is away, say.",
    )
    backend_minutes: float = Field(
        10.0,
        ge=0,
        le=10080,
        description="Minutes for which the backend has to be away before on_problem hears of it; "
        "other problems are said at once.",
    )
    keep_days: float = Field(
        7.0,
        gt=0,
        le=365,
        description="Days for which a webhook that does not answer is tried again; older notices "
        "are dropped, and the log says so.",
    )
    keep_notices: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Most notices that wait for one hook; the oldest are dropped, and the log says "
        "so.",
    )
    after_photo: Hook = Field(Hook(), description="After each photo that was tagged.")
    after_batch: Hook = Field(
        Hook(), description="After each batch of photos: when the queue is empty, or a scan ends."
    )
    on_problem: Hook = Field(
        Hook(),
        description="When something needs a person, and when it is over: the backend is away, a "
        "disk is full, an import folder is gone, photos failed.",
    )

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return self.after_photo.wanted or self.after_batch.wanted or self.on_problem.wanted
