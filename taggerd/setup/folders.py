"""Folders in which photos may arrive: pictures, memory cards, and those of photo programs.

Where programs keep theirs:

- Pictures: ``XDG_PICTURES_DIR`` in ``user-dirs.dirs`` (xdg-user-dirs(5)).
- Cards: udisks mounts them below ``/run/media/USER`` or ``/media/USER``; a camera makes ``DCIM`` at
  the top (DCF, JEITA CP-3461, 3.1).
- darktable: ``session/base_directory_pattern`` and ``ui_last/import_last_directory`` in
  ``~/.config/darktable/darktablerc`` (src/common/import_session.c, src/libs/import.c).
- digiKam keeps its database in its collection (docs.digikam.org, "Collections Settings");
  ``Database Name`` in ``~/.config/digikamrc`` names it.
- Immich and PhotoPrism run in containers: the volumes of their compose files. Immich's own uploads
  (``UPLOAD_LOCATION``, docs.immich.app, "Custom Locations") are its alone and are not offered.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.photo import IMAGE_EXTENSIONS, extension
from taggerd.settings.section import home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOST_PHOTOS = 10_000
"""Photos that are counted in a folder; of more it is only said that there are more."""
_MOST_SECONDS = 1.0
"""Longest time to count them: a share may be slow."""
_MOST_BYTES = 2**20
"""A larger settings file of another program is not read."""
_ARRIVALS = ("import", "inbox", "incoming")
"""Names of folders below the pictures in which photos arrive."""
_IMMICH_OWN = frozenset({"/data", "/usr/src/app/upload", "/etc/localtime"})
_COMPOSE = ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml")
_VOLUME = re.compile(r"""^\s*-\s*["']?(?P<host>[/~.][^:"'#]*):(?P<inside>/[^:"'#\s]*)""")


class Candidate(NamedTuple):
    """A folder in which photos may arrive."""

    path: Path
    why: str
    """For people: ``"your pictures"``."""


def candidates(
    environ: Mapping[str, str], media: tuple[Path, ...] = (Path("/run/media"), Path("/media"))
) -> list[Candidate]:
    """Return the folders of this user that exist, the likeliest first.

    Args:
        environ: of the process.
        media: where removable disks are mounted, below a folder per user or not.
    """
    found: dict[Path, Candidate] = {}
    for each in _found(environ, media):
        try:
            real = each.path.resolve()
            usable = real.is_dir() and real not in {home(environ).resolve(), Path("/")}
        except (OSError, ValueError):  # a name of a damaged file may hold a zero byte
            continue
        if usable:
            found.setdefault(real, each)
    return list(found.values())


def count_photos(folder: Path, clock: Callable[[], float]) -> tuple[int, bool]:
    """Return how many photo files lie below *folder*, and whether that is all of them.

    Args:
        folder: a folder, which may be gone.
        clock: seconds, monotonic.
    """
    count, deadline = 0, clock() + _MOST_SECONDS
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += sum(extension(Path(name)) in IMAGE_EXTENSIONS for name in names)
        if count > MOST_PHOTOS or clock() > deadline:
            return min(count, MOST_PHOTOS), False
    return count, True


def why_not_usable(folder: Path) -> str:
    """Return why photos cannot arrive in *folder*; empty: they can, or it can be made.

    It need not exist, but the folder that it would be made in has to.
    """
    try:
        if not folder.exists():
            above = next(each for each in folder.parents if each.exists())
            return "" if os.access(above, os.W_OK) else f"you may not make a folder in {above}"
        if not folder.is_dir():
            return "that is a file, not a folder"
    except OSError as error:
        return error.strerror or str(error)
    if not os.access(folder, os.R_OK | os.X_OK):
        return "you may not read it"
    return "" if os.access(folder, os.W_OK) else "you may not write there, where the words go"


def is_there(folder: Path) -> bool:
    """Say whether a folder exists."""
    return folder.is_dir()


def make(folder: Path) -> None:
    """Make a folder for photos.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be made: {error.strerror}"
        raise ConfigurationError(message) from error


def darktable_settings(environ: Mapping[str, str]) -> Path:
    """Return darktable's settings file, whether it exists or not."""
    return _config(environ) / "darktable" / "darktablerc"


def digikam_settings(environ: Mapping[str, str]) -> Path:
    """Return digiKam's settings file, whether it exists or not."""
    return _config(environ) / "digikamrc"


def pictures(environ: Mapping[str, str]) -> Path:
    """Return the user's folder of pictures, which has a name in each language."""
    said = re.search(
        r'^XDG_PICTURES_DIR="(.+)"$', _text(_config(environ) / "user-dirs.dirs"), re.MULTILINE
    )
    folder = said.group(1) if said else "$HOME/Pictures"
    return Path(folder.replace("$HOME", str(home(environ))))


def compose_file(program: str, environ: Mapping[str, str]) -> Path | None:
    """Return the compose file of ``"immich"`` or ``"photoprism"`` where its guide has it."""
    names = (f"{program}-app", program)
    folders = [base / name for base in (home(environ), Path("/opt")) for name in names]
    files = (folder / name for folder in folders for name in _COMPOSE)
    return next((file for file in files if _text(file)), None)


def _found(environ: Mapping[str, str], media: tuple[Path, ...]) -> Iterator[Candidate]:
    mine = pictures(environ)
    for name in _names_in(mine):
        if name.casefold() in _ARRIVALS:
            yield Candidate(mine / name, "where photos arrive, by its name")
    darktable = _text(darktable_settings(environ))
    for key in ("session/base_directory_pattern", "ui_last/import_last_directory"):
        if said := re.search(rf"^{key}=(.+)$", darktable, re.MULTILINE):
            folder = said.group(1).replace("$(PICTURES_FOLDER)", str(mine))
            folder = folder.replace("$(HOME)", str(home(environ)))
            # A base folder with $(YEAR) in it is many folders: what stands before it is one.
            yield Candidate(Path(folder.partition("$(")[0]), "darktable imports there")
    digikam = re.search(r"^Database Name=(.+)$", _text(digikam_settings(environ)), re.MULTILINE)
    if digikam:
        database = Path(digikam.group(1).strip())
        folder = database.parent if database.suffix == ".db" else database
        yield Candidate(folder, "digiKam's collection")
    yield Candidate(mine, "your pictures")
    yield from _volumes("photoprism", "PhotoPrism's originals", environ)
    yield from _volumes("immich", "Immich's external library", environ)
    yield from _cards(media)


def _volumes(program: str, why: str, environ: Mapping[str, str]) -> Iterator[Candidate]:
    """Yield the folders of the machine that a container has for photos."""
    file = compose_file(program, environ)
    if file is None:
        return
    for line in _text(file).splitlines():
        if (found := _VOLUME.match(line)) is None:
            continue
        inside = found["inside"].rstrip("/")
        wanted = (
            inside == "/photoprism/originals"
            if program == "photoprism"
            else inside not in _IMMICH_OWN and "/var/lib/" not in inside and inside != "/cache"
        )
        if wanted:
            host = found["host"]
            start = home(environ) if host.startswith("~/") else file.parent
            yield Candidate(Path(os.path.normpath(start / host.removeprefix("~/"))), why)


def _cards(media: tuple[Path, ...]) -> Iterator[Candidate]:
    """Yield memory cards: disks with a folder DCIM at the top."""
    for base in media:
        for name in _names_in(base):
            below = [base / name / each for each in _names_in(base / name)]
            for disk in (base / name, *below):
                names = [each for each in _names_in(disk) if each.upper() == "DCIM"]
                yield from (Candidate(disk / each, "a memory card") for each in names)


def _config(environ: Mapping[str, str]) -> Path:
    config = Path(environ.get("XDG_CONFIG_HOME", ""))
    return config if config.is_absolute() else home(environ) / ".config"


def _text(file: Path) -> str:
    """Return a settings file of another program; empty if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _names_in(folder: Path) -> list[str]:
    """Return the names in *folder*, sorted; none if it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
