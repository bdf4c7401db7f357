"""Thousands of damaged files of every format: each ends as one photo's fault, and nobody else's."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import mutated
from support.program import corpus, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.program import Program

SEED = int(os.environ.get("TAGGERD_FUZZ_SEED") or 20261121)
ALL = int(os.environ.get("TAGGERD_FUZZ_FILES") or mutated.COUNT)
"""scripts/test-fuzz has other files each time."""
GOOD = 20
SECONDS = 600
"""Far more than it takes: what hangs is found by this."""
DEADLINE = {"TAGGERD__WORKERS__DEADLINE_SECONDS": "20"}


def _counts(short: int, thorough: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "count",
        [
            pytest.param(short, id="few"),
            pytest.param(thorough, id="all", marks=pytest.mark.long),
        ],
    )


def _laid_out(folder: Path, count: int) -> dict[Path, bytes]:
    """Write damaged photos, and good ones among them, of which some have a damaged sidecar."""
    mutated.write(folder, SEED, count)
    for number in range(GOOD):
        photo(folder / f"{number * count // GOOD // 100:03}" / f"good-{number:02}.jpg", number)
    for number, packet in enumerate(mutated.sidecars(SEED, count // 20)):
        path = photo(folder / "sidecars" / f"beside-{number:03}.jpg", 1000 + number)
        path.with_name(f"{path.name}.xmp").write_bytes(packet)
    if count == ALL:
        with suppress(pytest.skip.Exception):  # where there is one
            for source in corpus("hostile").iterdir():
                (folder / "real").mkdir(exist_ok=True)
                (folder / "real" / source.name).write_bytes(source.read_bytes())
    return {path: path.read_bytes() for path in _photos(folder)}


def _photos(folder: Path) -> Iterator[Path]:
    endings = {name[name.index(".") :] for name in mutated.ORIGINALS}
    return (path for path in folder.rglob("*") if path.suffix.lower() in endings)


def _records(
    taggerd: Program, photos: dict[Path, bytes], said: str = ""
) -> dict[Path, dict[str, Any]]:
    """Return each photo's record; every photo has one, and it is one line for people."""
    found = {Path(file): r for r in taggerd.records() for file in r["files"]}
    missing = photos.keys() - found.keys()
    assert not missing, f"{len(missing)} without a record, e.g. {min(missing)}: {said[-3000:]}"
    for path, record in found.items():
        assert record["error"].isprintable(), path
        assert len(record["error"]) < 1000, path
    return found


def _check(taggerd: Program, folder: Path, photos: dict[Path, bytes], said: str) -> None:
    """Whatever there is: the good are tagged, the others have a reason, nothing is left about."""
    records = _records(taggerd, photos, said)
    assert "Traceback" not in said
    assert "\x1b" not in said
    untagged = [r for path, r in records.items() if path.name.startswith("good-") and r["error"]]
    assert untagged == []
    assert [path for path in folder.rglob(".*") if path.name != ".taggerd-archive"] == []
    reasons = Counter(record["error"].split(":")[0] for record in records.values())
    assert 0 < reasons[""] < len(records), reasons
    print(json.dumps(reasons.most_common(12)))  # noqa: T201 - to be judged


@_counts(60, ALL)
def test_a_scan_of_damaged_files(taggerd: Program, tmp_path: Path, count: int) -> None:
    """It ends, changes no photo, and says of each what became of it."""
    folder = tmp_path / "card"
    photos = _laid_out(folder, count)
    taggerd.environment = DEADLINE
    done = taggerd("scan", folder, seconds=SECONDS)
    assert done.returncode == 1  # some failed, and nothing else
    assert [path for path, data in photos.items() if path.read_bytes() != data] == []
    _check(taggerd, folder, photos, done.stdout + done.stderr)
    again = taggerd("scan", "--list", folder, seconds=SECONDS)
    owed = [line for line in again.stdout.splitlines() if line.startswith("tag ")]
    assert [line for line in owed if "/sidecars/" not in line] == []  # those wait for their sidecar


@_counts(60, ALL)
def test_embedding_into_damaged_files(taggerd: Program, tmp_path: Path, count: int) -> None:
    """A photo that failed has every byte that it had; an undo gives good ones theirs back.

    A photo whose sidecar cannot be merged has failed as well, but what is in itself is sound.
    """
    folder = tmp_path / "card"
    photos = _laid_out(folder, count)
    taggerd.environment = {**DEADLINE, "TAGGERD__METADATA__TARGET": "embed"}
    done = taggerd("scan", folder, seconds=SECONDS)
    assert done.returncode == 1
    _check(taggerd, folder, photos, done.stdout + done.stderr)
    records = _records(taggerd, photos)
    changed = {path for path, data in photos.items() if path.read_bytes() != data}
    failed = {path for path in changed if records[path]["error"]}
    assert {path.parent.name for path in failed} <= {"sidecars"}
    assert {path.name for path in changed} >= {f"good-{n:02}.jpg" for n in range(GOOD)}
    undone = taggerd("undo", folder, seconds=SECONDS)
    assert "Traceback" not in undone.stderr
    for path in changed & set(folder.rglob("good-*.jpg")):
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(photos[path]).digest()


@pytest.mark.long
def test_the_daemon_among_damaged_files(taggerd: Program, inbox: Path) -> None:
    """Photos and archives arrive damaged: the daemon lives, and tags the good ones."""
    photos = _laid_out(inbox, 600)
    for number, data in enumerate(mutated.archives(SEED)):
        (inbox / f"card-{number:02}.zip").write_bytes(data)
    taggerd.environment = {**DEADLINE, "TAGGERD__ARRIVALS__UNPACK": "true"}
    daemon = taggerd.start("--input-dir", inbox)

    def all_met() -> bool:
        assert daemon.poll() is None, taggerd.log()[-3000:]
        return {Path(f) for r in taggerd.records() for f in r["files"]} >= photos.keys()

    until(all_met, SECONDS)
    late = photo(inbox / "late.jpg", 4321)
    until(lambda: any(str(late) in r["files"] and not r["error"] for r in taggerd.records()))
    assert taggerd.stop(daemon) == 0
    assert [path for path, data in photos.items() if path.read_bytes() != data] == []
    _check(taggerd, inbox, photos, taggerd.log())


def test_the_same_seed_makes_the_same_files() -> None:
    """What failed once can be made again; each file is damaged, and no two are alike."""
    first = list(mutated.photos(SEED, 80))
    assert [name for name, _ in first] == [name for name, _ in mutated.photos(SEED, 80)]
    assert len({data for _, data in first}) == len(first)
    sound = {make() for make in mutated.ORIGINALS.values()}
    assert not sound & {data for _, data in first}
