"""Which addresses a person means, which models are tried, and what is named where none sees."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from support.program import CountingBackend

from taggerd.docs import chapters
from taggerd.inference import describer
from taggerd.settings import Backend
from taggerd.setup import Served, addresses_of, find, hints_for, on_this_machine, probe
from taggerd.setup.backends import HINTS, MOST_PROBED

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def backend() -> Iterator[CountingBackend]:
    """Serve the describer."""
    served = CountingBackend()
    yield served
    served.close()


@pytest.mark.parametrize(
    ("typed", "urls"),
    [
        ("gpu1:11434", ["http://gpu1:11434/v1"]),
        ("http://gpu1:8000/v1/", ["http://gpu1:8000/v1"]),
        ("https://api.openai.com/v1", ["https://api.openai.com/v1"]),
        ("https://llm.example.org", ["https://llm.example.org/v1"]),
        (
            " 192.168.1.20 ",
            [f"http://192.168.1.20:{port}/v1" for port in (11434, 1234, 8080, 8000)],
        ),
        ("[fd00::1]:8000", ["http://[fd00::1]:8000/v1"]),
        ("builtin:", ["builtin:"]),
        ("ftp://gpu1", []),
        ("gpu1:port", []),
        ("", []),
    ],
)
def test_an_address_is_taken_as_a_person_types_it(typed: str, urls: list[str]) -> None:
    """A name alone is asked at each port that backends have."""
    assert [each.base_url for each in addresses_of(typed)] == urls


def test_every_backend_of_this_machine_is_asked() -> None:
    """Those that "auto" looks for."""
    assert [each.name for each in on_this_machine()] == [
        "Ollama", "LM Studio", "llama-server", "vLLM",
    ]  # fmt: skip


def test_models_that_say_they_see_are_tried_first_and_not_all(backend: CountingBackend) -> None:
    """A router lists hundreds; one for search or speech is not tried at all."""
    listed = ["text-embedding-3", "llama3.1:8b", *(f"qwen2.5vl:{n}b" for n in range(20))]
    backend.script = lambda _path, _body: (
        200,
        {},
        json.dumps({"data": [{"id": name} for name in listed]}).encode(),
    )
    (served,) = asyncio.run(find(Backend(), addresses_of(backend.base_url)))
    assert served.models == tuple(listed[2 : 2 + MOST_PROBED])
    assert served.listed == 22
    listed[:] = ["text-embedding-3", "llama3.1:8b"]
    (served,) = asyncio.run(find(Backend(), addresses_of(backend.base_url)))
    assert served.models == ("llama3.1:8b",)


def test_the_probe_decides_and_says_how_long_it_took(backend: CountingBackend) -> None:
    """The describer names the colours; asked for another model it is not usable, not blind."""
    served = Served("it", backend.base_url)
    asked = asyncio.run(probe(Backend(), served, describer.MODEL))
    assert asked.sees
    assert asked.seconds > 0
    asked = asyncio.run(probe(Backend(), served, "another"))
    assert (asked.sees, asked.blind) == (False, False)
    assert asked.error


def test_a_key_goes_to_its_own_address_alone(backend: CountingBackend) -> None:
    """One that is set for another backend is not sent along."""
    backend.key = "sk-1"
    key = SecretStr("sk-1")
    elsewhere = Backend(base_url="https://api.example.org/v1", api_key=key)
    (served,) = asyncio.run(find(elsewhere, addresses_of(backend.base_url)))
    assert served.locked
    own = Backend(base_url=backend.base_url, api_key=key)
    (served,) = asyncio.run(find(own, addresses_of(backend.base_url)))
    assert served.error == ""


def test_of_several_addresses_those_that_answer_are_returned(backend: CountingBackend) -> None:
    """Of one that was meant it is said why it does not."""
    nobody = addresses_of("http://127.0.0.1:9/v1")
    found = asyncio.run(find(Backend(), [*nobody, *addresses_of(backend.base_url)]))
    assert [each.base_url for each in found] == [backend.base_url]
    (alone,) = asyncio.run(find(Backend(), nobody))
    assert "cannot connect" in alone.error


def test_what_to_load_is_named_with_its_size_for_each_backend() -> None:
    """A command to type where there is one; the sizes are those of the chapter."""
    for name in ("Ollama", "LM Studio", "llama-server", "vLLM"):
        lines = hints_for([Served(name, "http://x/v1")])
        assert " GB" in " ".join(lines)
        assert all(len(line) <= 77 for line in lines if line.startswith(" "))
    assert "https://ollama.com/download" in hints_for([])[0]
    table = chapters()["ollama"]
    for hint in HINTS:
        assert f"| `{hint.model}` | {hint.gigabytes} GB |" in table
