# ruff: noqa: S101 - what a part takes for granted is asserted
"""What writing a sidecar costs: `scripts/bench metadata` prints one Markdown table.

The real sidecars of ../shared/corpus are merged into, in this process and in memory, for what is
measured is the merge; a new sidecar is made on disk and its fsync is measured apart, in the same
run. Times are the processor's: what else the machine does is not in them. Foreign bytes are counted
by a reader that is not taggerd's, tests/support/foreign.py.
"""

from __future__ import annotations

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

from support import foreign  # noqa: E402 - it lies beside the tests
from support.embedded import write  # noqa: E402 - as above

from benchmarks import figures  # noqa: E402 - as above
from benchmarks.figures import Figure  # noqa: E402 - as above
from taggerd import files  # noqa: E402 - as above
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
"""A sidecar's time is the shortest of so many."""
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
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return min(times)


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
        Figure("real sidecars merged", number, detail=f"{refused} damaged ones refused"),
        Figure(
            "merge into a sidecar, median", median, "ms", 1.5,
            detail=f"90 %: {ninety:.1f}, longest: {max(times):.1f}",
        ),
        Figure("sidecars with a foreign byte changed", sum(changed), at_most=0),
        Figure("bytes added, median", statistics.median(added), "B"),
        Figure("undos that are exact to the byte", exact, at_least=number),
        Figure("undo, median", statistics.median(undos), "ms"),
    ]  # fmt: skip


def new_sidecars(folder: Path) -> list[Figure]:
    """Make sidecars for photos that have none, on disk, with and without waiting for it."""
    files.work_below(folder)
    image = folder / "image.jpg"
    Image.new("RGB", (64, 64), "red").save(image)
    data = image.read_bytes()
    waited, busy = 0.0, 0.0
    real = os.fsync

    def timed(fd: int | HasFileno) -> None:
        nonlocal waited, busy
        began, cpu = time.perf_counter(), time.process_time()
        real(fd)
        waited += time.perf_counter() - began
        busy += time.process_time() - cpu

    times, syncs = [], []
    os.fsync = timed
    try:
        for number in range(NEW):
            path = folder / f"IMG_{number:04}.jpg"
            path.write_bytes(data)
            photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
            waited, busy = 0.0, 0.0
            began = time.process_time()
            (done,) = write(photo, TAGS, PROVENANCE, Options())
            times.append((time.process_time() - began - busy) * 1000)
            syncs.append(waited * 1000)
            assert done.created, done.error
    finally:
        os.fsync = real
    median = statistics.median(times)
    return [
        Figure(
            "new sidecar beside fsync, median", median, "ms", 1,
            against=f"its two fsyncs: {statistics.median(syncs):.1f} ms",
        ),
    ]  # fmt: skip


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("metadata", __doc__)
    corpus = REPOSITORY.parent / "shared" / "corpus"
    parser.add_argument("--corpus", type=Path, default=corpus, help="folder of real files")
    chosen = parser.parse_args()
    found: list[Figure] = []
    if (chosen.corpus / "sidecars").is_dir():
        found += merges(chosen.corpus)
    else:
        print(f"no sidecars in {chosen.corpus}: merges are not measured", file=sys.stderr)  # noqa: T201 - for people
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
        found += new_sidecars(Path(folder))
    return figures.say(found, chosen)


if __name__ == "__main__":
    sys.exit(main())
