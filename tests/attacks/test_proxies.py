"""Photos and the key go through no proxy that nobody has set for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend

import taggerd as package
from taggerd.errors import ConfigurationError
from taggerd.inference import describer
from taggerd.inference.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.program import Program, Reply

BACKEND = "http://backend.invalid/v1"
"""A name that only a proxy could reach (RFC 2606)."""


@pytest.fixture
def proxy() -> Iterator[CountingBackend]:
    """Return a proxy that answers for every address as the describer."""
    serving = CountingBackend()

    def script(path: str, body: bytes) -> Reply:
        method = "POST" if body else "GET"
        status, answer = describer.respond(
            method, path.removeprefix("http://backend.invalid"), body
        )
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    serving.script = script
    yield serving
    serving.close()


def test_a_proxy_in_the_environment_gets_nothing(taggerd: Program, proxy: CountingBackend) -> None:
    """Many have one for other programs; this one would get photos and key of a private address."""
    taggerd.base_url = BACKEND
    for name in ("HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"):
        taggerd.environment[name] = proxy.base_url.removesuffix("/v1")
        taggerd.environment[name.lower()] = proxy.base_url.removesuffix("/v1")
    taggerd.environment["TAGGERD__BACKEND__API_KEY"] = "sk-1"
    done = taggerd("preflight")
    assert done.returncode == 3
    assert "name not found" in done.stdout + done.stderr
    assert not proxy.requests


def test_the_proxy_of_the_settings_is_used(taggerd: Program, proxy: CountingBackend) -> None:
    """``backend.proxy``; its password is shown nowhere."""
    taggerd.base_url = BACKEND
    address = proxy.base_url.removesuffix("/v1").replace("http://", "http://me:pass-word@")
    taggerd.environment["TAGGERD__BACKEND__PROXY"] = address
    done = taggerd("preflight")
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy.requests["GET http://backend.invalid/v1/models"] >= 1
    shown = taggerd("config", "show").stdout
    assert 'backend.proxy = "http://***@127.0.0.1' in shown
    proxy.close()
    refused = taggerd("preflight")
    assert refused.returncode == 3
    assert "through the proxy http://127.0.0.1" in refused.stdout + refused.stderr
    assert "pass-word" not in refused.stdout + refused.stderr + shown


def test_a_backend_on_this_machine_is_reached_directly(
    taggerd: Program, backend: CountingBackend, proxy: CountingBackend
) -> None:
    """A proxy for the others does not get what need not leave the machine."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BACKEND__PROXY"] = proxy.base_url.removesuffix("/v1")
    assert taggerd("preflight").returncode == 0
    assert not proxy.requests


@pytest.mark.parametrize("address", ["proxy:3128", "socks5://proxy:1", "http://", "http://a b/"])
def test_an_address_that_is_no_proxy_is_a_mistake_in_one_line(
    taggerd: Program, address: str
) -> None:
    """Where, which key, what instead; the address may hold a password."""
    taggerd.environment["TAGGERD__BACKEND__PROXY"] = address
    done = taggerd("config", "show")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("taggerd: environment: backend.proxy: must be the address of an HTTP")


def test_authorities_of_ones_own_hold_without_the_rest_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SSL_CERT_FILE`` is what the message about an unknown authority recommends."""
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        Client("https://gpu/v1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match="No such file"):
        Client("https://gpu/v1")
    Client("http://gpu/v1")


def test_the_clients_trust_no_environment() -> None:
    """One for backends, one for webhooks; another would bring the proxies, and .netrc, with it."""
    root = Path(package.__file__).parent
    text = {file: file.read_text() for file in root.rglob("*.py")}
    makes = [
        f
        for f, code in text.items()
        if re.search(r"httpx\.(Async)?(Client|HTTPTransport)\b|httpx\.get", code)
    ]
    assert sorted(makes) == [root / "hooks" / "webhook.py", root / "inference" / "client.py"]
    assert all("trust_env=False" in text[file] for file in makes)
    assert not [f for f, code in text.items() if re.search(r"urllib\.request|http\.client", code)]
