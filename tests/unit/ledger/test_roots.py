"""One tree that two hosts mount in different folders: one photo, one identity."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, PostgresState, answer

from taggerd import files
from taggerd.errors import StorageError
from taggerd.ledger import Correction, Finished, Moved, Outgoing
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.naming import Naming
from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import PostgresServer

    from taggerd.ledger import Claim


@dataclass
class Hosts:
    """Hosts that share a ledger; each has its own folders below *folder*."""

    folder: Path
    state: PostgresState
    opened: list[PostgresLedger] = field(default_factory=list)

    async def open(self, host: str, *, exclusive: bool = True, **roots: Path) -> PostgresLedger:
        """Start the daemon of a *host*, or another program there."""
        ledger = await PostgresLedger.open(
            self.state.url,
            directory=self.folder / f"state-{host}",
            exclusive=exclusive,
            order="oldest",
            clock=lambda: self.state.now,
            skew=0.0,
            paths=Naming(host, roots),
        )
        self.opened.append(ledger)
        return ledger

    def folder_of(self, host: str, *photos: str) -> Path:
        """Return the folder that a *host* has, with *photos* in it."""
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        for number, name in enumerate(photos):
            photo = folder / name
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.write_bytes(os.fsencode(name) * (number + 1))
            os.utime(photo, ns=(0, 1_700_000_000_123_456_700 + number))
        return folder

    def mounted(self, folder: Path, host: str) -> Path:
        """Return the same tree as *host* sees it: other inodes, the same sizes and times."""
        shutil.copytree(folder, self.folder / host)
        return self.folder / host


@pytest.fixture
async def hosts(tmp_path: Path, postgres_server: PostgresServer) -> AsyncIterator[Hosts]:
    """Return hosts without any program yet."""
    files.work_below(tmp_path)
    state = PostgresState(postgres_server)
    made = Hosts(tmp_path, state)
    yield made
    for ledger in made.opened:
        await ledger.close()
    state.close()


def found(folder: Path) -> list[PhotoFile]:
    """Return the photos below *folder* as a walk there sees them."""
    paths = sorted(folder.rglob("*.jpg"))
    return [PhotoFile(path, Stamp.of(path.lstat())) for path in paths]


async def claimed(ledger: PostgresLedger, *within: Path, now: float = 1e6) -> list[Claim]:
    """Claim what a host takes within its folders."""
    return await ledger.claim(100, within=within, run="run", now=now)


async def test_a_photo_is_the_same_wherever_it_is_mounted(hosts: Hosts) -> None:
    """What one host admits another takes at its own path, and is known to both; nothing twice."""
    nas = hosts.folder_of("nas", "2025/a.jpg", os.fsdecode(b"2025/\xff.jpg"))
    station = hosts.mounted(nas, "station")
    one, two = await hosts.open("nas", archive=nas), await hosts.open("station", archive=station)
    assert (await one.admit(found(nas))).new == 2
    assert (await two.admit(found(station))).unchanged == 2
    claims = await claimed(two, station)
    assert [claim.photo.primary.path.parent for claim in claims] == [station / "2025"] * 2
    assert await claimed(one, nas) == []
    for claim in claims:
        assert claim.photo.primary.stamp.matches(Stamp.of(claim.photo.primary.path.lstat()))
        await two.checkpoint(claim, DIGEST, answer())
        await two.end(claim, Finished(DIGEST))
    for ledger, folder in ((one, nas), (two, station)):
        states = await ledger.file_states(found(folder))
        assert {state.state for state in states.values()} == {"recorded"}
        assert [each.path for each in found(folder)] == sorted(await ledger.known(folder / "2025"))
        assert await ledger.folders(folder) == [folder / "2025"]
        assert (await ledger.counts([folder])).recorded == 2
    correction = Correction(photo=station / "2025/a.jpg", kind="edited", field="caption")
    await two.correct([correction])
    assert [each.photo for each in await one.corrections_of(nas / "2025/a.jpg")] == [
        nas / "2025/a.jpg"
    ]


async def test_a_host_takes_no_photo_that_it_cannot_reach(hosts: Hosts) -> None:
    """Photos of a root that it lacks, and of another host's own folder, are left to others."""
    nas, card = hosts.folder_of("nas", "a.jpg"), hosts.folder_of("card", "b.jpg")
    one, two = await hosts.open("nas", archive=nas), await hosts.open("station")
    await one.admit([*found(nas), *found(card)])
    assert await claimed(two, Path("/"), nas, card) == []
    assert (await two.counts()).queued == 2
    shown = [each.photo.primary.path for each in await two.quarantined(9)]
    assert shown == []
    assert len(await claimed(one, Path("/"))) == 2


