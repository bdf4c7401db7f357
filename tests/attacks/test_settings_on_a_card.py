"""A memory card, or a folder above the one that is scanned, chooses no settings."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.embeddable import KINDS
from support.program import CountingBackend

from taggerd.settings import Settings
from taggerd.settings.backend import PROJECT_KEYS
from taggerd.settings.keys import leaves
from taggerd.settings.project import project_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.program import Program

KEY = "sk-of-the-user"


@pytest.fixture
def thief() -> Iterator[CountingBackend]:
    """Return the backend that a card names."""
    serving = CountingBackend()
    yield serving
    serving.close()


@pytest.fixture
def victim(taggerd: Program, backend: CountingBackend) -> Program:
    """Return the program of a user who has a key, and a backend in a settings file."""
    settings = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[backend]\nbase_url = "{backend.base_url}"\n')
    settings.chmod(0o600)
    taggerd.environment["TAGGERD__BACKEND__API_KEY"] = KEY
    return taggerd


def in_folder(
    program: Program, folder: Path, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command in *folder*, with nothing but the settings file to say where the backend is."""
    environment = program.full_environment()
    del environment["TAGGERD__BACKEND__BASE_URL"]
    done = subprocess.run(
        program.command(*arguments),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def plant(folder: Path, address: str, more: str = "") -> None:
    """Put a pyproject.toml into *folder* that redirects photos and the key."""
    (folder / "pyproject.toml").write_text(
        f'[tool.taggerd.backend]\nbase_url = "{address}"\n{more}'
    )


@pytest.mark.parametrize(
    ("above", "own"),
    [
        (False, True),
        (True, False),
        pytest.param(True, True, marks=pytest.mark.long),
        pytest.param(False, False, marks=pytest.mark.long),
    ],
)
def test_a_card_redirects_neither_photos_nor_the_key(
    victim: Program, thief: CountingBackend, card: Path, *, above: bool, own: bool
) -> None:
    """``cd card; taggerd scan .`` sends the card's address nothing, whoever set what else."""
    if not own:
        (victim.home / "config" / "taggerd" / "taggerd.toml").unlink()
    plant(card.parent if above else card, thief.base_url)
    said = in_folder(victim, card, "scan", "--dry-run", ".", code=0 if own else 3).stderr
    assert not thief.requests
    assert not thief.asked
    assert "its settings are ignored: you have not trusted its folder" in said
    assert "taggerd config trust " in said


def test_even_a_trusted_project_gives_no_key_and_no_address(
    victim: Program, thief: CountingBackend, card: Path
) -> None:
    """Its other settings hold; what of it is ignored is said in one line."""
    (victim.home / "config" / "taggerd" / "taggerd.toml").unlink()
    plant(card, thief.base_url, 'api_key = "x"\nmodel = "m"\n[tool.taggerd.image]\nmax_edge = 900')
    trusted = in_folder(victim, card, "config", "trust")
    assert "trusted as it is now: backend.model, image.max_edge" in trusted.stdout
    said = in_folder(victim, card, "config", "show")
    assert 'backend.base_url = "auto"' in said.stdout
    assert "image.max_edge = 900" in said.stdout
    (line,) = said.stderr.splitlines()
    assert (
        "backend.base_url, backend.api_key ignored: keys, addresses and hooks are never taken"
        in line
    )
    named = in_folder(victim, victim.home, "config", "show", "--config", f"{card}/pyproject.toml")
    assert "image.max_edge = 900" in named.stdout
    assert 'backend.base_url = "auto"' in named.stdout
    assert named.stderr.splitlines() == [line]


@pytest.mark.long
def test_a_trusted_file_that_changed_is_not_trusted(victim: Program, card: Path) -> None:
    """Trust is in the bytes that the user saw, as direnv's; the list shows the rest."""
    file = card / "pyproject.toml"
    file.write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    in_folder(victim, card, "config", "trust", str(card))
    listing = victim.home / "config" / "taggerd" / "trusted.json"
    assert listing.stat().st_mode & 0o777 == 0o600
    below = card / "day"
    below.mkdir()
    assert "max_edge = 900" in in_folder(victim, below, "config", "show").stdout
    assert in_folder(victim, card, "config", "trust", "--list").stdout == f"{card}: trusted\n"
    file.write_text("[tool.taggerd.image]\nmax_edge = 901\n")
    shown = in_folder(victim, card, "config", "show")
    assert "image.max_edge = 1024" in shown.stdout
    assert "it has changed since you trusted it" in shown.stderr
    in_folder(victim, card, "config", "trust")
    assert "max_edge = 901" in in_folder(victim, card, "config", "show").stdout
    in_folder(victim, card, "config", "trust", "--remove", str(file))
    assert "max_edge = 1024" in in_folder(victim, card, "config", "show").stdout
    assert in_folder(victim, card, "config", "trust", "--list").stdout == ""
    again = in_folder(victim, card, "config", "trust", "--remove", code=2)
    assert "not trusted anyway" in again.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_trusted(victim: Program, card: Path) -> None:
    """Its owner could have written it while the user looked: as git's safe.directory."""
    file = card / "pyproject.toml"
    file.write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    os.chown(file, 65534, 65534)
    said = in_folder(victim, card, "config", "trust", code=2).stderr
    assert "it belongs to user 65534, not to you" in said
    os.chown(file, 0, 0)
    in_folder(victim, card, "config", "trust")
    os.chown(file, 65534, 65534)
    shown = in_folder(victim, card, "config", "show")
    assert "max_edge = 1024" in shown.stdout
    assert "it belongs to user 65534, not to you" in shown.stderr


@pytest.mark.parametrize("mode", [0o666, 0o660])
def test_a_list_that_others_may_write_is_refused(victim: Program, card: Path, mode: int) -> None:
    """Whoever writes it trusts in the user's name."""
    (card / "pyproject.toml").write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    in_folder(victim, card, "config", "trust")
    (victim.home / "config" / "taggerd" / "trusted.json").chmod(mode)
    said = in_folder(victim, card, "config", "show", code=2).stderr
    assert "others may write it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("damage", ["", "[]", '{"/": 1}', "[" * 100_000, "\0"])
def test_a_damaged_list_is_one_line(victim: Program, card: Path, damage: str) -> None:
    """Nothing is taken for trusted, and what to do is said."""
    (card / "pyproject.toml").write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    listing = victim.home / "config" / "taggerd" / "trusted.json"
    listing.write_text(damage)
    (line,) = in_folder(victim, card, "config", "show", code=2).stderr.splitlines()
    assert (
        line
        == f"taggerd: {listing}: not used: it is damaged; remove it and trust your folders again"
    )


def test_what_is_named_pyproject_does_not_hold_up_a_command(victim: Program, card: Path) -> None:
    """A link, a large file, a tower of brackets or nonsense: the command goes on without it."""
    file = card / "pyproject.toml"
    file.symlink_to("/dev/zero")
    in_folder(victim, card, "config", "show")
    file.unlink()
    target = card / "real.toml"
    target.write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    file.symlink_to(target)
    assert "max_edge = 1024" in in_folder(victim, card, "config", "show").stdout
    file.unlink()
    with file.open("wb") as sparse:
        sparse.write(b"[tool.taggerd]\n")
        sparse.truncate(2**33)
    in_folder(victim, card, "config", "show")
    file.write_text("[tool.taggerd]\nx = " + "[" * 500_000)
    in_folder(victim, card, "config", "show")
    file.write_text("[tool.imageworks.personal_tagger]\nx = " + "[" * 500_000)
    in_folder(victim, card, "config", "show")


def test_the_older_tools_settings_are_imported_from_a_named_file_only(
    victim: Program, thief: CountingBackend, card: Path
) -> None:
    """``config import --write`` on a card does not write the card's address into the settings."""
    file = card / "pyproject.toml"
    file.write_text(f'[tool.imageworks.personal_tagger]\nbase_url = "{thief.base_url}"\n')
    written = victim.home / "config" / "taggerd" / "taggerd.toml"
    written.unlink()
    said = in_folder(victim, card, "config", "import", "--write", code=2).stderr
    assert f"name the file that you mean: taggerd config import {file} --write" in said
    assert not written.exists()
    in_folder(victim, card, "config", "import", "--write", str(file))
    assert thief.base_url in written.read_text()


def test_a_relative_path_in_the_settings_is_not_a_file_on_the_card(
    victim: Program, card: Path
) -> None:
    """``registry_path = "models.json"`` means the one beside the settings, wherever one is."""
    own = victim.home / "config" / "taggerd"
    (own / "taggerd.toml").write_text(
        '[backend]\nregistry_path = "models.json"\n[prompts]\ndirectory = "mine"\n'
        '[keywords]\nvocabulary = "~/words.txt"\n'
    )
    shown = in_folder(victim, card, "config", "show").stdout
    assert f'backend.registry_path = "{own}/models.json"' in shown
    assert f'prompts.directory = "{own}/mine"' in shown
    assert f'keywords.vocabulary = "{victim.home}/words.txt"' in shown


@pytest.mark.parametrize(
    "relative",
    [
        {"XDG_CONFIG_HOME": "here"},
        {"XDG_CONFIG_HOME": "", "HOME": ""},
        {"XDG_CONFIG_HOME": "", "HOME": "."},
        {"XDG_CONFIG_HOME": ".", "XDG_STATE_HOME": "here"},
    ],
)
def test_a_relative_home_is_not_on_the_card(
    victim: Program, card: Path, relative: dict[str, str]
) -> None:
    """The XDG specification has relative paths ignored; an empty ``HOME`` is none."""
    for folder in (".", "here", ".config"):
        file = card / folder / "taggerd" / "taggerd.toml"
        file.parent.mkdir(parents=True)
        file.write_text("[image]\nmax_edge = 900\n")
    victim.environment |= relative
    shown = in_folder(victim, card, "config", "show").stdout
    assert "image.max_edge = 1024" in shown
    environment = {k: v for k, v in victim.full_environment().items() if "STATE_DIR" not in k}
    done = subprocess.run(
        victim.command("config", "show"),
        env=environment,
        cwd=card,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.match(r'state_directory = "/', done.stdout), done.stderr


@pytest.mark.parametrize(
    "path",
    [
        ":",
        "bin:",
        pytest.param(".:", marks=pytest.mark.long),
        pytest.param("/usr/bin:", marks=pytest.mark.long),
    ],
)
def test_no_program_of_the_card_is_run(victim: Program, card: Path, path: str) -> None:
    """Exiftool is looked for in ``PATH`` alone, and not in what it says of the folder one is in."""
    (card / "bin").mkdir()
    for program in (card / "exiftool", card / "bin" / "exiftool"):
        program.write_text(f"#!/bin/sh\n: >{card}/run\n")
        program.chmod(0o755)
    victim.environment |= {"PATH": path, "TAGGERD__METADATA__TARGET": "embed"}
    (card / "IMG_0000.heic").write_bytes(KINDS["plain.heic"]())
    in_folder(victim, card, "version", "--verbose")
    in_folder(victim, card, "scan", ".")
    assert not (card / "run").exists()


def test_no_setting_that_says_where_photos_go_is_taken_from_a_project() -> None:
    """A new setting of the backend is not either, until somebody lists it; of others none."""
    words = ("url", "api_key", "proxy", "endpoint", "registry_path", "use_")
    sends = {keys for keys, _ in leaves(Settings) if any(word in keys[-1] for word in words)}
    assert sends >= {("backend", "base_url"), ("backend", "api_key"), ("backend", "endpoints")}
    assert {keys[0] for keys in sends} == {"backend", "hooks", "ledger"}
    hooks, ledger = {"after_photo": {"url": "http://thief"}}, {"url": "postgresql://thief/queue"}
    table = {"tool": {"taggerd": {"hooks": hooks, "ledger": ledger}}}
    layer, notice = project_layer(Path("/card/pyproject.toml"), "card", table)
    assert layer is not None
    assert "hooks" not in layer.values
    assert "ledger" not in layer.values
    assert "hooks" in notice
    assert "ledger" in notice
    assert not PROJECT_KEYS & {keys[-1] for keys in sends}
