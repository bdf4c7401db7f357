"""Archives: what is taken out of them, what is refused, and that nothing is ever overwritten."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taggerd.arrivals import archives, members
from taggerd.arrivals.members import UnpackRequest
from taggerd.errors import ArchiveError, PhotoChanged, PhotoGone, StorageError
from taggerd.photo import Stamp
from taggerd.settings import Arrivals

if TYPE_CHECKING:
    from collections.abc import Mapping


def limits(members: int = 100, gigabytes: float = 0.5, ratio: float = 50) -> Arrivals:
    """Return the settings by which archives are unpacked."""
    return Arrivals(
        image_extensions=["jpg", "cr3"],
        unpack_members=members,
        unpack_gigabytes=gigabytes,
        unpack_ratio=ratio,
    )


LIMITS = limits()


def requested(path: Path, limits: Arrivals = LIMITS) -> UnpackRequest:
    """Return the request to unpack the archive at *path* as it is now."""
    return UnpackRequest(path, Stamp.of(path.lstat()), limits)


def zipped(path: Path, members: Mapping[str, bytes] | list[tuple[str, bytes]]) -> Path:
    """Make an archive of *members*; a name may come twice."""
    pairs = members if isinstance(members, list) else list(members.items())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pairs:
            archive.writestr(zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6)), data)
    return path


def unpacked(path: Path, limits: Arrivals = LIMITS, seconds: float = 60) -> Path:
    """Unpack the archive at *path* as the service does, step by step."""
    request = requested(path, limits)
    contents = archives.contents(request)
    begin = 0
    with archives.begin(request) as scratch:
        while begin < contents.members:
            step = archives.unpack(request, scratch, begin, seconds)
            assert step.begin > begin
            begin = step.begin
        return archives.publish(request, scratch, contents.identity)


def first_step(request: UnpackRequest, seconds: float) -> archives.Progress:
    """Begin to unpack, and stop there."""
    with archives.begin(request) as scratch:
        return archives.unpack(request, scratch, 0, seconds)


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies below *folder*, without the marker."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != archives.MARKER
    }


def test_photos_and_sidecars_are_taken_and_nothing_else(tmp_path: Path) -> None:
    """Folders are kept, other members are left out and named, the archive stays as it is."""
    archive = zipped(
        tmp_path / "card.zip",
        {
            "DCIM/100/a.JPG": b"a",
            "DCIM/100/a.JPG.xmp": b"x",
            "b.cr3": b"b",
            "run.exe": b"no",
            "inner.zip": b"no",
            "__MACOSX/DCIM/._a.JPG": b"no",
            "DCIM/.hidden.jpg": b"no",
        },
    )
    before = archive.read_bytes()
    contents = archives.contents(requested(archive))
    assert (contents.members, contents.left_out) == (3, 4)
    assert ("run.exe", "neither a photo nor an XMP sidecar") in contents.named
    folder = unpacked(archive)
    assert folder == tmp_path / "card"
    assert files(folder) == {"DCIM/100/a.JPG": b"a", "DCIM/100/a.JPG.xmp": b"x", "b.cr3": b"b"}
    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card", "card.zip"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/evil.jpg", members.ABSOLUTE),
        ("../evil.jpg", members.OUTSIDE),
        ("a/../../evil.jpg", members.OUTSIDE),
        ("..\\evil.jpg", members.OUTSIDE),
        ("C:\\evil.jpg", members.ABSOLUTE),
        ("C:evil.jpg", members.ABSOLUTE),
        ("\\\\host\\share\\evil.jpg", members.ABSOLUTE),
        ("..", members.OUTSIDE),
        ("a/\x01evil.jpg", members.CONTROL),
        ("evil\n.jpg", members.CONTROL),
        ("x" * 300 + ".jpg", members.TOO_LONG),
        ("/".join("d" * 50) + "/evil.jpg", members.TOO_LONG),
    ],
)
def test_no_name_leads_anywhere_else(tmp_path: Path, name: str, why: str) -> None:
    """A member whose name is hostile is left out; the good one beside it is taken."""
    inner = tmp_path / "in"
    inner.mkdir()
    archive = zipped(inner / "a.zip", {name: b"evil", "good.jpg": b"good"})
    ((_, reason),) = archives.contents(requested(archive)).named
    assert reason == why
    folder = unpacked(archive)
    assert files(tmp_path).keys() == {"in/a.zip", "in/a/good.jpg"}
    assert files(folder) == {"good.jpg": b"good"}
    assert not Path("/etc/evil.jpg").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_left_out(tmp_path: Path, kind: int) -> None:
    """Whatever the archive says it is, only regular files come out of it."""
    info = zipfile.ZipInfo("evil.jpg")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("good.jpg", b"good")
    assert files(unpacked(tmp_path / "a.zip")) == {"good.jpg": b"good"}


def test_a_link_that_is_a_folder_for_the_next_member_leads_nowhere(tmp_path: Path) -> None:
    """The classic: a link named ``out``, then a member ``out/evil.jpg``."""
    info = zipfile.ZipInfo("out")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, str(tmp_path))
        archive.writestr("out/evil.jpg", b"evil")
    assert files(unpacked(tmp_path / "a.zip")) == {"out/evil.jpg": b"evil"}
    assert not (tmp_path / "evil.jpg").exists()


def test_names_twice_and_names_that_differ_by_case_lose_nothing(tmp_path: Path) -> None:
    """Each member gets a file of its own, whatever the file system makes of case."""
    archive = tmp_path / "a.zip"
    pairs = [
        ("a.jpg", b"1"),
        ("a.jpg", b"2"),
        ("A.JPG", b"3"),
        ("x.jpg", b"4"),
        ("x.jpg/y.jpg", b"5"),
    ]
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(archive, pairs)
    found = files(unpacked(archive))
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4"]
    assert found["a-2.jpg"] == b"2"


def test_what_cannot_be_given_a_file_is_named(tmp_path: Path) -> None:
    """A file where a folder is needed: the member is named as lost, the others are there."""
    archive = zipped(tmp_path / "a.zip", [("x.jpg", b"4"), ("x.jpg/y.jpg", b"5")])
    step = first_step(requested(archive), 60)
    assert step.begin == 2
    assert [name for name, _ in step.lost] == ["x.jpg/y.jpg"]


@pytest.mark.parametrize(
    ("raw", "flags", "expected"),
    [
        ("Müller.jpg".encode(), 0x800, "Müller.jpg"),
        ("Müller.jpg".encode(), 0, "Müller.jpg"),
        (b"M\x81ller.jpg", 0, "Müller.jpg"),  # cp437
        (b"M\xfcller.jpg", 0, "Mⁿller.jpg"),  # Latin-1, taken for cp437 as the format says
        ("写真.jpg".encode(), 0, "写真.jpg"),
    ],
)
def test_names_are_what_they_were_meant_to_be(
    tmp_path: Path,
    raw: bytes,
    flags: int,
    expected: str,
) -> None:
    """UTF-8 where it is said or where it is; else cp437, never an error."""
    stand_in = b"N" * len(raw[:-4]) + b".jpg"
    data = bytearray(zipped(tmp_path / "a.zip", {stand_in.decode(): b"1"}).read_bytes())
    for head, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.index(head) + at
        data[position : position + 2] = struct.pack("<H", flags)
    (tmp_path / "a.zip").write_bytes(bytes(data).replace(stand_in, raw))
    assert files(unpacked(tmp_path / "a.zip")) == {expected: b"1"}


def test_names_that_claim_to_be_utf8_and_are_not_are_a_damage(tmp_path: Path) -> None:
    """It is named as damaged, and nothing is left behind."""
    archive = zipped(tmp_path / "a.zip", {"ü.jpg": b"1"})
    archive.write_bytes(archive.read_bytes().replace("ü".encode(), b"\xff\xfe"))
    with pytest.raises(ArchiveError, match="damaged"):
        archives.contents(requested(archive))


def test_times_are_the_archive_s_owner_and_mode_the_folder_s(tmp_path: Path) -> None:
    """Members keep when they were modified; they are as open as the folder is, not the archive."""
    archive = zipped(tmp_path / "a.zip", {"d/a.jpg": b"1"})
    archive.chmod(0o606)
    tmp_path.chmod(0o750)
    folder = unpacked(archive)
    expected = time.mktime((2001, 2, 3, 4, 5, 6, 0, 0, -1))
    assert (folder / "d" / "a.jpg").stat().st_mtime == expected
    assert stat.S_IMODE((folder / "d" / "a.jpg").stat().st_mode) == 0o640
    assert stat.S_IMODE((folder / "d").stat().st_mode) == 0o750
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert folder.stat().st_uid == tmp_path.stat().st_uid
    tmp_path.chmod(0o1777)
    folder = unpacked(archive)
    assert stat.S_IMODE((folder / "d" / "a.jpg").stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_the_exact_time_is_taken_where_the_archive_has_it(tmp_path: Path) -> None:
    """Info-ZIP's field is in UTC, to the second; a time that is none is not a fault."""
    exact = zipfile.ZipInfo("a.jpg", (1980, 1, 1, 0, 0, 0))
    exact.extra = struct.pack("<HHBi", 0x5455, 5, 1, 1_234_567_890)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(exact, b"1")
        archive.writestr(zipfile.ZipInfo("b.jpg"), b"2")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[second + 14 : second + 16] = b"\0\0"  # month 0, day 0
    (tmp_path / "a.zip").write_bytes(data)
    folder = unpacked(tmp_path / "a.zip")
    assert int((folder / "a.jpg").stat().st_mtime) == 1_234_567_890
    assert (folder / "b.jpg").exists()


