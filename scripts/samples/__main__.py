"""Writes the sample photos: ``PYTHONPATH=scripts python -m samples FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from samples.photos import make_samples


def main() -> int:
    """Write the samples into the folder named on the command line."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.stderr.write("usage: python -m samples FOLDER\n")
        return 2
    for path in make_samples(Path(sys.argv[1])):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
