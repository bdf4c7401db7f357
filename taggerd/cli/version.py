"""``taggerd version``: what is installed here, down to the decoders inside the libraries."""

from __future__ import annotations

import json
import platform
import re
import ssl
from importlib import metadata as installed
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from xml.parsers import expat

import typer

from taggerd import __version__, settings
from taggerd.cli import interrupts, options
from taggerd.imaging.versions import versions
from taggerd.metadata.versions import exiftool_version, exiv2_version
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taggerd.imaging.versions import Found


class Holes(NamedTuple):
    """What is published about a library."""

    through: str
    """The last version that has them."""
    named: str
    """The newest of them."""


HOLES = {
    "Exiv2": Holes("0.28.8", "CVE-2026-49275, CVE-2026-68546, CVE-2026-68547"),
    "LibRaw": Holes("0.22.2", "CVE-2026-111272"),
    "libde265": Holes("1.1.1", "GHSA-xp3h-6f5r-8cxp"),
    "libheif": Holes("1.23.4", "GHSA-v8qw-hwjv-44hw"),
    "libjxl": Holes("0.11.2", "CVE-2026-1837, CVE-2026-52584"),
    "libtiff": Holes("4.7.1", "CVE-2026-4775"),
    "libvips": Holes("8.18.0", "CVE-2026-33327"),
    "libwebp": Holes("1.3.1", "CVE-2023-4863"),
    "pillow": Holes("12.3.0", "CVE-2026-96639"),
}
"""The lower bounds in pyproject.toml keep these out, but for two that no release mends yet (see
SECURITY.md). A distribution may lower the bounds, or link a package to libraries of its own."""


PARTS = "Landlock, seccomp, limits; no capabilities"
"""What confines decoders where the kernel has all of it."""


def version(
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Add libraries, their decoders, the system.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the version; with --verbose everything that a report of a fault should name.

    Decoders are asked in a worker process. A library with published holes is marked; the list is as
    old as this version of taggerd. --json is always verbose.
    """
    if as_json:
        typer.echo(json.dumps(_found(), indent=2, ensure_ascii=False))
    elif verbose:
        typer.echo("\n".join(_lines(_found())))
    else:
        typer.echo(f"taggerd {__version__}")


def _found() -> dict[str, Any]:
    decoders, lacking = interrupts.run(_decoders())
    return {
        "taggerd": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()) or "unknown",
        "expat": expat.EXPAT_VERSION.removeprefix("expat_"),
        "openssl": ssl.OPENSSL_VERSION,
        "exiftool": exiftool_version(),
        "confinement_lacks": list(lacking),
        "libraries": [
            {"name": name, "version": having, "note": _note(name, having), "decoders": inside}
            for name, having in _libraries()
            for inside in [[_entry(*f[1:]) for f in decoders if f[0] == name]]
        ],
    }


async def _decoders() -> tuple[list[Found], tuple[str, ...]]:
    """Return the decoders, and what this kernel lacks to confine them."""
    workers = Workers(settings.Workers(processes=1), caged=True)
    try:
        exiv2 = await workers.run(exiv2_version)
        return [*await workers.run(versions), ("pyexiv2", "Exiv2", exiv2)], workers.lacking
    finally:
        await workers.close()


def _libraries() -> Iterator[tuple[str, str]]:
    """Yield name and version of each package that taggerd asks for."""
    try:
        wanted = installed.requires("taggerd") or []
    except installed.PackageNotFoundError:  # run from a folder of sources
        wanted = []
    for line in wanted:
        if "extra ==" not in line:
            name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            try:
                yield name, installed.version(name)
            except installed.PackageNotFoundError:
                yield name, "missing"


def _entry(decoder: str, having: str) -> dict[str, str]:
    return {"name": decoder, "version": having, "note": _note(decoder, having)}


def _note(name: str, having: str) -> str:
    holes = HOLES.get(name)
    if holes is None or not having[:1].isdigit() or _key(having) > _key(holes.through):
        return ""
    return f"has {holes.named}"


def _confinement(lacking: Sequence[str]) -> str:
    return f"what there is; this kernel lacks {'; '.join(lacking)}" if lacking else PARTS


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:4])


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the table: two columns, decoders indented below the package that brings them."""
    rows = [
        ("taggerd", found["taggerd"], ""),
        ("Python", found["python"], ""),
        ("system", found["system"], ""),
        ("libc", found["libc"], ""),
        ("expat", found["expat"], ""),
        ("OpenSSL", found["openssl"], ""),
        ("exiftool", found["exiftool"], ""),
        ("decoders", f"confined by {_confinement(found['confinement_lacks'])}", ""),
    ]
    for library in found["libraries"]:
        rows.append((library["name"], library["version"], library["note"]))
        rows += [(f"  {d['name']}", d["version"], d["note"]) for d in library["decoders"]]
    width = max(len(name) for name, *_ in rows) + 2
    for name, having, note in rows:
        yield f"{name:<{width}}{having}{f'; {note}' if note else ''}"
