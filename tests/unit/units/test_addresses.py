"""Which addresses a service may reach, by its settings."""

from __future__ import annotations

from typing import Any

import pytest

from taggerd.units.addresses import addresses


def settings(**values: object) -> dict[str, Any]:
    """Return settings as they are printed; a double underscore is a dot."""
    named = {"backend.base_url": "auto"} | {k.replace("__", "."): v for k, v in values.items()}
    return {key: {"value": value, "from": "default"} for key, value in named.items()}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("auto", ()),
        ("builtin:", ()),
        ("http://127.0.0.1:8000/v1", ()),
        ("http://localhost:8000/v1", ()),
        ("http://[::1]:8000/v1", ()),
        ("http://192.168.1.5:8000/v1", ("192.168.1.5",)),
        ("http://***@[fd00::5]:8000/v1", ("fd00::5",)),
        ("http://[fe80::1%25eth0]:8000/v1", ("fe80::1",)),
        ("http://[fe80::1%eth0]:8000/v1", ("fe80::1",)),
        ("https://api.openai.com/v1", None),
        ("http://gpu:8000/v1", None),
    ],
)
def test_numbers_are_listed_and_names_are_not(url: str, expected: tuple[str, ...] | None) -> None:
    """With one name among them there is no list: the service could not reach it.

    Without the interface of a link-local one: systemd drops such an address, and lets nothing out.
    """
    assert addresses(settings(backend__base_url=url)) == expected


def test_every_backend_counts() -> None:
    """Several backends and a proxy are all reached; base_url is not used beside them."""
    endpoints = [{"base_url": "http://10.0.0.2/v1"}, {"base_url": "http://10.0.0.1/v1"}]
    assert addresses(settings(backend__endpoints=endpoints)) == ("10.0.0.1", "10.0.0.2")
    proxied = settings(backend__endpoints=endpoints, backend__proxy="http://10.0.0.3:3128")
    assert addresses(proxied) == ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert addresses(settings(backend__proxy="http://proxy:3128")) is None


@pytest.mark.parametrize(
    "more",
    [
        {"hooks__after_photo__url": "https://ntfy.sh/photos"},
        {"hooks__on_problem__command": ["/usr/bin/curl"]},
        {"backend__use_registry": True},
        {"metrics__listen": "0.0.0.0:9108"},
        {"web__listen": "0.0.0.0:8437"},
        {"web__listen": "192.168.1.5:8437"},
    ],
)
def test_what_leads_anywhere_needs_the_whole_network(more: dict[str, object]) -> None:
    """Nobody knows what a hook's command, a registry or a scraper has to reach."""
    assert addresses(settings(**more)) is None


@pytest.mark.parametrize("listen", ["9108", "127.0.0.1:9108", "unix:/run/taggerd/metrics.sock", ""])
def test_figures_of_this_machine_need_none(listen: str) -> None:
    """They are read on the loopback, which is always allowed."""
    assert addresses(settings(metrics__listen=listen)) == ()
