"""The table ``[web]``: where the review in the browser is served."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from taggerd.settings.metrics import Address, parse_address
from taggerd.settings.section import Section

_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)


class Web(Section):
    """The review in the browser."""

    listen: str = Field(
        "",
        description='Where taggerd run serves the review as well: "0.0.0.0:8437" on the whole '
        'network, "192.168.1.5:8437" on one, "127.0.0.1:8437" on this machine. A password guards '
        "it: taggerd web --set-password. Empty: nowhere; taggerd web serves this machine.",
    )
    hosts: list[str] = Field(
        [],
        description="Names that browsers may ask by, besides localhost, IP addresses and this "
        "machine's own name: that of a proxy which serves the review by HTTPS.",
    )
    password_hash: SecretStr | None = Field(
        None,
        description="Hash of the password, instead of the one that taggerd web --set-password "
        "keeps in the state directory; a systemd credential is safer.",
    )

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        if listen:
            try:
                wrong = parse_address(listen).socket is not None
            except ValueError:
                wrong = True
            if wrong:
                message = f'{listen!r} is no address: write "127.0.0.1:8437" or "0.0.0.0:8437"'
                raise ValueError(message)
        return listen

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, hosts: list[str]) -> list[str]:
        names = [host.lower().rstrip(".") for host in hosts]
        for host, name in zip(hosts, names, strict=True):
            if not _NAME.fullmatch(name):
                message = f'{host!r} is no name of a machine: write "photos.example.net"'
                raise ValueError(message)
        return names

    @property
    def address(self) -> Address | None:
        """Where the daemon serves the review; None: nowhere."""
        return parse_address(self.listen) if self.listen else None
