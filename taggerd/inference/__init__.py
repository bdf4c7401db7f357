"""Inference: asks a backend what is seen in a picture, and reads its answers.

The questions themselves are made by :func:`taggerd.inference.questions.questions`.

Everything is imported at first use, so that a command that asks nothing loads no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taggerd.inference.backend import Backend
    from taggerd.inference.describer import DescriberServer, describer_transport
    from taggerd.inference.discovery import discover
    from taggerd.inference.placing import asked_places
    from taggerd.inference.preflight import PreflightReport, Probe
    from taggerd.inference.profiles import ROLES, Profile, available_profiles, load_profile
    from taggerd.inference.questions import Question, check_own
    from taggerd.inference.registry import Resolution, load_registry, resolve, served_model
    from taggerd.inference.resolving import chosen, entries_of, resolutions
    from taggerd.inference.service import InferenceService
    from taggerd.inference.slots import Slots, slots_folder

__all__ = [
    "ROLES",
    "Backend",
    "DescriberServer",
    "InferenceService",
    "PreflightReport",
    "Probe",
    "Profile",
    "Question",
    "Resolution",
    "Slots",
    "asked_places",
    "available_profiles",
    "check_own",
    "chosen",
    "describer_transport",
    "discover",
    "entries_of",
    "load_profile",
    "load_registry",
    "resolutions",
    "resolve",
    "served_model",
    "slots_folder",
]

_HOMES = {
    "ROLES": "profiles",
    "InferenceService": "service",
    "Backend": "backend",
    "DescriberServer": "describer",
    "PreflightReport": "preflight",
    "Probe": "preflight",
    "Profile": "profiles",
    "Question": "questions",
    "Resolution": "registry",
    "Slots": "slots",
    "asked_places": "placing",
    "available_profiles": "profiles",
    "check_own": "questions",
    "chosen": "resolving",
    "describer_transport": "describer",
    "discover": "discovery",
    "entries_of": "resolving",
    "load_profile": "profiles",
    "load_registry": "registry",
    "resolutions": "resolving",
    "resolve": "registry",
    "served_model": "registry",
    "slots_folder": "slots",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use (PEP 562)."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
