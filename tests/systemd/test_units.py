"""The unit files: systemd understands every line of them."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from taggerd.settings import Service, Settings

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "systemd"
SERVICES = sorted(path for path in UNITS.rglob("*.service"))
DAEMONS = [path for path in SERVICES if "scan" not in path.name]


def name_of(path: Path) -> str:
    """Return *path* below systemd/, as the test's name."""
    return str(path.relative_to(UNITS))


needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings_of(unit: Path, key: str) -> list[str]:
    """Return all values of *key* in *unit*, in order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), flags=re.MULTILINE)


def verified(folder: Path, *, user: bool = False) -> str:
    """Return what systemd-analyze has to say of the units in *folder* (it exits 0 all the same)."""
    folder.mkdir(exist_ok=True)
    names = []
    for unit in (UNITS / "user" if user else UNITS).glob("taggerd*"):
        text = re.sub(r"(/opt/taggerd|%h/\.local)/bin/taggerd", "/bin/true", unit.read_text())
        (folder / unit.name).write_text(text)
        names.append(str(folder / unit.name))
    assert names
    command = ["systemd-analyze", *(["--user"] if user else []), "verify", *sorted(names)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )
    return result.stdout + result.stderr + (f"exit {result.returncode}" * bool(result.returncode))


@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_decoders_may_confine_themselves(unit: Path) -> None:
    """A filter of ours must not keep decoders from Landlock, which systemd 252 has in no group."""
    filters = settings_of(unit, "SystemCallFilter")
    landlock = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
    assert not filters or landlock in filters


@needs_analyze
def test_system_units_are_understood(tmp_path: Path) -> None:
    """No unknown key, no wrong value, no missing program in the system's units."""
    assert verified(tmp_path) == ""


@needs_analyze
def test_the_user_unit_is_understood(tmp_path: Path) -> None:
    """The desktop's unit as well."""
    assert verified(tmp_path / "user", user=True) == ""


@needs_analyze
def test_verifying_finds_unknown_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two tests above can fail: a misspelt key is reported."""
    shutil.copytree(UNITS, tmp_path / "systemd")
    unit = tmp_path / "systemd" / "taggerd.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    monkeypatch.setattr(f"{__name__}.UNITS", tmp_path / "systemd")
    assert "WatchdogSecs" in verified(tmp_path / "copies")


@needs_analyze
@pytest.mark.parametrize("unit", [u for u in SERVICES if u.parent == UNITS], ids=name_of)
def test_services_are_hardened(unit: Path, tmp_path: Path) -> None:
    """Each system service's exposure is rated OK: under 2.5 of 10."""
    copy = tmp_path / unit.name
    shutil.copy(unit, copy)
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-300:]


@pytest.mark.parametrize("unit", DAEMONS, ids=name_of)
def test_stopping_outlasts_the_drain(unit: Path) -> None:
    """A daemon that still keeps to its own drain time is not killed."""
    drain = Service.model_fields["drain_seconds"].default
    (seconds,) = settings_of(unit, "TimeoutStopSec")
    assert int(seconds) >= drain + 10


@pytest.mark.parametrize("unit", DAEMONS, ids=name_of)
def test_a_reload_checks_first(unit: Path) -> None:
    """A bad settings file is found before the running daemon is asked to read it."""
    check, hangup = settings_of(unit, "ExecReload")
    assert check.endswith("/bin/taggerd config check --allow-offline")
    assert hangup == '/bin/sh -c "kill -HUP $MAINPID"'


@pytest.mark.parametrize("unit", DAEMONS, ids=name_of)
def test_the_type_is_known_to_debian_12(unit: Path) -> None:
    """Debian 12 has systemd 252, without notify-reload; the daemon keeps its watchdog."""
    assert settings_of(unit, "Type") == ["notify"]
    assert settings_of(unit, "WatchdogSec") == ["60"]


@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_nothing_else_is_required(unit: Path) -> None:
    """The machine may boot without network and backend: the units only order themselves."""
    text = unit.read_text()
    assert not re.search(r"^(Requires|BindsTo|Requisite|Wants)=", text, flags=re.MULTILINE)
    assert "network-online" not in text


@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_a_lost_worker_does_not_end_the_service(unit: Path) -> None:
    """The kernel may kill a worker for memory; systemd must not stop everything for that."""
    assert settings_of(unit, "OOMPolicy") == ["continue"]


@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_credentials_are_named_as_settings(unit: Path) -> None:
    """The credential that a comment recommends is a setting that exists."""
    for value in settings_of(unit, "#LoadCredential"):
        section, key = value.split(":")[0].split(".")
        annotation = Settings.model_fields[section].annotation
        assert annotation is not None
        assert key in annotation.model_fields


def test_the_timer_starts_the_scan() -> None:
    """Timer and service belong together, and a night that was slept through is made up for."""
    timer = configparser.ConfigParser()
    timer.read(UNITS / "taggerd-scan@.timer")
    assert timer["Timer"]["Persistent"] == "true"
    assert "Unit" not in timer["Timer"]
    assert (UNITS / "taggerd-scan@.service").exists()


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None,
    reason="systemd-sysusers is missing: apt-get install systemd",
)
def test_the_user_is_made(tmp_path: Path) -> None:
    """The service's user is the one that sysusers.d makes."""
    (tmp_path / "etc").mkdir()
    (user,) = settings_of(UNITS / "taggerd.service", "User")
    conf = UNITS / "sysusers.d" / "taggerd.conf"
    result = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", "--dry-run", str(conf)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"Creating user '{user}'" in result.stdout + result.stderr
    assert result.returncode == 0
