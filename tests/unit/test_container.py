"""config/compose.yaml and config/Containerfile agree with each other and with the program."""

from __future__ import annotations

import re
from pathlib import Path

from taggerd.settings import Service
from taggerd.settings.keys import leaves

CONFIG = Path(__file__).parents[2] / "config"
CONTAINERFILE = (CONFIG / "Containerfile").read_text(encoding="utf-8")
COMPOSE = (CONFIG / "compose.yaml").read_text(encoding="utf-8")


def test_no_user_is_assumed() -> None:
    """Rootless: the image names a user that is not root, and whoever starts it another."""
    assert re.search(r"^USER 1000:1000$", CONTAINERFILE, re.MULTILINE)
    assert 'user: "${PUID:-1000}:${PGID:-1000}"' in COMPOSE


def test_the_health_is_that_of_the_status() -> None:
    """Degraded (1) is no reason to restart it; down (3) is."""
    check = "taggerd status >/dev/null || [ $? -eq 1 ]"
    assert f"CMD {check}\n" in CONTAINERFILE
    assert f'["CMD-SHELL", "{check.replace("$?", "$$?")}"]' in COMPOSE


def test_a_stop_outlasts_the_drain() -> None:
    """A daemon that still keeps to its drain time is not killed."""
    seconds = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert seconds
    assert int(seconds[1]) >= Service.model_fields["drain_seconds"].default + 10


def test_its_variables_are_settings() -> None:
    """``TAGGERD__SECTION__KEY`` names a setting that exists."""
    known = {"__".join(("TAGGERD", *keys)).upper() for keys, _ in leaves()}
    named = set(re.findall(r"\bTAGGERD__\w+", CONTAINERFILE + COMPOSE))
    assert named - {"TAGGERD__SECTION__KEY"} <= known
    assert len(named) >= 3
