"""Placing: the addresses that are asked, each with its own key, model and limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd import settings


def asked_places(
    backend: settings.Backend, places: Mapping[str, str], *, alone: bool
) -> dict[str, settings.Backend]:
    """Return the settings of each address that is asked.

    An address that the registry resolved a role to wins over ``backend.endpoints``, whose tables
    then give the keys and limits of these addresses.

    Args:
        backend: the settings' table.
        places: addresses that a registry resolved, by role; empty: none did.
        alone: ``backend.base_url`` is asked and ``backend.endpoints`` are not.

    Raises:
        ConfigurationError: it is not clear which of several addresses ``backend.api_key`` is for.
    """
    tables = {} if alone else {table.base_url: table for table in backend.endpoints}
    urls = list(dict.fromkeys(places.values())) or list(tables) or [backend.base_url]
    if backend.api_key is not None and (len(urls) > 1 or tables):
        missing = [url for url in urls if url not in tables or tables[url].api_key is None]
        if missing:
            message = (
                "backend.api_key is sent to one address alone, and there are several: give each "
                "that wants a key its own, backend.endpoints = "
                '[{base_url = "...", api_key = "..."}], and take backend.api_key out'
            )
            raise ConfigurationError(message)
    return {url: _at(backend, url, tables.get(url)) for url in urls}


def _at(backend: settings.Backend, url: str, table: settings.Endpoint | None) -> settings.Backend:
    """Return the table of one address."""
    update: dict[str, object] = {"base_url": url, "endpoints": []}
    if table is not None:
        update["api_key"] = table.api_key
        update["model"] = table.model or backend.model
        update["max_concurrency"] = table.max_concurrency or backend.max_concurrency
    return backend.model_copy(update=update)