def bomb(path: Path, megabytes: int) -> Path:
    """Make an archive of one photo of zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.jpg", "w") as member,
    ):
        for _ in range(megabytes):
            member.write(bytes(1 << 20))
    return path


def test_bombs_are_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    """Past the ratio, past the total, past the members: named with the setting to raise."""
    packed = bomb(tmp_path / "a.zip", 100)
    with pytest.raises(ArchiveError, match="unpack_ratio"):
        archives.contents(requested(packed))
    with pytest.raises(ArchiveError, match="unpack_gigabytes"):
        archives.contents(requested(packed, limits(gigabytes=0.1, ratio=10_000)))
    many = zipped(tmp_path / "b.zip", {f"{number}.jpg": b"" for number in range(101)})
    with pytest.raises(ArchiveError, match="unpack_members"):
        archives.contents(requested(many))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_members_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    """Many entries of the directory that point to one body (D. Fifield's kind)."""
    archive = bomb(tmp_path / "a.zip", 1)
    data = archive.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    directory = entry * 50
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 50, 50, len(directory), start, 0)
    # As long as it says, so that only the sum can tell.
    archive.write_bytes(data[:start] + directory + tail)
    with pytest.raises(ArchiveError, match="overlap"):
        archives.contents(requested(archive))


def test_a_member_that_is_longer_than_it_says_is_a_damage(tmp_path: Path) -> None:
    """What the directory says is the most that is ever written."""
    archive = bomb(tmp_path / "a.zip", 20)
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        unpacked(archive)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.jpg"))
    assert written <= 1000


