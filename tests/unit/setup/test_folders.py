"""The folders that setup offers: those that are there, whoever keeps photos in them."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

import pytest

from taggerd.setup import candidates, count_photos, installed, language_of, why_not_usable
from taggerd.setup.folders import MOST_PHOTOS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty home."""
    folder = tmp_path / "ann"
    folder.mkdir()
    return folder


def put(path: Path, text: str = "") -> Path:
    """Write a file of another program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def offered(home: Path, media: Path | None = None) -> list[tuple[str, str]]:
    """Return what is offered, with paths below the home."""
    found = candidates({"HOME": str(home)}, (media,) if media else ())
    return [(os.path.relpath(each.path, home), each.why) for each in found]


def test_a_new_home_offers_nothing(home: Path) -> None:
    """No folder is invented, and the home itself is none for photos."""
    assert offered(home) == []
    put(home / ".config/user-dirs.dirs", 'XDG_PICTURES_DIR="$HOME/"\n')
    assert offered(home) == []


def test_pictures_have_a_name_in_each_language(home: Path) -> None:
    """As the desktop says; a folder in them where photos arrive comes first."""
    put(home / ".config/user-dirs.dirs", '# xdg\nXDG_PICTURES_DIR="$HOME/Bilder"\n')
    put(home / "Bilder/Import/IMG_1.jpg")
    assert offered(home) == [
        ("Bilder/Import", "where photos arrive, by its name"),
        ("Bilder", "your pictures"),
    ]


def test_darktables_folders_are_found(home: Path) -> None:
    """Its import folder up to the first part that differs by photo, and the last one."""
    (home / "Pictures/Darktable").mkdir(parents=True)
    (home / "shots").mkdir()
    put(
        home / ".config/darktable/darktablerc",
        "session/base_directory_pattern=$(PICTURES_FOLDER)/Darktable\n"
        f"ui_last/import_last_directory={home}/shots\n",
    )
    assert offered(home) == [
        ("Pictures/Darktable", "darktable imports there"),
        ("shots", "darktable imports there"),
        ("Pictures", "your pictures"),
    ]
    put(
        home / ".config/darktable/darktablerc",
        f"session/base_directory_pattern={home}/shots/$(YEAR)/$(MONTH)\n",
    )
    assert offered(home)[0] == ("shots", "darktable imports there")


@pytest.mark.parametrize("said", ["{home}/photos/", "{home}/photos/digikam4.db"])
def test_digikams_collection_is_where_its_database_is(home: Path, said: str) -> None:
    """Digikamrc names the folder, or the file in it."""
    (home / "photos").mkdir()
    text = f"[Database Settings]\nDatabase Name={said.format(home=home)}\nDatabase Type=QSQLITE\n"
    put(home / ".config/digikamrc", text)
    assert offered(home) == [("photos", "digiKam's collection")]


def test_immichs_external_libraries_are_offered_and_its_own_uploads_are_not(home: Path) -> None:
    """Immich alone may write where it keeps uploads."""
    for name in ("library", "shots", "more"):
        (home / name).mkdir()
    put(
        home / "immich-app/docker-compose.yml",
        f"""services:
  immich-server:
    volumes:
      - ${{UPLOAD_LOCATION}}:/data
      - {home}/library:/data
      - /etc/localtime:/etc/localtime:ro
      - {home}/shots:/mnt/shots:ro
      - "../more:/more"
  database:
    volumes:
      - ./postgres:/var/lib/postgresql/data
""",
    )
    (home / "immich-app/postgres").mkdir()
    assert [path for path, _ in offered(home)] == ["shots", "more"]
    assert [program.key for program in installed({"HOME": str(home)})] == ["immich"]


def test_photoprisms_originals_are_offered(home: Path) -> None:
    """And nothing else of its volumes."""
    (home / "Fotos").mkdir()
    put(
        home / "photoprism/compose.yaml",
        "    volumes:\n      - ~/Fotos:/photoprism/originals\n      - ./s:/photoprism/storage\n",
    )
    assert offered(home) == [("Fotos", "PhotoPrism's originals")]


def test_memory_cards_are_known_by_what_a_camera_makes(home: Path, tmp_path: Path) -> None:
    """DCIM at the top; below a folder of the user's or not."""
    media = tmp_path / "media"
    put(media / "ann/NIKON/DCIM/100NIKON/DSC_1.NEF")
    put(media / "EOS/dcim/100CANON/IMG_1.CR3")
    put(media / "ann/backup/x.jpg")
    assert [path.removeprefix("../media/") for path, _ in offered(home, media)] == [
        "EOS/dcim",
        "ann/NIKON/DCIM",
    ]


def test_the_same_folder_is_offered_once(home: Path) -> None:
    """Several programs may share one, also by a link."""
    (home / "Pictures").mkdir()
    (home / "link").symlink_to("Pictures")
    put(home / ".config/digikamrc", f"Database Name={home}/link\n")
    assert offered(home) == [("link", "digiKam's collection")]


@pytest.mark.parametrize("bad", [b"\xff\xfe\x00", b"Database Name=\n", b"Database Name=\0x\n"])
def test_a_damaged_file_of_another_program_is_no_error(home: Path, bad: bytes) -> None:
    """It is anybody's, and only offers something."""
    put(home / ".config/digikamrc").write_bytes(bad)
    put(home / ".config/darktable/darktablerc").write_bytes(bad)
    assert offered(home) == []


def test_photos_are_counted_for_a_moment_only(home: Path) -> None:
    """A share that takes its time holds nobody up; hidden folders are no photos."""
    for name in ("1.jpg", "2.CR3", "3.txt", ".trash/4.jpg", "sub/5.heic"):
        put(home / name)
    assert count_photos(home, lambda: 0.0) == (3, True)
    ticking = count(0, 10)
    assert count_photos(home, lambda: float(next(ticking)))[1] is False
    assert count_photos(home / "gone", lambda: 0.0) == (0, True)
    assert MOST_PHOTOS < 100_000


def test_what_cannot_be_an_import_folder_is_said(home: Path) -> None:
    """Before anything is written."""
    put(home / "a.jpg")
    assert why_not_usable(home / "a.jpg") == "that is a file, not a folder"
    assert why_not_usable(home) == ""
    assert why_not_usable(home / "new/deep") == ""
    assert why_not_usable(home / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_said(home: Path) -> None:
    """The words could not be kept beside the photos."""
    home.chmod(0o500)
    assert "may not write" in why_not_usable(home)
    assert "may not make" in why_not_usable(home / "new")
    home.chmod(0o700)


@pytest.mark.parametrize(
    ("environ", "tag"),
    [
        ({}, ""),
        ({"LANG": "C.UTF-8"}, ""),
        ({"LANG": "POSIX"}, ""),
        ({"LANG": "de_DE.UTF-8"}, "de"),
        ({"LANG": "en_US.UTF-8"}, "en-US"),
        ({"LANG": "en_GB"}, "en-GB"),
        ({"LANG": "en_IE.UTF-8@euro"}, "en"),
        ({"LANG": "de_DE", "LC_MESSAGES": "fr_FR.UTF-8"}, "fr"),
        ({"LC_ALL": "pt_BR.UTF-8", "LC_MESSAGES": "fr_FR"}, "pt-BR"),
        ({"LANG": "nonsense"}, ""),
    ],
)
def test_the_language_is_that_of_the_desktop(environ: dict[str, str], tag: str) -> None:
    """As locale(7) ranks the variables; a region where it changes the spelling."""
    assert language_of(environ) == tag
