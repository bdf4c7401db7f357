"""Inference: asks backends what can be seen in a picture, and reads their answers.

Everything is imported at first use, so that a command that sends no request loads no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taggerd.inference.backend import Backend
    from taggerd.inference.concurrency import Slots, slots_folder
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.profiles import Profile, available_profiles, load_profile
    from taggerd.inference.questions import Question, check_own
    from taggerd.inference.registry import (
        Resolution,
        Resolved,
        backend_per_address,
        configured_entries,
        resolve,
        resolve_all,
        resolve_settings,
    )
    from taggerd.inference.service import InferenceService

__all__ = [
    "Backend",
    "InferenceService",
    "PreflightReport",
    "Profile",
    "Question",
    "Resolution",
    "Resolved",
    "Slots",
    "available_profiles",
    "backend_per_address",
    "check_own",
    "configured_entries",
    "load_profile",
    "resolve",
    "resolve_all",
    "resolve_settings",
    "slots_folder",
]

_MODULES = {
    "backend": "Backend",
    "concurrency": "Slots slots_folder",
    "preflight": "PreflightReport",
    "profiles": "Profile available_profiles load_profile",
    "questions": "Question check_own",
    "registry": (
        "Resolution Resolved backend_per_address configured_entries resolve resolve_all "
        "resolve_settings"
    ),
    "service": "InferenceService",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
