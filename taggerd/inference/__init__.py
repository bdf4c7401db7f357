"""Inference: asks backends what can be seen in a picture, and reads their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.inference.backend import Backend
    from taggerd.inference.concurrency import Slots, slots_folder
    from taggerd.inference.discovery import CANDIDATES, Candidate, chat_models, vision_models
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
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "backend": "Backend",
            "concurrency": "Slots slots_folder",
            "discovery": "CANDIDATES Candidate chat_models vision_models",
            "preflight": "PreflightReport",
            "profiles": "Profile available_profiles load_profile",
            "questions": "Question check_own",
            "registry": (
                "Resolution Resolved backend_per_address configured_entries resolve resolve_all "
                "resolve_settings"
            ),
            "service": "InferenceService",
        },
    )

__all__ = [
    "CANDIDATES",
    "Backend",
    "Candidate",
    "InferenceService",
    "PreflightReport",
    "Profile",
    "Question",
    "Resolution",
    "Resolved",
    "Slots",
    "available_profiles",
    "backend_per_address",
    "chat_models",
    "check_own",
    "configured_entries",
    "load_profile",
    "resolve",
    "resolve_all",
    "resolve_settings",
    "slots_folder",
    "vision_models",
]
