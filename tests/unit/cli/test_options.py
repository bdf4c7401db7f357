"""Switches that give settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.cli import options, run, scan
from taggerd.cli.options import Load, Switch, configured
from taggerd.errors import ConfigurationError
from taggerd.settings.keys import leaves

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.settings.configuration import Configuration

SHARED = [value for value in vars(options).values() if isinstance(value, Switch)]


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test gives is set."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("switch", [*SHARED, *scan.SWITCHES, run.INPUT], ids=lambda s: s.flag)
def test_every_switch_gives_a_setting_that_there_is(switch: Switch) -> None:
    """A renamed setting does not leave a switch that cannot be used."""
    assert switch.key in {".".join(keys) for keys, _ in leaves()}


@configured(options.MODEL, Switch("--max-keywords", "keywords.max", "", "N", int))
def command(load: Load) -> Load:
    """Return what a command is given."""
    return load


def given(**values: object) -> Configuration:
    """Run the command as Typer would."""
    unset: dict[str, object] = dict.fromkeys(("model", "max_keywords", "config"))
    return command(**{**unset, "verbose": False, **values})(log_level="error")


def test_a_switch_wins_and_one_that_is_not_given_sets_nothing() -> None:
    """What the command line does not say comes from the other sources."""
    loaded = given(model="eye")
    assert (loaded.settings.backend.model, loaded.settings.keywords.max) == ("eye", 15)
    assert loaded.origins["backend.model"] == "command line"
    assert loaded.origins["keywords.max"] == "default"


def test_a_complaint_names_the_switch() -> None:
    """Whoever typed a switch is not told of a setting."""
    with pytest.raises(ConfigurationError, match=r"^--max-keywords: .*not 0$"):
        given(max_keywords=0)
