"""The table ``[metrics]``: where the daemon's figures can be read."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from taggerd.settings.section import Section, UserPath

_ADDRESS = re.compile(r"(?:(?P<host>[^:\[\]]*|\[[^\]]+\]):)?(?P<port>\d{1,5})")
_LOOPBACK = "127.0.0.1"
_LARGEST_PORT = 65535
_LONGEST_SOCKET = 107
"""Bytes of a socket's path (unix(7))."""


class Address(NamedTuple):
    """Where to listen."""

    host: str = ""
    """An IP address; empty for a socket."""
    port: int = 0
    socket: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether no other machine can connect."""
        return self.socket is not None or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        """Return the address as it is written in the settings."""
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Metrics(Section):
    """Figures for Prometheus, and the health of the daemon."""

    listen: str = Field(
        "",
        description='Where /metrics, /healthz and /readyz are served: "127.0.0.1:9108", a port '
        'alone for the same, or "unix:/run/taggerd/taggerd@alice/metrics.sock". An address of the '
        "network must be written out: whoever reaches it reads the names of import folders. Empty: "
        "nowhere.",
    )
    textfile: UserPath | None = Field(
        None,
        description="File of the same figures for node_exporter's textfile collector, NAME.prom in "
        "a folder that taggerd may write to. It is renewed on changes, at most once a minute.",
    )

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        if listen:
            parse_address(listen)
        return listen

    @field_validator("textfile")
    @classmethod
    def _is_read(cls, textfile: Path | None) -> Path | None:
        if textfile is not None and (not textfile.is_absolute() or textfile.suffix != ".prom"):
            message = "an absolute path that ends in .prom is wanted: node_exporter reads no other"
            raise ValueError(message)
        return textfile

    @property
    def address(self) -> Address | None:
        """Where to listen; None: nowhere."""
        return parse_address(self.listen) if self.listen else None


def parse_address(listen: str) -> Address:
    """Return the address that *listen* names; without a host it is the loopback's.

    Raises:
        ValueError: it names none.
    """
    kind, found, path = listen.partition(":")
    if found and kind == "unix":
        if not path.startswith("/") or len(path.encode()) > _LONGEST_SOCKET:
            message = f"unix: is followed by an absolute path of at most {_LONGEST_SOCKET} bytes"
            raise ValueError(message)
        return Address(socket=Path(path))
    parts = _ADDRESS.fullmatch(listen)
    host = (parts["host"] or _LOOPBACK).strip("[]") if parts else ""
    host = _LOOPBACK if host == "localhost" else host
    try:
        ip_address(host)
    except ValueError:
        parts = None
    if parts is None or int(parts["port"]) > _LARGEST_PORT:
        message = (
            f'{listen!r} is no address: write "127.0.0.1:9108", "[::1]:9108" or '
            '"unix:/run/taggerd/taggerd@alice/metrics.sock"'
        )
        raise ValueError(message)
    return Address(host, int(parts["port"]))
