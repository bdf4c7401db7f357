"""Reading what a running daemon shows of itself."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from support.program import SECONDS, until

if TYPE_CHECKING:
    from support.program import Program


def address(taggerd: Program) -> str:
    """Return where the daemon that started last serves its metrics, once it does."""
    found = until(lambda: re.findall(r"metrics are served.*port=(\d+)", taggerd.log()))
    return f"http://127.0.0.1:{found[-1]}"


def get(url: str) -> tuple[int, str]:
    """Return status and text of a page; status 0: nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - http, our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def samples(text: str) -> dict[str, float]:
    """Return the samples of an exposition as ``name{label="value"}``, labels in their order."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found