def test_a_member_that_is_shorter_than_it_says_is_a_damage(tmp_path: Path) -> None:
    """Half a photo whose checksum is right all the same is not taken for a whole one."""
    archive = bomb(tmp_path / "a.zip", 1)
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", (1 << 20) + 10)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="shorter than it says"):
        unpacked(archive)


@pytest.mark.parametrize("spoiled", ["flipped", "cut", "empty", "text"])
def test_damage_is_named(tmp_path: Path, spoiled: str) -> None:
    """Whatever is wrong with the bytes, it is one error with a reason."""
    archive = zipped(tmp_path / "a.zip", {"a.jpg": bytes(range(256)) * 40})
    data = bytearray(archive.read_bytes())
    data[200] ^= 0xFF
    changed = {"flipped": data, "cut": data[:500], "empty": b"", "text": b"PK no archive" * 9}
    archive.write_bytes(bytes(changed[spoiled]))
    with pytest.raises(ArchiveError, match="damaged"):
        unpacked(archive)


def test_encrypted_and_unknown_compression_are_named(tmp_path: Path) -> None:
    """The person is told to unpack it."""
    archive = zipped(tmp_path / "a.zip", {"a.jpg": b"1"})
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    for offset, value, word in ((8, 1, "encrypted"), (10, 9, "unknown compression")):
        changed = bytearray(data)
        changed[entry + offset] = value
        archive.write_bytes(changed)
        with pytest.raises(ArchiveError, match=word):
            archives.contents(requested(archive))


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    """A name that is taken, by a folder, a file or a dangling link, is left to its owner."""
    archive = zipped(tmp_path / "a.zip", {"x.jpg": b"new"})
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").write_text("mine")
    (tmp_path / "a-3").symlink_to("nowhere")
    assert unpacked(archive) == tmp_path / "a-4"
    assert list((tmp_path / "a").iterdir()) == []
    assert (tmp_path / "a-2").read_text() == "mine"
    assert (tmp_path / "a-3").is_symlink()


