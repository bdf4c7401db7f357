"""Where the review is served, and by which names."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from taggerd.settings import Address
from taggerd.settings.web import Web


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("", None),
        ("8437", Address("127.0.0.1", 8437)),
        ("localhost:80", Address("127.0.0.1", 80)),
        ("0.0.0.0:8437", Address("0.0.0.0", 8437)),  # noqa: S104 - what is asked for
        ("[::]:8437", Address("::", 8437)),
    ],
)
def test_the_network_is_served_only_where_it_is_written_out(
    listen: str, expected: Address | None
) -> None:
    """A port alone is this machine's."""
    assert Web(listen=listen).address == expected


@pytest.mark.parametrize("listen", ["unix:/run/x", "photos.example:80", "1.2.3.4", "0.0.0.0:99999"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    """With the form to write."""
    with pytest.raises(ValidationError, match="write"):
        Web(listen=listen)


def test_names_are_compared_in_lower_case() -> None:
    """As browsers send them; a dot at the end means the same name."""
    assert Web(hosts=["Photos.Example.NET."]).hosts == ["photos.example.net"]


@pytest.mark.parametrize(
    "name", ["", "*", "*.example.net", "http://x", "x:80", "a b", "a..b", "-x"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    """Above all one that would let every name in."""
    with pytest.raises(ValidationError, match="no name of a machine"):
        Web(hosts=[name])
