"""Installing the service: what is written, said and refused, and in which order.

systemd's own programs are stand-ins that note how they were called; all else is real. Root installs
a service for itself as a person; anybody else one of the own session.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from taggerd.errors import ConfigurationError, TaggerdError
from taggerd.units import Choice, install, lag, shipped, uninstall
from taggerd.units.accounts import Account, account, my_account
from taggerd.units.dropin import MARK, NAME, program_of
from taggerd.units.installation import Installation, Wanted
from taggerd.units.kinds import Kind, ServiceUnit
from taggerd.units.program import program

ROOT = os.geteuid() == 0
PROGRAMS = ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "journalctl")
STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >> FOLDER/calls
case "${0##*/} $*" in
*" restart "*)
    touch FOLDER/active
    test ! -e FOLDER/broken || { echo "Job failed." >&2; exit 1; } ;;
*" disable "*) rm -f FOLDER/active ;;
*ActiveState*) if test -e FOLDER/active; then echo active; else echo inactive; fi ;;
*StatusText*) echo "healthy: 0 queued" ;;
*LoadState*) echo loaded ;;
*Version*) echo 252 ;;
journalctl*) echo "the last words" ;;
esac
"""


def wanted(*roots: Path, state: Path, keeps_state: bool = False) -> Wanted:
    """Return what settings want that name import folders, and a folder for the records."""
    return Wanted(
        roots, state, keeps_state=keeps_state, others=(), addresses=(), in_system_file=False
    )


