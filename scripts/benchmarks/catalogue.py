"""What looking for photos takes: `scripts/bench catalogue` prints one Markdown table.

Words are as frequent as in a language: the commonest is in nearly every photo, most are in few.
Each figure is of the first time that something is asked in a process that has just opened the file,
and of processor time: what else the machine does is not in it.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from functools import partial
from itertools import accumulate, product
from itertools import count as count_up
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures
from benchmarks.figures import Figure
from taggerd.catalogue import Catalogue, Entry, Query, Word
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PHOTOS = 100_000
MILLION = 1_000_000
LONGEST_MS = 200
PER_FOLDER = 500
SYLLABLES = ("sa", "lo", "mi", "ten", "ra", "ku", "vel", "do", "pin", "es", "ga", "tor")
VOCABULARY = tuple(
    "".join(parts) for length in (2, 3, 4) for parts in product(SYLLABLES, repeat=length)
)[:6000]
COMMON, RARE = VOCABULARY[0], VOCABULARY[4000]
OFTEN = tuple(accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))
"""Zipf's law."""
QUERIES = {
    "all photos": Query(),
    "a rare word": Query(text=RARE),
    "a word in nearly all": Query(text=COMMON),
    "two common words": Query(text=f"{VOCABULARY[1]} {VOCABULARY[2]}"),
    "one letter, as a beginning": Query(text="s"),
    "two letters, as a beginning": Query(text="sa"),
    "three letters, as a beginning": Query(text="sal"),
    "words in quotes": Query(text=f'"{VOCABULARY[1]} {VOCABULARY[2]}"'),
    "a word that is nowhere": Query(text="zebra"),
    "a folder": Query(folder="/photos/00003"),
    "a day": Query(day="2025-03-03"),
    "a common keyword": Query(keyword=COMMON),
    "a rare keyword": Query(keyword=RARE),
    "a state": Query(state="tagged"),
    "a model": Query(model="gemma3:12b"),
    "a run": Query(run="run-2"),
    "keyword, state and text": Query(keyword=COMMON, state="tagged", text=VOCABULARY[3]),
    "two that exclude each other": Query(state="failed", model="qwen2.5vl:7b"),
}


def entries(count: int) -> Iterator[Entry]:
    """Invent so many photos."""
    chance = random.Random(1)  # noqa: S311 - not a secret

    def words(number: int) -> list[str]:
        return chance.choices(VOCABULARY, cum_weights=OFTEN, k=number)

    for number in range(count):
        path = Path(f"/photos/{number // PER_FOLDER:05}/IMG_{number:07}.jpg")
        model = "gemma3:12b" if number % 2 else "qwen2.5vl:7b"
        yield Entry(
            path=path,
            day=f"2025-{1 + number % 12:02}-{1 + number % 28:02}",
            run=f"run-{number // 5000}",
            digest=f"{number:064x}",
            caption=Word(" ".join(words(10)), "machine", model),
            description=Word(" ".join(words(50)), "machine", model),
            keywords=tuple(Word(word, "machine", model) for word in dict.fromkeys(words(15))),
            models=dict.fromkeys(("caption", "description", "keywords"), model),
            state="failed" if number % 500 == 1 else "reviewed" if number % 3 == 0 else "tagged",
            at=1.75e9 + number,
            stamps={path: Stamp(1, 2, 3, 4), path.with_suffix(".jpg.xmp"): Stamp(1, 2, 3, 4)},
        )


def timed(work: Callable[[], object]) -> float:
    """Return what *work* takes of the processor, in ms."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def measured(folder: Path, count: int, *, each: bool) -> Iterator[Figure]:
    """Yield the figures for so many photos."""
    began = time.process_time()
    catalogue = Catalogue.open(folder)
    catalogue.put(entries(count))
    seconds = time.process_time() - began
    catalogue.close()
    size = sum(file.stat().st_size for file in folder.iterdir())
    yield Figure(f"catalogue, photos added, up to {count:,}", count / seconds, "a second")
    yield Figure("catalogue, its file", size / count / 1000, "KB a photo")
    catalogue = Catalogue.open(folder)
    first = catalogue.find(Query()).entries[50].key
    number = count_up()
    calls: dict[str, Callable[[Query], object]] = {
        "catalogue, search": catalogue.find,
        "catalogue, count": catalogue.count,
        "catalogue, neighbours of a photo": lambda query: catalogue.neighbours(first, query, 5),
        "catalogue, days": lambda query: catalogue.groups("day", query),
        "catalogue, 50 commonest keywords": lambda query: catalogue.groups("keyword", query, 50),
    }
    for how, ask in calls.items():
        took = {}
        for what, query in QUERIES.items():
            catalogue.count(Query(text=f"no{next(number)}"))  # nothing is remembered
            took[what] = timed(partial(ask, query))
        at_most = LONGEST_MS if count <= PHOTOS else None
        shown = took if each else [max(took, key=lambda what: took[what])]
        for what in shown:
            name = f"{what}: {how}" if each else f"{how}, the slowest of {len(took)} queries"
            yield Figure(name, took[what], "ms", at_most, detail="" if each else what)
    catalogue.close()


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("catalogue", __doc__)
    parser.add_argument("--million", action="store_true", help="a million photos: minutes, 4 GB")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--each", action="store_true", help="every query, not only the slowest")
    options = parser.parse_args()
    count = MILLION if options.million else options.photos
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
        return figures.say(measured(Path(folder), count, each=options.each), options)


if __name__ == "__main__":
    sys.exit(main())
