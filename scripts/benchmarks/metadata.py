# ruff: noqa: S101 - what a part takes for granted is asserted
"""What writing a sidecar costs: `scripts/bench metadata` prints one Markdown table.

The real sidecars of ../shared/corpus are merged into, in this process and in memory, for what is
measured is the merge; a new sidecar is made on disk and its fsync is measured apart, in the same
run. Foreign bytes are counted by a reader that is not taggerd's, tests/support/foreign.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, os.fspath(REPOSITORY / "tests"))

from _figures import Figure, print_table  # noqa: E402 - as below
from support import foreign  # noqa: E402 - it lies beside the tests
from support.embedded import write  # noqa: E402 - as above

from taggerd.errors import SidecarRefused  # noqa: E402 - as above
from taggerd.metadata import Options  # noqa: E402 - as above
from taggerd.metadata.merge import merge  # noqa: E402 - as above
from taggerd.metadata.undo.content import undo  # noqa: E402 - as above
from taggerd.photo import (  # noqa: E402 - as above
    Keyword,
    Photo,
    PhotoFile,
    Provenance,
    Stamp,
    Tags,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import HasFileno

ROUNDS = 5
"""A sidecar's time is the median of so many."""
NEW = 100
"""New sidecars made."""
WORDS = (
    "beach", "dog", "wet sand", "wave", "grey sky", "two animals", "sea", "running", "coast",
    "brown fur", "low tide", "horizon",
)  # fmt: skip
TAGS = Tags(
    caption="Two dogs on a beach under a grey sky",
    description="Two dogs run over wet sand. Behind them small waves break. The sky is grey and "
    "heavy, and the light is flat.",
    keywords=tuple(map(Keyword, WORDS)),
)
PROVENANCE = Provenance(
    version="bench",
    date=datetime(2025, 1, 2, tzinfo=UTC),
    profile="default",
    models=dict.fromkeys(("caption", "description", "keywords"), "a-model"),
    digest="ab" * 32,
)


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def merges(corpus: Path) -> list[Figure]:
    """Merge into every real sidecar, and undo it."""
    times, undos, changed, added, exact, refused = [], [], [], [], 0, 0
    for path in sorted((corpus / "sidecars").iterdir()):
        data = path.read_bytes()
        try:
            merged = merge(data, TAGS, PROVENANCE, Options()).data
        except SidecarRefused:
            refused += 1
            continue
        times.append(_milliseconds(partial(merge, data, TAGS, PROVENANCE, Options())))
        undos.append(_milliseconds(partial(undo, merged, Options())))
        exact += undo(merged, Options()).data == data
        changed.append(not foreign.same_outside(data, merged))
        added.append(len(merged) - len(data))
    number, median = len(times), statistics.median(times)
    ninety = statistics.quantiles(times, n=10)[-1]
    return [
        Figure("real sidecars merged", "all but the damaged", f"{number}, {refused} refused"),
        Figure(
            "merge, median (90 %, longest)", "≤ 6 ms",
            f"{median:.1f} ms ({ninety:.1f}, {max(times):.1f})", median <= 6,  # noqa: PLR2004
        ),
        Figure(
            "sidecars with a foreign byte changed", "0", str(sum(changed)), not any(changed)
        ),
        Figure("bytes added, median", "-", f"{statistics.median(added):.0f}"),
        Figure("undos that are exact to the byte", str(number), str(exact), exact == number),
        Figure("undo, median", "-", f"{statistics.median(undos):.1f} ms"),
    ]  # fmt: skip


def new_sidecars(folder: Path) -> list[Figure]:
    """Make sidecars for photos that have none, on disk, with and without waiting for it."""
    image = folder / "image.jpg"
    Image.new("RGB", (64, 64), "red").save(image)
    data = image.read_bytes()
    waited = 0.0
    real = os.fsync

    def timed(fd: int | HasFileno) -> None:
        nonlocal waited
        began = time.perf_counter()
        real(fd)
        waited += time.perf_counter() - began

    times, syncs = [], []
    os.fsync = timed
    try:
        for number in range(NEW):
            path = folder / f"IMG_{number:04}.jpg"
            path.write_bytes(data)
            photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
            waited = 0.0
            began = time.perf_counter()
            (done,) = write(photo, TAGS, PROVENANCE, Options())
            times.append((time.perf_counter() - began - waited) * 1000)
            syncs.append(waited * 1000)
            assert done.created, done.error
    finally:
        os.fsync = real
    median = statistics.median(times)
    return [
        Figure(
            "new sidecar without fsync, median", "≤ 2 ms",
            f"{median:.1f} ms", median <= 2,  # noqa: PLR2004 - the target
        ),
        Figure("its two fsyncs, median", "-", f"{statistics.median(syncs):.1f} ms"),
    ]  # fmt: skip


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    corpus = REPOSITORY.parent / "shared" / "corpus"
    parser.add_argument("--corpus", type=Path, default=corpus, help="folder of real files")
    chosen = parser.parse_args()
    figures: list[Figure] = []
    if (chosen.corpus / "sidecars").is_dir():
        figures += merges(chosen.corpus)
    else:
        print(f"no sidecars in {chosen.corpus}: merges are not measured", file=sys.stderr)  # noqa: T201 - for people
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
        figures += new_sidecars(Path(folder))
    return 0 if print_table(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