@dataclass(frozen=True)
class Site:
    """A machine below a folder, its import folder and its user's settings."""

    folder: Path

    @property
    def choice(self) -> Choice:
        """The service that this user may install."""
        return Choice(my_account().name if ROOT else None, prefix=self.folder / "machine")

    @property
    def unit(self) -> ServiceUnit:
        """The same, installed."""
        kind = Kind.PERSON if ROOT else Kind.SESSION
        return ServiceUnit(kind, my_account(), self.choice.prefix)

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.folder / "config" / "taggerd" / "taggerd.toml"

    @property
    def root(self) -> Path:
        """The import folder."""
        return self.folder / "photos" / "import"

    @property
    def drop_in(self) -> Path:
        """The drop-in of the daemon's unit."""
        return next(iter(self.unit.drop_ins.values())) / NAME

    def calls(self) -> list[str]:
        """How systemd's programs were called since the last time, without questions."""
        log = self.folder / "systemd" / "calls"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        calls = [call.replace(" --user", "") for call in calls]
        return [call for call in calls if " show " not in call and "is-enabled" not in call]

    def set_roots(self, *roots: Path) -> None:
        """Write settings with import folders."""
        self.settings.parent.mkdir(parents=True, exist_ok=True)
        listed = ", ".join(f'"{root}"' for root in roots)
        self.settings.write_text(
            f'[backend]\nbase_url = "builtin:"\n[arrivals]\nroots = [{listed}]\n'
        )

    def install(self, *roots: Path, dry_run: bool = False) -> str:
        """Install the service and return what is said."""
        said: list[str] = []
        run = self.folder / "run"
        install(self.choice, roots, said.append, dry_run=dry_run, run=run)
        return "\n".join(said)

    def installed(self, *roots: Path) -> None:
        """Leave what an installation for *roots* leaves; it is quicker than one."""
        self.set_roots(*roots)
        state = self.unit.state_directory or self.folder / "state" / "taggerd"
        for change in Installation(self.unit, program()).changes(wanted(*roots, state=state)):
            change.make()
        (self.folder / "systemd" / "active").touch()

    def written(self) -> list[Path]:
        """Return what there is of the service's files."""
        return [path for path in self.unit.folder.rglob("*") if path.is_file()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a machine on which systemd runs and nothing is installed."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(STAND_IN.replace("FOLDER", str(folder)))
        (folder / name).chmod(0o755)
    (tmp_path / "run" / "systemd" / "system").mkdir(parents=True)
    (tmp_path / "photos" / "import").mkdir(parents=True)
    (tmp_path / "config").mkdir(mode=0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    return Site(tmp_path)


@pytest.mark.slow
def test_one_command_takes_a_folder_to_a_running_service(site: Site) -> None:
    """Settings, units and drop-in are written, it is enabled and started, and its status shown."""
    site.settings.unlink(missing_ok=True)
    said = site.install(site.root)
    assert f'\nroots = ["{site.root}"]\n' in site.settings.read_text()
    assert f"# {site.root}\nReadWritePaths=-{site.root.parent}\n" in site.drop_in.read_text()
    for name, path in site.unit.files.items():
        assert path.read_text().startswith(MARK)
        assert path.read_text().endswith(shipped(name).read_text())
    systemctl = [call for call in site.calls() if call.startswith("systemctl")]
    unit = site.unit.name
    assert systemctl == [
        "systemctl daemon-reload",
        f"systemctl enable -- {unit}",
        f"systemctl restart -- {unit}",
    ]
    assert f"{unit}: healthy: 0 queued" in said.splitlines()


def test_it_starts_the_program_that_installed_it(site: Site) -> None:
    """Not one that may lie in /opt: the tests run from an environment of their own."""
    site.installed(site.root)
    starts = [line for line in site.drop_in.read_text().splitlines() if "ExecStart=" in line]
    assert starts[0] == "ExecStart="
    assert starts[1].endswith("/bin/taggerd run")
    assert not starts[1].startswith("ExecStart=/opt/taggerd/")


def test_a_second_time_nothing_changes(site: Site) -> None:
    """No file is written and nothing is restarted; the status is shown again."""
    site.installed(site.root)
    before = {path: path.stat().st_mtime_ns for path in site.written()}
    site.calls()
    said = site.install()
    assert {path: path.stat().st_mtime_ns for path in site.written()} == before
    assert not [call for call in site.calls() if "restart" in call or "daemon-reload" in call]
    assert "healthy" in said
    assert "write" not in said


@pytest.mark.slow
def test_the_drop_in_follows_the_import_folders(site: Site) -> None:
    """After a change of roots it is said that it must follow; it does, and the service restarts."""
    site.installed(site.root)
    assert lag(site.unit) == []
    other = site.folder / "more" / "import"
    other.mkdir(parents=True)
    site.set_roots(site.root, other)
    assert site.drop_in in [change.path for change in lag(site.unit)]
    assert "the drop-in follows" in site.install()
    assert f"ReadWritePaths=-{other.parent}\n" in site.drop_in.read_text()
    assert f"systemctl restart -- {site.unit.name}" in site.calls()


def test_a_dry_run_changes_nothing(site: Site) -> None:
    """It shows the files and what would be done."""
    said = site.install(site.root, dry_run=True)
    assert f"write {site.drop_in}" in said
    assert f"ReadWritePaths=-{site.root.parent}" in said
    assert f"enable {site.unit.name}" in said
    assert site.written() == []
    assert not site.settings.exists()
    assert [call for call in site.calls() if not call.startswith("systemctl")] == []


def test_wrong_settings_are_refused_first(site: Site) -> None:
    """What `config check` finds is said, and nothing is written or started."""
    site.set_roots(site.root)
    site.settings.write_text(site.settings.read_text() + "settle_secnds = 1\n")
    with pytest.raises(ConfigurationError, match=r"did you mean arrivals\.settle_seconds"):
        site.install()
    assert site.written() == []
    assert not [call for call in site.calls() if "enable" in call]


def test_settings_that_name_folders_are_not_edited(site: Site) -> None:
    """Another folder is added by whoever wrote them; it is said how."""
    site.set_roots(site.root)
    before = site.settings.read_text()
    other = site.folder / "photos"
    with pytest.raises(ConfigurationError, match=f'roots = \\["{site.root}", "{other}"\\]'):
        site.install(other)
    assert site.settings.read_text() == before


def test_an_import_folder_has_to_be_named(site: Site) -> None:
    """Without one there is nothing to watch; the message shows the command."""
    site.set_roots()
    with pytest.raises(ConfigurationError, match="which import folders"):
        site.install()
    with pytest.raises(ConfigurationError, match="no such folder"):
        site.install(site.folder / "missing")


def test_a_missing_import_folder_is_waited_for(site: Site) -> None:
    """A card that is not in its reader now keeps nobody from installing."""
    missing = site.folder / "media" / "card" / "DCIM"
    site.set_roots(missing)
    assert f"{missing} is not there: the service waits for it" in site.install()
    assert f"ReadWritePaths=-{site.folder}\n" in site.drop_in.read_text()


def test_a_service_that_does_not_start_says_why(site: Site) -> None:
    """Its last lines are shown, and the exit code is an error's."""
    site.set_roots(site.root)
    (site.folder / "systemd" / "broken").touch()
    said: list[str] = []
    with pytest.raises(TaggerdError, match="does not start") as caught:
        install(site.choice, [], said.append, run=site.folder / "run")
    assert "the last words" in said
    assert caught.value.exit_code == 1


def test_a_file_of_somebody_else_is_not_replaced(site: Site) -> None:
    """An administrator's own unit stays; what was copied from the repository fits as it is."""
    name, path = list(site.unit.files.items())[-1]
    path.parent.mkdir(parents=True)
    path.write_text(shipped(name).read_text())
    site.installed(site.root)
    assert MARK not in path.read_text()
    path.write_text("[Service]\nExecStart=/bin/my-own\n")
    with pytest.raises(ConfigurationError, match="not of this installation"):
        site.installed(site.root)
    uninstall(site.unit, lambda _line: None)
    assert path.read_text() == "[Service]\nExecStart=/bin/my-own\n"


@pytest.mark.parametrize("command", ["/opt/taggerd/bin/taggerd", "/usr/bin/taggerd"])
def test_units_of_a_package_are_used(site: Site, command: str) -> None:
    """Where a package brought the same units, only the drop-in is written; upgrades reach them."""
    site.installed(site.root)
    for name in site.unit.files:
        packaged = site.unit.packaged(name)
        packaged.parent.mkdir(parents=True, exist_ok=True)
        text = shipped(name).read_text()
        packaged.write_text(text.replace(program_of(text) or command, command))
    site.installed(site.root)
    assert not any(path.exists() for path in site.unit.files.values())
    starts = [line for line in site.drop_in.read_text().splitlines() if "ExecStart=" in line]
    assert starts == ["ExecStart=", f"ExecStart={program()} run"]


def test_units_of_another_version_are_not(site: Site) -> None:
    """A package that is older than this taggerd has units that do not fit it."""
    for name in site.unit.files:
        packaged = site.unit.packaged(name)
        packaged.parent.mkdir(parents=True, exist_ok=True)
        packaged.write_text(f"# of long ago\n{shipped(name).read_text()}")
    site.installed(site.root)
    assert all(path.exists() for path in site.unit.files.values())


def test_uninstalling_leaves_settings_and_state(site: Site) -> None:
    """All that was written for systemd goes, however often it is said; nothing else does."""
    site.installed(site.root)
    (site.root / "photo.jpg").write_bytes(b"a photo")
    said: list[str] = []
    uninstall(site.unit, said.append, dry_run=True)
    assert site.written()
    uninstall(site.unit, said.append)
    assert f"systemctl disable --now -- {site.unit.name}" in site.calls()
    assert site.written() == []
    assert not site.drop_in.parent.exists()
    assert site.settings.exists()
    assert (site.root / "photo.jpg").exists()
    uninstall(site.unit, said.append)
    assert said[-1] == f"{site.unit.name} is not installed"


def test_a_drop_in_of_the_administrator_stays(site: Site) -> None:
    """What `systemctl edit` wrote beside ours is theirs."""
    site.installed(site.root)
    theirs = site.drop_in.with_name("override.conf")
    theirs.write_text("[Service]\nNice=15\n")
    uninstall(site.unit, lambda _line: None)
    assert site.written() == [theirs]


def test_a_machine_without_systemd_is_refused(site: Site) -> None:
    """In a container or under another init, it is said what to do instead."""
    (site.folder / "run" / "systemd" / "system").rmdir()
    with pytest.raises(ConfigurationError, match="taggerd run"):
        site.install(site.root)
    assert not site.settings.exists()


@pytest.mark.skipif(ROOT, reason="root may install services of the machine")
@pytest.mark.parametrize("choice", [Choice("root"), Choice(system=True)], ids=["person", "machine"])
def test_root_alone_installs_services_of_the_machine(choice: Choice, site: Site) -> None:
    """The message is the command line to say instead."""
    with pytest.raises(ConfigurationError, match=r"sudo \S+/taggerd service install --"):
        install(choice, [site.root], print)


@pytest.mark.skipif(not ROOT, reason="anybody else has a session")
def test_root_has_to_say_whose_service_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of root's own session would be nobody's; sudo tells who asks."""
    monkeypatch.setenv("SUDO_USER", "alice")
    with pytest.raises(ConfigurationError, match="--user alice"):
        install(Choice(), [site.root], print)
    with pytest.raises(ConfigurationError, match="no such user: nobody-of-this-name"):
        install(Choice("nobody-of-this-name"), [site.root], print, run=site.folder / "run")
    with pytest.raises(ConfigurationError, match="exclude each other"):
        install(Choice("alice", system=True), [site.root], print)


@pytest.mark.skipif(not ROOT, reason="only root can act as another user")
def test_a_folder_that_its_user_may_not_write_to_is_refused(site: Site) -> None:
    """Sidecars go beside the photos: who cannot write there is told so at once."""
    site.folder.parent.chmod(0o711)
    site.root.chmod(0o755)
    unit = ServiceUnit(Kind.PERSON, account("nobody"), site.choice.prefix)
    installation = Installation(unit, Path("/bin/true"))
    with pytest.raises(ConfigurationError, match="user nobody may not write to it"):
        list(installation.refuse_unwritable(wanted(site.root, state=site.folder / "state")))


def test_what_a_service_does_not_see_is_refused(site: Site) -> None:
    """It has a /tmp of its own, and the machine's own user no sight of homes."""
    program_there = Path("/home/alice/.local/bin/taggerd")
    machine = ServiceUnit(Kind.MACHINE, my_account())
    with pytest.raises(ConfigurationError, match="outside of home folders"):
        Installation(machine, program_there).refuse_what_cannot_work()
    own = replace(site.unit, prefix=Path("/"))
    in_tmp = wanted(Path("/tmp/photos"), state=site.folder)  # noqa: S108 - the point of it
    with pytest.raises(ConfigurationError, match="a /tmp of its own"):
        list(Installation(own, program_there).refuse_unwritable(in_tmp))


def drop_in_of(unit: ServiceUnit, wants: Wanted) -> str:
    """Return the drop-in of a service whose settings want *wants*."""
    changes = Installation(unit, Path("/bin/true")).changes(wants)
    texts = [change.text for change in changes if change.path.name == NAME]
    assert texts[0] is not None
    return texts[0]


def test_what_other_settings_name_is_opened_too(site: Site) -> None:
    """The records' folder, for one, may lie anywhere; of a file the folder is opened."""
    site.set_roots(site.root)
    out, figures = site.folder / "out", site.folder / "figures"
    with site.settings.open("a") as more:
        more.write(f'release_to = "{out}/tagged"\n[journal]\ndirectory = "{out}/records"\n')
        more.write(f'[metrics]\ntextfile = "{figures}/all/taggerd.prom"\n')
    for folder in (out, figures):
        folder.mkdir()
    wants = Installation(site.unit, program()).wanted()
    assert wants.others == (out / "tagged", out / "records", figures / "all")
    unit = ServiceUnit(Kind.PERSON, my_account(), site.choice.prefix)
    assert f"ReadWritePaths=-{out}\n" in drop_in_of(unit, wants)
    assert f"ReadWritePaths=-{figures}\n" in drop_in_of(unit, wants)


def test_a_state_that_exists_is_kept(site: Site) -> None:
    """Whoever has tagged by hand has paid: the service goes on with the same queue and answers."""
    unit = ServiceUnit(Kind.PERSON, my_account(), site.choice.prefix)
    state = Path("/home/alice/.local/state/taggerd")
    text = drop_in_of(unit, wanted(site.root, state=state, keeps_state=True))
    assert "\nStateDirectory=\n" in text
    assert "ReadWritePaths=-/home/alice/.local/state/taggerd\n" in text
    assert "StateDirectory" not in drop_in_of(unit, wanted(site.root, state=state))


@pytest.mark.skipif(not ROOT, reason="root alone removes services of the machine")
def test_files_that_others_use_stay(site: Site) -> None:
    """Two persons share one template, and all share the scan: the last to leave takes it along."""
    prefix = site.choice.prefix
    one, other, machine = (
        ServiceUnit(kind, Account(name, os.geteuid(), os.getegid(), site.folder), prefix)
        for kind, name in (
            (Kind.PERSON, "one"),
            (Kind.PERSON, "other"),
            (Kind.MACHINE, "taggerd"),
        )
    )
    wants = wanted(site.root, state=site.folder / "state")
    for unit in (one, other, machine):
        for change in Installation(unit, Path("/bin/true")).changes(wants):
            change.make()
    units = prefix / "etc" / "systemd" / "system"
    for unit, left in (
        (one, {"taggerd@.service", "taggerd.service", "taggerd-scan@.service"}),
        (other, {"taggerd.service", "taggerd-scan@.service"}),
        (machine, set()),
    ):
        uninstall(unit, lambda _line: None)
        assert {path.name for path in units.glob("*.service")} == left
    assert [path for path in prefix.rglob("*") if path.is_file()] == []
