"""Named roots in the shared ledger: who has which, and what a new name changes.

Synchronous; runs in the ledger's thread. A name says how paths are kept, and so all programs that
are running must agree on it: what would change a name under another program's feet waits until that
has ended, and until then the paths are kept as they were.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.ledger.postgres.naming import Naming, nestings, range_of
from taggerd.ledger.rows import Paths, folder_bytes
from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taggerd.ledger.queries import Database, Row, Value

SAMPLE = 40
"""Files of a root that are looked for at most."""


@dataclass(frozen=True, slots=True)
class Root:
    """A named root of this host, as the ledger knows it."""

    path: Path
    marker: str
    """What a file ``.taggerd-root`` in it would hold."""
    before: tuple[str, ...] = ()
    """The hosts that had it before this one, in their order."""
    others: tuple[str, ...] = ()
    """All other hosts that have it."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """How a host names its paths, in agreement with all others."""

    naming: Naming
    roots: Mapping[str, Root] = field(default_factory=dict)
    troubles: Mapping[Path, str] = field(default_factory=dict)
    """Names in the settings that do not hold yet, by the folder; one line each."""


def agree(database: Database, wanted: Naming, me: str, *, alone: bool) -> Agreed:
    """Register the roots in this host's settings; known paths get the names that are new there.

    Args:
        database: open.
        wanted: the roots of the settings.
        me: this program, as an owner.
        alone: it is the daemon, or no other program of this host is running: the settings count.
            Otherwise those count that the others were started with.
    """
    with database.transaction():
        database.rows("lock_roots")
        alive = {row["host"] for row in database.rows("living_hosts", owner=me)}
        mounts = database.rows("mounts")
        if not alone and wanted.host in alive:
            own = {m["root"]: _path(m) for m in mounts if m["host"] == wanted.host}
            return _agreed(database, wanted.host, own, {})
        alive -= {wanted.host}
        roots, troubles = _renamed(database, wanted, mounts, alive)
        roots = _without_new_nestings(database, wanted.host, roots, alive, troubles)
        nested = nestings(roots)
        known = {row["name"] for row in database.rows("roots")}
        for name in roots:
            outside, below = nested.get(name, (None, None))
            if name not in known:
                database.do("new_root", name=name, marker=secrets.token_hex(8))
            if outside is not None:
                database.do("nest_root", name=name, outside=outside, below=below)
        for name, path in roots.items():
            database.do("put_mount", root=name, host=wanted.host, path=folder_bytes(path))
        for mount in database.rows("mounts"):
            if mount["host"] == wanted.host and mount["root"] not in roots:
                database.do("drop_mount", root=mount["root"], host=wanted.host)
        agreed = _agreed(database, wanted.host, roots, troubles)
        _adopt(database, agreed.naming, mounts)
        return agreed


def as_agreed(database: Database, wanted: Paths) -> Paths:
    """Return how this host names its paths, as its programs have agreed; changes nothing."""
    if not isinstance(wanted, Naming):
        return wanted
    mounts = [m for m in database.rows("mounts") if m["host"] == wanted.host]
    own = {m["root"]: _path(m) for m in mounts} or wanted.roots
    return _agreed(database, wanted.host, own, {}).naming


def _path(mount: Row) -> Path:
    return Path(os.fsdecode(mount["path"]))


def _agreed(
    database: Database, host: str, roots: Mapping[str, Path], troubles: Mapping[Path, str]
) -> Agreed:
    rows = database.rows("roots")
    nested = {
        row["name"]: (row["outside"], row["below"]) for row in rows if row["outside"] is not None
    }
    markers = {row["name"]: row["marker"] for row in rows}
    mounts = database.rows("mounts")
    found: dict[str, Root] = {}
    for name, path in roots.items():
        hosts = [mount["host"] for mount in mounts if mount["root"] == name]
        before = tuple(hosts[: hosts.index(host)]) if host in hosts else tuple(hosts)
        others = tuple(each for each in hosts if each != host)
        found[name] = Root(path, markers.get(name, ""), before, others)
    return Agreed(Naming(host, dict(roots), nested), found, troubles)


# ── Names that change ────────────────────────────────────────────────────────────────────────────


def _renamed(
    database: Database, wanted: Naming, mounts: Sequence[Row], alive: set[str]
) -> tuple[dict[str, Path], dict[Path, str]]:
    """Return the roots under the names that hold, and why others do not.

    A folder that had another name is renamed for all, unless a host that is running calls it so.
    """
    roots, troubles = dict(wanted.roots), dict[Path, str]()
    was = {m["root"]: _path(m) for m in mounts if m["host"] == wanted.host}
    for old, path in was.items():
        new = next((name for name, at in roots.items() if at == path), old)
        if old in roots or new == old or new in was:
            continue
        others = {m["host"] for m in mounts if m["root"] == old} & alive
        taken = any(m["root"] == new for m in mounts)
        if others or taken:
            del roots[new]
            roots[old] = path
            why = f"{', '.join(sorted(others))} runs with that" if others else "that root exists"
            troubles[path] = (
                f"the root {new!r} was {old!r} until now and stays that, as {why}: "
                "to rename it stop taggerd on all hosts, change the settings of each, and start"
            )
            continue
        _move_folders(database, old.encode() + b":/", new.encode() + b":/")
        database.do("rename_root", old=old, new=new)
        database.do("rename_outside", old=old, new=new)
    return roots, troubles


def _without_new_nestings(
    database: Database,
    host: str,
    roots: dict[str, Path],
    alive: set[str],
    troubles: dict[Path, str],
) -> dict[str, Path]:
    """Return *roots* without those that are new in another which a running host has as well."""
    known = {row["name"]: row["outside"] for row in database.rows("roots")}
    users: dict[str, set[str]] = {}
    for mount in database.rows("mounts"):
        users.setdefault(mount["root"], set()).add(mount["host"])
    left = dict(roots)
    for name, (outside, _) in nestings(roots).items():
        others = users.get(outside, set()) & alive - {host}
        if known.get(name) != outside and others:
            del left[name]
            troubles[roots[name]] = (
                f"the root {name!r} lies in {outside!r}, which {', '.join(sorted(others))} has "
                "without it: it counts as a part of that until taggerd has been restarted while "
                "it ran on no other host"
            )
    return left


def _adopt(database: Database, naming: Naming, mounts: Sequence[Row]) -> None:
    """Keep what was known by other paths before by the names that it has now."""
    for name, path in naming.roots.items():
        kept = name.encode() + b":/"
        _move_folders(database, b"@" + naming.host.encode() + folder_bytes(path), kept)
    for name, (outside, below) in naming.nested.items():
        _move_folders(database, outside.encode() + b":/" + below, name.encode() + b":/")
    left = {m["root"]: _path(m) for m in mounts if m["host"] == naming.host}
    for name, path in left.items():
        if name not in naming.names and not any(m["root"] == name for m in database.rows("mounts")):
            # The name was taken from the folder, and nobody else has it: it is this host's own.
            _move_folders(database, name.encode() + b":/", naming.folder(path))


def _move_folders(database: Database, old: bytes, new: bytes) -> None:
    """Keep the folders at and below *old* as those at and below *new*; both end in ``/``."""
    low, high = range_of(old)
    where: dict[str, Value] = {"low": low, "high": high, "new": new, "skip": len(old) + 1}
    if not database.rows("folders_between", low=low, high=high):
        return
    database.do("rename_folders", **where)
    database.do("rename_corrections", **where)
    for row in database.rows("folders_between", low=low, high=high):  # those that are there already
        target = database.one("folder", path=new + row["path"][len(old) :])["id"]
        for stem in database.rows("stems", folder=row["id"]):
            _merge_stem(database, row["id"], target, stem["stem"])
        database.do("drop_empty_folder", folder=row["id"])


def _merge_stem(database: Database, old: int, new: int, stem: bytes) -> None:
    """Move the photos of a stem to another folder; of two that are one, the one tagged stays."""
    there = database.rows("stem_photos", folder=new, stem=stem)
    here = database.rows("stem_photos", folder=old, stem=stem)
    if any(photo["state"] == "claimed" for photo in (*here, *there)):
        return  # the next start does it
    if there and (any(p["ahead"] for p in there) or not any(p["ahead"] for p in here)):
        database.do("forget_stem", folder=old, stem=stem)
        return
    if there:
        database.do("forget_stem", folder=new, stem=stem)
    database.do("move_files", folder=old, target=new, stem=stem)
    database.do("move_photos", folder=old, target=new, stem=stem)


# ── What a root shows ────────────────────────────────────────────────────────────────────────────


def sample(database: Database, naming: Naming, root: str, device: int) -> list[PhotoFile]:
    """Return some files that are known in *root*, by their paths here, with foreign stamps.

    Those that the hosts know which had it before this one. The first of several has its own files
    looked for, but only where another *device* is mounted than these were on.
    """
    hosts = [mount["host"] for mount in database.rows("mounts") if mount["root"] == root]
    first = hosts[:1] == [naming.host]
    if first and len(hosts) == 1:
        return []
    before = hosts[: hosts.index(naming.host)] if naming.host in hosts else hosts
    low, high = range_of(root.encode() + b":/")
    told = ",".join([naming.host] if first else before)
    rows = database.rows("sample", low=low, high=high, hosts=told, limit=SAMPLE)
    if first and any(int(row["device"]) == device for row in rows):
        return []
    return [
        PhotoFile(
            naming.path(row["folder"] + row["stem"] + row["suffix"]),
            Stamp(int(row["size"]), int(row["mtime_ns"]), 0, 0),
        )
        for row in rows
    ]
