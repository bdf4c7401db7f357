"""The border at which httpx's errors end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import httpx
import pytest

from taggerd.errors import BackendError, BackendFailed, BackendTimeout, BackendUnreachable
from taggerd.inference.client import Client, backend_error

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "http://backend.test/v1"


def every_error() -> Iterator[type[Exception]]:
    """Yield every exception class that httpx makes public."""
    for name in httpx.__all__:
        thing = getattr(httpx, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            yield thing


def made(kind: type[Exception]) -> Exception:
    """Return an instance, whatever its constructor wants."""
    request = httpx.Request("POST", BASE)
    if kind is httpx.HTTPStatusError:
        return kind("secret", request=request, response=httpx.Response(500))
    try:
        return kind("secret")
    except TypeError:
        return kind()


@pytest.mark.parametrize("kind", list(every_error()))
async def test_every_error_of_httpx_becomes_one_of_ours(kind: type[Exception]) -> None:
    """No exception class of httpx gets past the client, and none brings its own text along."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise made(kind)

    client = Client(BASE, transport=httpx.MockTransport(fail))
    with pytest.raises(BackendError) as caught:
        await client.send("/chat/completions", b"{}")
    assert "secret" not in str(caught.value)
    assert BASE in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_there_are_errors_to_map() -> None:
    """The table above is not empty by mistake."""
    assert len(list(every_error())) > 20


@pytest.mark.parametrize(
    ("kind", "answered", "ours"),
    [
        (httpx.ConnectError, False, BackendUnreachable),
        (httpx.ConnectTimeout, False, BackendUnreachable),
        (httpx.ProxyError, False, BackendUnreachable),
        (httpx.ReadTimeout, False, BackendTimeout),
        (httpx.PoolTimeout, False, BackendTimeout),
        (httpx.ReadError, False, BackendUnreachable),
        (httpx.ReadError, True, BackendFailed),
        (httpx.RemoteProtocolError, True, BackendFailed),
        (httpx.LocalProtocolError, False, BackendFailed),
        (httpx.DecodingError, True, BackendFailed),
    ],
)
def test_an_error_means_what_happened(
    kind: type[Exception],
    answered: bool,
    ours: type[BackendError],
) -> None:
    """Not reached, too late, and broken off are three things."""
    assert type(backend_error(made(kind), BASE, 1.0, answered=answered)) is ours


def test_a_firewall_is_not_taken_for_a_backend_that_is_down() -> None:
    """By IPAddressAllow= a service gets EPERM of connect(2): the message says what to do."""
    error = made(httpx.ConnectError)
    error.__cause__ = PermissionError(errno.EPERM, "Operation not permitted")
    said = str(backend_error(error, BASE, 1.0, answered=False))
    assert "operation not permitted" in said
    assert "taggerd service install" in said
    assert "is the backend running" not in said


@pytest.mark.parametrize(
    ("base_url", "shown", "path"),
    [
        ("http://h.test/v1", "http://h.test/v1", "/v1/models"),
        ("http://h.test/v1/", "http://h.test/v1", "/v1/models"),
        ("http://h.test", "http://h.test", "/models"),
        ("https://u:p@h.test:8443/a/v1?k=s#f", "https://h.test:8443/a/v1", "/a/v1/models"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "/v1/models"),
    ],
)
async def test_paths_go_below_the_base_address(base_url: str, shown: str, path: str) -> None:
    """A slash at the end, a port, a path or a query of the address change nothing."""
    seen: list[httpx.URL] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200, json={})

    client = Client(base_url, transport=httpx.MockTransport(note))
    assert (await client.send("/models")).status == 200
    assert client.base_url == shown
    assert seen[0].path == path


async def test_redirects_are_not_followed() -> None:
    """A key is never carried to where a redirect points."""
    seen: list[str] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(307, headers={"location": "http://elsewhere.test/v1"})

    client = Client(BASE, api_key="sk-1", transport=httpx.MockTransport(redirect))
    assert (await client.send("/chat/completions", b"{}")).status == 307
    assert seen == [f"{BASE}/chat/completions"]