async def test_what_another_host_does_not_see_yet_is_left_for_a_minute(hosts: Hosts) -> None:
    """A photo that came a moment ago, and that a network mount does not show, is not forgotten."""
    nas = hosts.folder_of("nas", "a.jpg")
    station = hosts.mounted(nas, "station")
    one, two = await hosts.open("nas", archive=nas), await hosts.open("station", archive=station)
    await one.admit(found(nas))
    (claim,) = await claimed(two, station)
    assert await two.end(claim, Moved())
    assert await claimed(two, station) == []
    assert len(await claimed(one, nas, now=hosts.state.now + 61)) == 1


async def test_a_record_is_read_with_the_paths_of_whoever_writes_it(hosts: Hosts) -> None:
    """The journal's host sees its own mount; one that lacks the root the root's name."""
    nas = hosts.folder_of("nas", "2025/a.jpg")
    station = hosts.mounted(nas, "station")
    one, two = await hosts.open("nas", archive=nas), await hosts.open("station", archive=station)
    await one.admit(found(nas))
    (claim,) = await claimed(two, station)
    path = station / "2025/a.jpg"
    said = {"id": "r", "image": str(path), "files": [str(path)], "sidecars": [f"{path}.xmp"]}
    line = Outgoing("r", "2025-06-30", json.dumps({**said, "caption": f"/not/a {path}"}))
    await two.end(claim, Finished(DIGEST, line))
    (told,) = await one.outbox(9)
    here = str(nas / "2025/a.jpg")
    assert json.loads(told.line) == {
        "id": "r", "image": here, "files": [here], "sidecars": [f"{here}.xmp"],
        "caption": f"/not/a {path}",
    }  # fmt: skip
    assert one.fleet is not None
    (lent,) = await one.fleet.lent()  # as it would be settled after a kill
    assert lent.line == told.line
    await one.close()
    (told,) = await (await hosts.open("office")).outbox(9)
    assert json.loads(told.line)["image"] == "archive:/2025/a.jpg"


async def test_a_folder_that_gets_a_name_takes_its_photos_along(hosts: Hosts) -> None:
    """What was known by this host's path keeps its state, words and place under the name."""
    nas = hosts.folder_of("nas", "2025/a.jpg", "b.jpg", "elsewhere.jpg")
    one = await hosts.open("nas")
    await one.admit(found(nas))
    (claim, *_) = await claimed(one, nas / "2025")
    await one.end(claim, Finished(DIGEST))
    await one.correct([Correction(photo=nas / "2025/a.jpg", kind="edited", field="caption")])
    await one.close()
    two = await hosts.open("nas", archive=nas)
    states = await two.file_states(found(nas))
    assert [states[nas / name].state for name in ("2025/a.jpg", "b.jpg")] == ["recorded", "queued"]
    assert (await two.admit(found(nas))).unchanged == 3
    assert await two.counts() == await two.counts([nas])
    assert len(await two.corrections_of(nas / "2025/a.jpg")) == 1
    station = hosts.mounted(nas, "station")
    three = await hosts.open("station", archive=station)
    assert (await three.admit(found(station))).unchanged == 3
    await two.close()
    await three.close()
    four = await hosts.open("nas", photos=nas)  # renamed, while nobody else runs
    assert (await four.admit(found(nas))).unchanged == 3
    assert (await four.file_states(found(nas)))[nas / "2025/a.jpg"].state == "recorded"
    five = await hosts.open("station", archive=station)  # still calls it as it was
    assert (await five.admit(found(station))).unchanged == 3
    assert five.troubles[station].startswith("the root 'archive' was 'photos' until now and stays")


async def test_two_names_for_what_is_known_twice_become_one(hosts: Hosts) -> None:
    """Where a photo is known by name and by path, the one that was tagged stays."""
    nas = hosts.folder_of("nas", "a.jpg", "b.jpg", "c.jpg")
    station = hosts.mounted(nas, "station")
    one, two = await hosts.open("nas"), await hosts.open("station", archive=station)
    await one.admit(found(nas))
    await two.admit(found(station)[:2])
    for claim in (await claimed(one, nas))[:1]:
        await one.end(claim, Finished(DIGEST))
    await one.close()
    three = await hosts.open("nas", archive=nas)
    assert (await three.counts()) == (await three.counts([nas]))
    assert (await three.counts()).recorded == 1
    assert (await three.counts()).queued == 2
    assert (await two.admit(found(station))).unchanged == 3