def test_a_killed_run_starts_over(tmp_path: Path) -> None:
    """The leftover folder is removed first: no half file of it is taken for a photo."""
    archive = zipped(tmp_path / "a.zip", {"x.jpg": b"new", "y.jpg": b"new"})
    first_step(requested(archive), 0)
    scratch = requested(archive).scratch
    (scratch / "half.jpg").write_bytes(b"half")
    assert scratch.name.startswith(".")
    assert files(unpacked(archive)) == {"x.jpg": b"new", "y.jpg": b"new"}
    assert not scratch.exists()


def test_it_goes_step_by_step(tmp_path: Path) -> None:
    """However little time a step has, each takes one member further and the whole is the same."""
    archive = zipped(tmp_path / "a.zip", {f"{number}.jpg": b"%d" % number for number in range(7)})
    assert len(files(unpacked(archive, seconds=0))) == 7


def test_an_archive_that_changes_or_goes_is_not_unpacked(tmp_path: Path) -> None:
    """It is the same file as settled, or it settles again."""
    archive = zipped(tmp_path / "a.zip", {"a.jpg": b"1"})
    request = requested(archive)
    zipped(archive, {"a.jpg": b"22"})
    with pytest.raises(PhotoChanged):
        archives.contents(request)
    with pytest.raises(PhotoChanged):
        first_step(request, 1)
    archive.unlink()
    with pytest.raises(PhotoGone):
        archives.contents(request)


def test_a_disk_without_room_is_not_the_archive_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room is said before the first byte; a disk that fills up is told apart too."""
    archive = zipped(tmp_path / "a.zip", {"a.jpg": b"1" * 1000})
    full = os.statvfs(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstatvfs", lambda _: os.statvfs_result((*full[:4], 0, *full[5:])))
        with pytest.raises(StorageError, match="no room"):
            archives.contents(requested(archive))

    def no_sync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_sync)
    with pytest.raises(StorageError, match="cannot be unpacked now"):
        first_step(requested(archive), 1)


def test_where_a_photo_came_from_is_found_again(tmp_path: Path) -> None:
    """At any depth, also after the folder was renamed; elsewhere there is no origin."""
    folder = unpacked(zipped(tmp_path / "Card 3.zip", {"d/e/a.jpg": b"1"}))
    assert archives.origin(folder / "d" / "e") == "Card 3"
    moved = folder.rename(tmp_path / "renamed")
    assert archives.origin(moved / "d") == "Card 3"
    assert archives.origin(tmp_path) == ""
    (moved / archives.MARKER).write_bytes(b'["not ours"]')
    assert archives.origin(moved) == ""


def test_what_was_unpacked_is_recognised_without_a_ledger(tmp_path: Path) -> None:
    """By the same content in an archive of the same name; a replaced one is another."""
    archive = zipped(tmp_path / "a.zip", {"a.jpg": b"1"})
    folder = unpacked(archive)
    request = requested(archive)
    assert archives.unpacked_before(request, archives.contents(request).identity) == folder
    zipped(archive, {"a.jpg": b"2"})
    request = requested(archive)
    assert archives.unpacked_before(request, archives.contents(request).identity) is None


def whole() -> bytes:
    """Return a good archive of every kind of compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            archive.writestr(f"d/{kind}.jpg", b"photo" * 50, kind)
    return buffer.getvalue()


WHOLE = whole()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4)), max_size=6
    ),
    cut=st.integers(0, len(WHOLE)),
)
def test_no_bytes_break_out(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], cut: int
) -> None:
    """Damaged in any way: it is unpacked into its own folder or named, and nothing else is made."""
    data = bytearray(WHOLE)
    for position, wrong in edits:
        data[position : position + len(wrong)] = wrong
    top = tmp_path_factory.mktemp("fuzz")
    inner = top / "in"
    inner.mkdir()
    archive = inner / "a.zip"
    archive.write_bytes(data if cut % 2 else data[cut:])
    try:
        if not archives.contents(requested(archive)).members:
            return
        folder = unpacked(archive)
    except ArchiveError:
        assert {path.name for path in inner.iterdir()} <= {"a.zip", requested(archive).scratch.name}
    else:
        assert folder == inner / "a"
        assert {path.name for path in inner.iterdir()} == {"a.zip", "a"}
    assert [path.name for path in top.iterdir()] == ["in"]
    assert not any(path.is_symlink() for path in top.rglob("*"))
