"""The unit files: systemd understands every line of them."""

from __future__ import annotations

import configparser
import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from taggerd.settings import Service, Settings
from taggerd.units.accounts import Account
from taggerd.units.installation import Installation, Wanted
from taggerd.units.kinds import Kind, ServiceUnit

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
        timeout=180,
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


MOST_EXPOSED = {"taggerd.service": 15, "user/taggerd.service": 30}
"""Tenths of a point of systemd-analyze's ten; of the other units 15."""


def security_of(unit: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Return what systemd-analyze says about a copy of *unit* in *folder*."""
    copy = folder / unit.name
    shutil.copy(unit, copy)
    return subprocess.run(
        ["systemd-analyze", "security", "--offline=true", *options, str(copy)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_services_are_hardened(unit: Path, tmp_path: Path) -> None:
    """As shipped, for folders anywhere, a service of the system is exposed by 1.5 of 10 at most.

    That of a user's own systemd by 3: it can do less without root.
    """
    most = MOST_EXPOSED.get(name_of(unit), 15)
    result = security_of(unit, tmp_path, f"--threshold={most}")
    assert result.returncode == 0, result.stdout[-300:]


@needs_analyze
@pytest.mark.parametrize("kind", [Kind.PERSON, Kind.MACHINE])
@pytest.mark.parametrize("root", [Path("/srv/photos/import"), Path("/home/alice/import")])
def test_an_installed_service_is_exposed_less(kind: Kind, root: Path, tmp_path: Path) -> None:
    """With folders and backend named, what ``service install`` writes is exposed by 1.3 at most.

    Also where the backend is another machine, and the folder somebody's in their home.
    """
    me = pwd.getpwuid(os.geteuid())
    account = Account(me.pw_name, me.pw_uid, me.pw_gid, Path("/home/alice"))
    unit = ServiceUnit(kind, account)
    assert unit.state_directory
    wanted = Wanted(
        roots=(root,),
        state_directory=unit.state_directory,
        keeps_state=False,
        others=(),
        addresses=("192.168.1.9",),
        in_system_file=False,
    )
    for name in unit.drop_ins:
        text = (UNITS / name).read_text()
        installation = Installation(unit, Path("/opt/taggerd/bin/taggerd"))
        whole = tmp_path / "whole" / name
        whole.parent.mkdir(exist_ok=True)
        whole.write_text(text + installation._drop_in(text, wanted, is_scan="scan" in name))
        result = security_of(whole, tmp_path, "--threshold=13")
        assert result.returncode == 0, f"{name}: {result.stdout[-300:]}"


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_what_is_left_out_says_why(unit: Path, tmp_path: Path) -> None:
    """Each protection that systemd-analyze misses in a unit is named in a comment.

    That is the unit's own, or that of the units it refers to.
    """
    shown = json.loads(security_of(unit, tmp_path, "--json=short").stdout)
    missing = [row["name"] for row in shown if row["set"] is False]
    assert missing
    said = comments_of(unit)
    for name in missing:
        # A group of calls or of addresses, else the setting itself.
        word = re.search(r"@\w+|AF_\w+", name.replace("(", "")) or re.match(r"\w+=", name)
        assert word, name
        assert word[0] in said, name


def comments_of(unit: Path) -> str:
    """Return the comments of *unit*, and those of the units they name."""
    own = re.findall(r"^#.*$", unit.read_text(), flags=re.MULTILINE)
    named = [UNITS / name for name in ("taggerd.service", "taggerd@.service")]
    others = [u for u in named if u != unit and any(f"ee {u.name}" in line for line in own)]
    return "\n".join([*own, *map(comments_of, others)])


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
    # systemd 252 gives credentials to ExecStart alone, but names their folder here, too.
    assert check.startswith("/usr/bin/env -u CREDENTIALS_DIRECTORY ")
    assert check.endswith("/bin/taggerd config check --allow-offline")
    assert hangup == '/bin/sh -c "kill -HUP $MAINPID"'


@pytest.mark.parametrize("unit", DAEMONS, ids=name_of)
def test_a_bad_hour_is_survived(unit: Path) -> None:
    """A service that crashes over and over at once is never given up on.

    Five crashes in ten minutes once ended it for good.
    """
    (pause,) = settings_of(unit, "RestartSec")
    (most,) = settings_of(unit, "StartLimitBurst")
    assert settings_of(unit, "StartLimitIntervalSec") == ["10min"]
    assert int(most) > 600 / int(pause)


@pytest.mark.parametrize("unit", SERVICES, ids=name_of)
def test_memory_is_a_share_of_the_machine(unit: Path) -> None:
    """Fixed limits were more than all of a small machine, and a corner of a large one."""
    (high,), (most,) = settings_of(unit, "MemoryHigh"), settings_of(unit, "MemoryMax")
    assert high.endswith("%")
    assert most.endswith("%")


@pytest.mark.parametrize("unit", [u for u in SERVICES if u.parent == UNITS], ids=name_of)
def test_only_parents_of_import_folders_are_opened(unit: Path) -> None:
    """An import folder may be missing at start, or be remade.

    A path without "-" keeps the service from starting where it is missing (226/NAMESPACE); an
    import folder that is named itself is read-only once it has been remade.
    """
    (opened,) = settings_of(unit, "ReadWritePaths")
    assert settings_of(unit, "ProtectSystem") == ["strict"]
    assert {"-/srv", "-/mnt", "-/media", "-/run/media"} < set(opened.split())
    assert all(path.startswith("-/") for path in opened.split())
    assert settings_of(unit, "StateDirectoryMode") == ["0700"]


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
        timeout=180,
        check=False,
    )
    assert f"Creating user '{user}'" in result.stdout + result.stderr
    assert result.returncode == 0
