"""The program on a machine whose clock is wrong: ``python -m support.skewed SECONDS COMMAND…``."""

from __future__ import annotations

import datetime as dt
import sys
import time


def set_clock(seconds: float) -> None:
    """Let Python's wall clock be *seconds* ahead of the machine's; what measures spans is not."""
    true_time = time.time

    class Wrong(dt.datetime):
        """What the clock of this machine says."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Wrong:
            """Return the time, wrong as it is."""
            return cls.fromtimestamp(time.time(), tz)

    def wrong_time() -> float:
        return true_time() + seconds

    # Worker processes are handed both by name, and have the machine's clock.
    wrong_time.__module__, wrong_time.__qualname__ = "time", "time"
    Wrong.__module__, Wrong.__qualname__ = "datetime", "datetime"
    time.time = wrong_time
    time.time_ns = lambda: int(time.time() * 1e9)
    dt.datetime = Wrong  # type: ignore[misc]  # in all that is imported from now on


def main() -> int:
    """Run the program by this clock."""
    set_clock(float(sys.argv[1]))
    from taggerd import cli  # noqa: PLC0415 - after the clock is set

    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
