"""What hosts that share a PostgreSQL ledger do together: `scripts/bench fleet`.

The server is Debian's, beside them on the same machine, with commits that wait for the disk.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import figures, hosts, shared

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from benchmarks.figures import Figure

PARTS: dict[str, Callable[[Namespace], Iterator[Figure]]] = {
    "throughput": lambda options: hosts.throughput(options.photos),
    "takeover": lambda _options: hosts.takeover(),
    "idle": lambda options: hosts.idle(options.seconds),
    "ledger": lambda options: shared.costs(options.admitted, options.lifecycles),
    "claims": lambda options: shared.claims(options.queued),
}


def measured(options: Namespace) -> Iterator[Figure]:
    """Yield the figures of the parts that are wanted."""
    for part in options.only or PARTS:
        yield from PARTS[part](options)


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("fleet", __doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="one part")
    parser.add_argument("--photos", type=int, default=1200, help="that four hosts tag")
    parser.add_argument("--seconds", type=float, default=hosts.IDLE_SECONDS, help="of idling")
    parser.add_argument("--admitted", type=int, default=100_000, help="photos admitted at once")
    parser.add_argument("--lifecycles", type=int, default=2000, help="photos of the ledger alone")
    parser.add_argument("--queued", type=int, default=1_000_000, help="photos that wait")
    options = parser.parse_args()
    return figures.say(measured(options), options)


if __name__ == "__main__":
    sys.exit(main())
