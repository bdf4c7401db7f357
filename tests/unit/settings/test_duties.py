"""What a host of several does, and what it is called."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings import Service
from taggerd.settings.configuration import check_folders, load

if TYPE_CHECKING:
    from pathlib import Path

URL = "postgresql://taggerd@db/taggerd"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test says is set."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_duties_are_divided_only_among_hosts_that_share_a_ledger() -> None:
    """What one host leaves would be left by all; the message names setting and remedy."""
    with pytest.raises(ConfigurationError, match=r"^command line: service\.duties: .*ledger\.url"):
        load({"service": {"duties": ["watch", "tag"]}})
    assert load({"service": {"duties": ["journal", "tag", "watch"]}}).settings.service.all_duties
    shared = load({"service": {"duties": ["tag", "watch", "tag"]}, "ledger": {"url": URL}})
    assert shared.settings.service.duties == ["watch", "tag"]


def test_a_host_that_writes_the_journal_alone_needs_no_import_folder() -> None:
    """It has nothing to do with photos; any other host does."""
    journal = load({"service": {"duties": ["journal"]}, "ledger": {"url": URL}})
    check_folders(journal, allow_offline=False)
    tags = load({"service": {"duties": ["journal", "tag"]}, "ledger": {"url": URL}})
    with pytest.raises(ConfigurationError, match="no import folder"):
        check_folders(tags, allow_offline=False)


@pytest.mark.parametrize("duties", [[], ["dance"]])
def test_duties_that_there_are_not_are_refused(duties: list[str]) -> None:
    """A host that does nothing, or something else, is a mistake."""
    with pytest.raises(ConfigurationError, match=r"service\.duties"):
        load({"service": {"duties": duties}, "ledger": {"url": URL}})


def test_a_host_has_the_name_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is given another; one that could be read as part of a path is refused."""
    monkeypatch.setattr(socket, "gethostname", lambda: "nas 1.local")
    assert Service().host_name == "nas1.local"
    assert Service(host="gpu-1").host_name == "gpu-1"
    for wrong in ("a/b", "a b", "-x", "x" * 64):
        with pytest.raises(ConfigurationError, match=r"service\.host"):
            load({"service": {"host": wrong}})
