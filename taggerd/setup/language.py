"""The language of the words, from the language of the desktop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITH_REGION = frozenset({"en_GB", "en_US", "pt_BR", "zh_CN", "zh_TW"})
"""Locales whose region changes how words are spelt."""


def language_of(environ: Mapping[str, str]) -> str:
    """Return the language tag of this user's messages; empty: it is not said.

    The first of ``LC_ALL``, ``LC_MESSAGES`` and ``LANG`` that is set counts (locale(7)).
    """
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((environ[name] for name in names if environ.get(name)), "")
    found = re.match(r"([a-z]{2,3})(_[A-Z]{2})?(?![a-zA-Z])", locale)
    if found is None:
        return ""
    tag = found.group() if found.group() in _WITH_REGION else found.group(1)
    return tag.replace("_", "-")
