"""Paths of one host, and how they stand in a ledger that several share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggerd.ledger.postgres.naming import Naming, host_of, nestings, range_of, root_of

NAS = Naming("nas", {"archive": Path("/tank/photos"), "cards": Path("/tank/photos/cards")})
STATION = Naming("station-1", {"archive": Path("/mnt/nas")})

names = st.binary(min_size=1, max_size=8).filter(
    lambda name: not {0, 47} & set(name) and name not in {b".", b".."}
)
below = st.lists(names, max_size=4).map(b"/".join)
roots = st.dictionaries(
    st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,5}\Z"),
    st.lists(names, max_size=3).map(lambda parts: Path(os.fsdecode(b"/" + b"/".join(parts)))),
    max_size=4,
).filter(lambda made: len(set(made.values())) == len(made))


@pytest.mark.parametrize(
    ("naming", "path", "stored"),
    [
        (NAS, "/tank/photos/2025/a.jpg", b"archive:/2025/a.jpg"),
        (STATION, "/mnt/nas/2025/a.jpg", b"archive:/2025/a.jpg"),
        (NAS, "/tank/photos", b"archive:/"),
        (NAS, "/tank/photos/cards/a.jpg", b"cards:/a.jpg"),
        (NAS, "/tank/photos/cards", b"cards:/"),
        (NAS, "/tank/photos/cards-2/a.jpg", b"archive:/cards-2/a.jpg"),
        (NAS, "/tank/a.jpg", b"@nas/tank/a.jpg"),
        (STATION, "/tank/photos/a.jpg", b"@station-1/tank/photos/a.jpg"),
        (STATION, "/a.jpg", b"@station-1/a.jpg"),
        (STATION, "/mnt/nas/archive:/@nas/a.jpg", b"archive:/archive:/@nas/a.jpg"),
    ],
)
def test_a_path_is_kept_below_the_longest_root(naming: Naming, path: str, stored: bytes) -> None:
    """The innermost named root gives the name; what lies in none is the host's own."""
    assert naming.stored(Path(path)) == stored
    assert naming.path(stored) == Path(path)
    assert naming.is_here(stored)


def test_what_is_elsewhere_reads_as_it_is_kept() -> None:
    """A path of another host, or of a root that is not here, is no absolute path here."""
    for stored in (b"cards:/x/a.jpg", b"@nas/tank/a.jpg"):
        path = STATION.path(stored)
        assert not path.is_absolute()
        assert os.fsencode(path) == stored
        assert STATION.stored(path) == stored
        assert not STATION.is_here(stored)
    assert (root_of(b"cards:/x/"), host_of(b"cards:/x/")) == ("cards", "")
    assert (root_of(b"@nas/cards:/"), host_of(b"@nas/cards:/")) == ("", "nas")


def test_a_root_in_a_root_has_one_name_on_every_host() -> None:
    """A host that mounts the outer one alone has the inner one too, and both mounts where both."""
    nested = nestings(NAS.roots)
    assert nested == {"cards": ("archive", b"cards/")}
    station = Naming("station-1", {"archive": Path("/mnt/nas")}, nested)
    assert station.stored(Path("/mnt/nas/cards/a.jpg")) == b"cards:/a.jpg"
    assert station.path(b"cards:/a.jpg") == Path("/mnt/nas/cards/a.jpg")
    assert station.names == ("archive", "cards")
    both = Naming("b", {"archive": Path("/mnt/nas"), "cards": Path("/mnt/cards")}, nested)
    for folder in ("/mnt/nas/cards", "/mnt/cards"):
        assert both.stored(Path(folder) / "a.jpg") == b"cards:/a.jpg"
    assert both.path(b"cards:/a.jpg") == Path("/mnt/cards/a.jpg")
    in_three = {"a": Path("/a"), "c": Path("/a/b/c"), "b": Path("/a/b"), "x": Path("/a/bx")}
    assert nestings(in_three) == {"c": ("b", b"c/"), "b": ("a", b"b/"), "x": ("a", b"bx/")}


def test_hosts_that_contradict_each_other_end_no_program() -> None:
    """Two roots, each said to lie in the other, name what they can."""
    naming = Naming("h", {"a": Path("/a")}, {"a": ("b", b"x/"), "b": ("a", b"y/")})
    assert naming.stored(Path("/a/y/1.jpg")) == b"b:/1.jpg"
    assert naming.path(naming.stored(Path("/a/z/1.jpg"))) == Path("/a/z/1.jpg")


def ranges(naming: Naming, path: str, *without: str) -> set[bytes]:
    """Return the folders whose ranges *path* means."""
    return {low for low, _ in naming.ranges(Path(path), without=without)}


def test_a_scope_reaches_into_the_roots_below_it() -> None:
    """Above a root: that root and what else lies there; ``/`` is all that this host can reach."""
    assert ranges(NAS, "/tank/photos/2025") == {b"archive:/2025/"}
    assert ranges(NAS, "/tank/photos") == {b"archive:/", b"cards:/"}
    assert ranges(NAS, "/tank") == {b"@nas/tank/", b"archive:/", b"cards:/"}
    assert ranges(NAS, "/") == {b"@nas/", b"archive:/", b"cards:/"}
    assert ranges(NAS, "/", "archive") == {b"@nas/", b"cards:/"}
    assert ranges(NAS, "/tank/photos/2025", "archive") == set()
    assert ranges(NAS, "archive:/2025") == {b"archive:/2025/"}
    assert range_of(b"archive:/") == (b"archive:/", b"archive:0")


@given(roots=roots, path=below)
def test_every_path_comes_back(roots: dict[str, Path], path: bytes) -> None:
    """Whatever the roots and the bytes of the names, a path is kept and comes back as it was."""
    naming = Naming("host.example", roots, nestings(roots))
    absolute = Path(os.fsdecode(b"/" + path))
    stored = naming.stored(absolute)
    assert naming.path(stored) == absolute
    assert naming.is_here(stored)
    folder = naming.folder(absolute)
    assert folder.endswith(b"/")
    assert folder.rstrip(b"/") == stored.rstrip(b"/")
    assert naming.path(folder) == absolute


@given(roots=roots, moved=roots, path=below)
def test_another_mount_has_the_same_name(
    roots: dict[str, Path], moved: dict[str, Path], path: bytes
) -> None:
    """What is in a root on one host is the same on any host that has it, in its own place."""
    one = Naming("one", roots, nestings(roots))
    for name, folder in roots.items():
        stored = one.stored(folder / os.fsdecode(path))
        assert root_of(stored)
        own = {other: Path(f"/mounts/{other}") for other in roots}
        two = Naming("two", own)
        inner = root_of(stored)
        assert two.path(stored).is_relative_to(own[inner])
        assert two.stored(two.path(stored)) == stored
        three = Naming("three", moved)
        assert three.is_here(stored) == (inner in moved)
        assert name in one.names


@given(roots=roots, scope=below, path=below)
def test_a_scope_holds_what_lies_there_and_nothing_else(
    roots: dict[str, Path], scope: bytes, path: bytes
) -> None:
    """A folder is in one of the ranges exactly if it lies at or below the path, on this host."""
    naming = Naming("h", roots, nestings(roots))
    top, folder = (Path(os.fsdecode(b"/" + each)) for each in (scope, path))
    stored = naming.folder(folder)
    inside = any(low <= stored < high for low, high in naming.ranges(top))
    assert inside == folder.is_relative_to(top)
