"""Which addresses a service has to reach, where its settings name them as numbers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = frozenset({"auto", "builtin:"})
"""Values of ``backend.base_url`` that never lead to another machine."""


def addresses(rows: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the other machines' addresses that the settings name; None: they cannot be listed.

    A name may lead elsewhere tomorrow, and nobody knows what a hook, a registry, a scraper or a
    browser needs.

    Args:
        rows: the settings, as ``taggerd config show --json`` prints them.
    """
    values = {key: row["value"] for key, row in rows.items()}
    anywhere = ["backend.use_registry", "backend.use_loader"]
    anywhere += [
        key for key in values if key.startswith("hooks.") and key.endswith((".url", ".command"))
    ]
    if any(values.get(key) for key in anywhere) or _is_shared(values.get("web.listen") or ""):
        return None
    named = [each["base_url"] for each in values.get("backend.endpoints") or []]
    named = named or [values["backend.base_url"]]
    named += [proxy] if (proxy := values.get("backend.proxy")) else []
    listen = values.get("metrics.listen") or ""
    if listen and not listen.isdecimal() and not listen.startswith("unix:"):
        named.append(f"http://{listen}")
    found = [_number(url) for url in named if url not in _HERE]
    if None in found:
        return None
    return tuple(sorted({str(each) for each in found if each and not ip_address(each).is_loopback}))


def _is_shared(listen: str) -> bool:
    """Say whether browsers on other machines ask there: their addresses are in no settings."""
    if not listen or listen.isdecimal():
        return False
    number = _number(f"http://{listen}")
    return number is None or not ip_address(number).is_loopback


def _number(url: str) -> str | None:
    """Return the address of a URL's host, as a number; None: it is a name, or listens to all."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return "127.0.0.1"
    host = host.partition("%")[0]  # IPAddressAllow= takes no interface of a link-local address
    try:
        return None if ip_address(host).is_unspecified else host
    except ValueError:
        return None
