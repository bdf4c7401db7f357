"""Which sidecars a photo has or gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from taggerd.metadata import Options, plan
from taggerd.photo import Photo

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.metadata.options import Naming

PhotoOf = Callable[..., Photo]


@pytest.mark.parametrize(
    ("naming", "files", "expected"),
    [
        ("auto", ["a.jpg"], ["a.jpg.xmp"]),
        ("auto", ["a.CR3"], ["a.xmp"]),
        ("auto", ["a.dng"], ["a.dng.xmp"]),
        ("auto", ["a.jpg", "a.CR3"], ["a.jpg.xmp", "a.xmp"]),
        ("full", ["a.jpg", "a.CR3"], ["a.jpg.xmp", "a.CR3.xmp"]),
        ("stem", ["a.jpg", "a.CR3"], ["a.xmp"]),
        ("stem", ["a.b.jpg"], ["a.b.xmp"]),
    ],
)
def test_new_names(
    tmp_path: Path, photo_of: PhotoOf, naming: Naming, files: list[str], expected: list[str]
) -> None:
    """Without a sidecar the setting decides; a shared one is named once."""
    photo = photo_of(*(tmp_path / name for name in files))
    assert [p.name for p in plan(photo, Options(naming=naming))] == expected


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (["a.CR3.xmp"], ["a.CR3.xmp"]),
        (["a.xmp"], ["a.xmp"]),
        (["a.CR3.xmp", "a.xmp"], ["a.CR3.xmp", "a.xmp"]),
        (["a.XMP"], ["a.XMP"]),
    ],
)
@pytest.mark.parametrize("naming", ["auto", "full", "stem"])
def test_existing_names_win(
    tmp_path: Path, photo_of: PhotoOf, naming: Naming, existing: list[str], expected: list[str]
) -> None:
    """One that exists is used under its name; both exist: both are."""
    for name in existing:
        (tmp_path / name).write_bytes(b"<a/>")
    photo = photo_of(tmp_path / "a.CR3")
    assert [p.name for p in plan(photo, Options(naming=naming))] == expected


@pytest.mark.parametrize("naming", ["auto", "stem"])
def test_a_stem_shared_by_two_pictures_is_left_alone(
    tmp_path: Path, photo_of: PhotoOf, naming: Naming
) -> None:
    """``a.xmp`` beside ``a.jpg`` and ``a.png`` may be either's: neither takes or makes it."""
    photo = photo_of(tmp_path / "a.jpg")
    photo_of(tmp_path / "a.PNG")
    assert [p.name for p in plan(photo, Options(naming=naming))] == (["a.jpg.xmp"])
    (tmp_path / "a.xmp").write_bytes(b"<a/>")
    assert [p.name for p in plan(photo, Options(naming=naming))] == ["a.jpg.xmp"]


@pytest.mark.parametrize("naming", ["auto", "stem"])
def test_a_sidecar_of_the_picture_that_another_is_named_after(
    tmp_path: Path, photo_of: PhotoOf, naming: Naming
) -> None:
    """``a.dng.xmp`` is that of ``a.dng``, never the one of ``a.dng.jpg`` beside it."""
    raw, exported = photo_of(tmp_path / "a.dng"), photo_of(tmp_path / "a.dng.jpg")
    (tmp_path / "a.dng.xmp").write_bytes(b"<a/>")
    assert [p.name for p in plan(raw, Options(naming=naming))] == ["a.dng.xmp"]
    assert [p.name for p in plan(exported, Options(naming=naming))] == ["a.dng.jpg.xmp"]


@pytest.mark.parametrize(
    ("meant", "expected"), [("JPG", ["a.xmp"]), ("png", ["a.jpg.xmp"]), ("CR3", ["a.jpg.xmp"])]
)
def test_lightroom_says_whose_a_stem_is(
    tmp_path: Path,
    photo_of: PhotoOf,
    sidecar: Callable[..., bytes],
    meant: str,
    expected: list[str],
) -> None:
    """``photoshop:SidecarForExtension`` decides, rival or not."""
    photo = photo_of(tmp_path / "a.jpg")
    photo_of(tmp_path / "a.png")
    (tmp_path / "a.xmp").write_bytes(sidecar(attributes=f'photoshop:SidecarForExtension="{meant}"'))
    assert [p.name for p in plan(photo, Options())] == expected


def test_names_that_are_not_utf8(tmp_path: Path, photo_of: PhotoOf) -> None:
    """Bytes of a name are kept."""
    photo = photo_of(tmp_path / "b\udcffd \N{DOG}\n.jpg")
    assert plan(photo, Options()) == (tmp_path / "b\udcffd \N{DOG}\n.jpg.xmp",)
