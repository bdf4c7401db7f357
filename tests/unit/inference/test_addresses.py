"""Which addresses are asked, and what each is given."""

from __future__ import annotations

from typing import Any

import pytest

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.inference import backend_per_address

ONE, TWO = "http://one.test/v1", "http://two.test/v1"


def backend(**given: Any) -> settings.Backend:  # noqa: ANN401 - settings of several types
    """Make the settings' table."""
    return settings.Backend.model_validate(given)


def keys(placed: dict[str, settings.Backend]) -> dict[str, str | None]:
    """Return each address's key."""
    return {
        url: options.api_key.get_secret_value() if options.api_key else None
        for url, options in placed.items()
    }


def test_without_endpoints_the_base_url_is_asked() -> None:
    """With its key, as ever."""
    options = backend(base_url=ONE, api_key="k")
    assert keys(backend_per_address(options, {}, alone=True)) == {ONE: "k"}


def test_each_endpoint_has_its_own_key_model_and_limit() -> None:
    """What a table does not say is as for the backend, but for the key."""
    table = {"base_url": TWO, "api_key": "k2", "model": "m2", "max_concurrency": 9}
    placed = backend_per_address(
        backend(endpoints=[ONE, table], model="m", max_concurrency=3), {}, alone=False
    )
    assert keys(placed) == {ONE: None, TWO: "k2"}
    assert [(o.base_url, o.model, o.max_concurrency) for o in placed.values()] == [
        (ONE, "m", 3),
        (TWO, "m2", 9),
    ]


def test_a_base_url_that_was_given_last_is_asked_alone() -> None:
    """``--base-url`` is asked and none of the endpoints, with the key that belongs to it."""
    options = backend(base_url=ONE, api_key="k", endpoints=[TWO])
    assert keys(backend_per_address(options, {}, alone=True)) == {ONE: "k"}


def test_one_place_of_the_registry_is_given_the_key() -> None:
    """All roles at one address: it is clear whose the key is."""
    options = backend(api_key="k")
    assert keys(backend_per_address(options, {"caption": ONE, "keywords": ONE}, alone=False)) == {
        ONE: "k"
    }


def test_places_of_the_registry_find_their_keys_among_the_endpoints() -> None:
    """The registry says where, the endpoints say with which key."""
    options = backend(endpoints=[{"base_url": TWO, "api_key": "k2"}, "http://three.test/v1"])
    base_urls = {"caption": ONE, "keywords": TWO}
    assert keys(backend_per_address(options, base_urls, alone=False)) == {ONE: None, TWO: "k2"}


@pytest.mark.parametrize(
    ("given", "base_urls"),
    [
        ({"endpoints": [ONE, {"base_url": TWO, "api_key": "k2"}]}, {}),
        ({"endpoints": [ONE]}, {}),
        ({}, {"caption": ONE, "keywords": TWO}),
    ],
)
def test_a_key_of_nobody_is_refused_and_never_sent(
    given: dict[str, Any], base_urls: dict[str, str]
) -> None:
    """``backend.api_key`` beside several addresses: one line, without the key."""
    with pytest.raises(ConfigurationError, match=r"backend\.endpoints = ") as caught:
        backend_per_address(backend(api_key="geheim", **given), base_urls, alone=False)
    assert len(str(caught.value).splitlines()) == 1
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        ([ONE, ONE + "/"], "twice"),
        (["auto"], "auto"),
        (["ftp://x"], "begin with http"),
        ([{"base_url": ONE, "key": "k"}], "key"),
    ],
)
def test_a_wrong_endpoint_is_refused(endpoints: list[Any], words: str) -> None:
    """Named twice, to be looked for, no address, or with an unknown field."""
    with pytest.raises(ValueError, match=words):
        backend(endpoints=endpoints)
