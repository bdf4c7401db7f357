"""The describer on a port until interrupted: ``python -m taggerd.inference.describer --port N``."""

from __future__ import annotations

import argparse
import threading
from typing import TYPE_CHECKING

from taggerd.inference.describer import MODEL, DescriberServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None, wait: Callable[[], object] | None = None) -> int:
    """Serve on a port until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m taggerd.inference.describer")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0: any free one")
    port: int = parser.parse_args(arguments).port
    with DescriberServer(port) as server:
        print(f"{MODEL} at {server.base_url}", flush=True)  # noqa: T201 - a program's own output
        try:
            (wait or threading.Event().wait)()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
