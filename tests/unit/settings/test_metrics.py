"""The addresses at which metrics may be served."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from taggerd.settings import Address, Metrics


@pytest.mark.parametrize(
    ("listen", "address", "local"),
    [
        ("127.0.0.1:9108", Address("127.0.0.1", 9108), True),
        ("localhost:9108", Address("127.0.0.1", 9108), True),
        ("9108", Address("127.0.0.1", 9108), True),
        (":9108", Address("127.0.0.1", 9108), True),
        ("[::1]:9108", Address("::1", 9108), True),
        ("192.168.1.5:9108", Address("192.168.1.5", 9108), False),
        ("0.0.0.0:9108", Address("0.0.0.0", 9108), False),  # noqa: S104 - nothing is bound
        ("[::]:9108", Address("::", 9108), False),
        ("unix:/run/taggerd/m.sock", Address(socket=Path("/run/taggerd/m.sock")), True),
    ],
)
def test_the_network_is_listened_to_only_if_it_is_named(
    listen: str, address: Address, local: bool
) -> None:
    """A port alone is the loopback's."""
    found = Metrics(listen=listen).address
    assert found == address
    assert found.is_local == local
    assert Metrics(listen=str(found)).address == address


@pytest.mark.parametrize(
    "listen",
    ["nas.lan:9108", "127.0.0.1", "127.0.0.1:66000", "::1:9108", "unix:m.sock", "unix:", "*:9108"],
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    """With an example of one."""
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1:9108|absolute path"):
        Metrics(listen=listen)


def test_nothing_is_shown_by_default() -> None:
    """Neither at an address nor in a file."""
    assert Metrics().address is None
    assert Metrics().textfile is None


@pytest.mark.parametrize("textfile", ["/var/lib/node_exporter/taggerd.txt", "taggerd.prom"])
def test_a_text_file_has_a_name_that_node_exporter_reads(textfile: str) -> None:
    """Anything else would be read by nobody."""
    with pytest.raises(ValidationError, match="node_exporter"):
        Metrics(textfile=textfile)
