"""The dirty map: nothing lost, nothing twice, never large."""

from __future__ import annotations

from taggerd.arrivals.dirty import Dirty


def test_names_are_gathered_by_folder_once() -> None:
    """The same path is there once however often it was put, and draining empties the map."""
    dirty = Dirty(lambda: None)
    for path in ("/r/a/1.jpg", "/r/a/2.jpg", "/r/a/1.jpg", "/r/b/1.jpg"):
        dirty.file(path)
    batch = dirty.drain()
    assert batch.files == {"/r/a": {"1.jpg", "2.jpg"}, "/r/b": {"1.jpg"}}
    assert not batch.everything
    assert not dirty.drain()


def test_wakes_when_it_is_no_longer_clean() -> None:
    """The reader is woken by the first path, not by each one."""
    calls: list[int] = []
    dirty = Dirty(lambda: calls.append(1))
    dirty.file("/r/1.jpg")
    dirty.file("/r/2.jpg")
    assert len(calls) == 1
    dirty.drain()
    dirty.everything()
    assert len(calls) == 2


def test_a_full_folder_collapses() -> None:
    """Past its limit a folder is to be read as one; the others keep their names."""
    dirty = Dirty(lambda: None, names_per_folder=3)
    for number in range(10):
        dirty.file(f"/r/a/{number}.jpg")
    dirty.file("/r/b/1.jpg")
    batch = dirty.drain()
    assert batch.folders == {"/r/a"}
    assert batch.files == {"/r/b": {"1.jpg"}}


def test_too_many_names_in_all_collapse() -> None:
    """The number of names is bounded over all folders too, and none of them is forgotten."""
    dirty = Dirty(lambda: None, names=5)
    for number in range(10):
        dirty.file(f"/r/{number}/1.jpg")
    batch = dirty.drain()
    assert len(batch.files) == 5
    assert batch.files.keys() | batch.folders == {f"/r/{number}" for number in range(10)}


def test_too_many_folders_are_everything() -> None:
    """Past so many folders the whole root is read, and further paths add nothing."""
    dirty = Dirty(lambda: None, folders=3)
    for number in range(10):
        dirty.file(f"/r/{number}/1.jpg")
        dirty.tree(f"/r/{number}/new")
    batch = dirty.drain()
    assert batch.everything
    assert (batch.files, batch.folders, batch.trees) == ({}, set(), set())
    dirty.file("/r/1/1.jpg")
    assert dirty.drain().files == {"/r/1": {"1.jpg"}}


def test_trees_within_trees_are_one() -> None:
    """A tree that was copied in, announced folder by folder, is read once."""
    dirty = Dirty(lambda: None)
    for tree in ("/r/a/b", "/r/a", "/r/ab", "/r/a/b/c"):
        dirty.tree(tree)
    assert dirty.drain().trees == {"/r/a", "/r/ab"}
