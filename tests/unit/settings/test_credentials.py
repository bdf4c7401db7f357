"""Credentials that systemd passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings.credentials import credential, credentials

if TYPE_CHECKING:
    from pathlib import Path


def test_credentials(tmp_path: Path) -> None:
    """A credential is its file's text without the line end that echo leaves."""
    (tmp_path / "backend.api_key").write_text("s3cret key \n")
    (tmp_path / "other").write_text("")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert credentials(environment) == ("backend.api_key", "other")
    assert credential("backend.api_key", environment) == "s3cret key "
    assert credential("other", environment) == ""
    assert credential("missing", environment) is None


def test_no_credentials() -> None:
    """Without the folder there are none."""
    assert credentials({}) == ()
    assert credential("backend.api_key", {}) is None
    assert credentials({"CREDENTIALS_DIRECTORY": "/nonexistent"}) == ()


def test_a_credential_stays_in_its_folder(tmp_path: Path) -> None:
    """A name is no path."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "credentials").mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert credential("../secret", environment) is None


def test_a_binary_credential_is_refused_without_quoting_it(tmp_path: Path) -> None:
    """The message names the file and not its content."""
    (tmp_path / "key").write_bytes(b"\xff\xfesecret")
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        credential("key", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