async def test_a_root_in_a_root_is_one_thing_to_all(hosts: Hosts) -> None:
    """A host that mounts the outer one alone knows the photos of the inner one by its name."""
    nas = hosts.folder_of("nas", "cards/a.jpg", "b.jpg")
    station = hosts.mounted(nas, "station")
    one = await hosts.open("nas", archive=nas)
    await one.admit(found(nas))
    two = await hosts.open("station", archive=station)
    await one.close()
    one = await hosts.open("nas", archive=nas, cards=nas / "cards")
    assert "counts as a part of that" in one.troubles[nas / "cards"]
    assert (await one.admit(found(nas))).unchanged == 2
    await one.close()
    await two.close()
    one = await hosts.open("nas", archive=nas, cards=nas / "cards")
    assert one.troubles == {}
    two = await hosts.open("station", archive=station)
    assert (await one.admit(found(nas))).unchanged == 2
    assert (await two.admit(found(station))).unchanged == 2
    assert len(await claimed(two, station / "cards")) == 1
    assert len(await claimed(two, station)) == 1


async def test_another_tree_under_a_name_is_not_mixed(hosts: Hosts) -> None:
    """The host that came second neither admits nor takes photos of it, and says what to do."""
    nas = hosts.folder_of("nas", *(f"2025/{number}.jpg" for number in range(10)))
    other = hosts.folder_of("station", "2025/holiday.jpg")
    one = await hosts.open("nas", archive=nas)
    await one.admit(found(nas))
    two = await hosts.open("station", archive=other)
    assert await claimed(two, other) == []
    assert (await two.waiting([other], "run")).due is None
    with pytest.raises(StorageError, match="another tree here than on nas") as refused:
        await two.admit(found(other))
    assert two.troubles == {other: str(refused.value)}
    with pytest.raises(StorageError, match="another tree"):
        await two.missing(other, [other / "2025/0.jpg"], grace_seconds=0)
    assert len(await claimed(one, nas)) == 10
    assert one.troubles == {}
    marker = re.findall(r"write (\w+) into", str(refused.value))[0]
    (other / ".taggerd-root").write_text(marker)
    await two.close()
    three = await hosts.open("station", archive=other)  # a person says so
    assert (await three.admit(found(other))).new == 1


async def test_a_root_that_is_not_mounted_gives_no_photos(hosts: Hosts) -> None:
    """While a folder is empty or gone nothing of it is taken here, and nothing is wrong."""
    nas = hosts.folder_of("nas", "a.jpg")
    one = await hosts.open("nas", archive=nas)
    await one.admit(found(nas))
    for state in ("gone", "empty"):
        folder = hosts.folder / state
        if state == "empty":
            folder.mkdir()
        two = await hosts.open(state, archive=folder)
        assert await claimed(two, folder) == []
        assert two.troubles == {}
    assert len(await claimed(one, nas)) == 1


async def test_another_host_watches_what_one_does_not_see_as_it_is(hosts: Hosts) -> None:
    """A root that shows another tree, or that only this host cannot reach, is left to others."""
    nas = hosts.folder_of("nas", *(f"{number}.jpg" for number in range(10)))
    other, away = hosts.folder_of("other", "holiday.jpg"), hosts.folder / "away"
    one = await hosts.open("nas", archive=nas, cards=away)
    await one.admit(found(nas))
    two = await hosts.open("station", archive=other)
    three = await hosts.open("office", archive=away)
    assert await one.unusable() == set()
    assert await two.unusable() == {other}
    assert await three.unusable() == {away}


async def test_what_names_paths_is_noted_for_one_host(hosts: Hosts) -> None:
    """Moves and archives that are in flight are those of the host that began them."""
    one, two = await hosts.open("nas"), await hosts.open("station")
    await one.note("arrivals.release", ["/tank/a.jpg"], here=True)
    await one.note("all", 1)
    assert await one.recall("arrivals.release", here=True) == ["/tank/a.jpg"]
    assert await two.recall("arrivals.release", here=True) is None
    assert await two.recall("all") == 1


async def test_who_accepts_all_writes_what_it_can_reach(hosts: Hosts) -> None:
    """Held photos of another host's folders are accepted as well, and are left to that host."""
    nas, card = hosts.folder_of("nas", "a.jpg"), hosts.folder_of("card", "b.jpg")
    one = await hosts.open("nas", archive=nas)
    await one.admit([*found(nas), *found(card)])
    for claim in await claimed(one, Path("/")):
        await one.end(claim, Finished(DIGEST, held=(answer(),)))
    two = await hosts.open("station", archive=hosts.mounted(nas, "station"))
    assert await two.accept(None, run="mine") == 2
    mine = await two.claim(9, within=None, run="mine", now=hosts.state.now)
    assert [claim.photo.primary.path for claim in mine] == [hosts.folder / "station/a.jpg"]
    rest = await claimed(one, Path("/"))
    assert [claim.photo.primary.path for claim in rest] == [card / "b.jpg"]
    assert rest[0].accepted
