"""What is made of the settings: each service, and what it is given. Nothing is opened here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taggerd import inference, metadata
from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd import settings as tables
    from taggerd.inference import InferenceService, Profile, Resolved
    from taggerd.metadata import Options, Vocabulary
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration


def read_vocabulary(settings: Settings) -> Vocabulary | None:
    """Read the user's keyword list, if the settings name one.

    Raises:
        ConfigurationError: it cannot be read.

    """
    path = settings.keywords.vocabulary
    return metadata.load_vocabulary(path) if path else None


def read_profile(configuration: Configuration) -> Profile:
    """Read the prompt profile, and check the user's own roles, whose prompts it may hold.

    Raises:
        ConfigurationError: one of them cannot be used.

    """
    settings = configuration.settings
    profile = inference.load_profile(settings.prompts.profile, configuration.prompts_directory)
    inference.check_own(settings.roles, profile, settings.prompts.context, settings.metadata.fields)
    return profile


def read_registry(configuration: Configuration) -> Resolved:
    """Return what the settings take from a model registry, if they want one.

    Raises:
        ConfigurationError: it cannot be read, or a role cannot be resolved.

    """
    backend, roles = configuration.settings.backend, configuration.settings.roles
    named = [
        role for role in (*type(roles).model_fields, *roles.own) if _is_named(role, configuration)
    ]
    return inference.resolve_settings(backend, roles, named=named)


def _is_named(role: str, configuration: Configuration) -> bool:
    """Say whether ``backend.model`` decides about *role*, and not the registry.

    It does, unless what points to the registry comes from a higher layer, or is said of this role
    alone in a layer that is no lower.
    """
    settings = configuration.settings
    own = settings.roles.named(role)
    if not settings.backend.model:
        return False
    for key, value in (
        ("registry_model", own.registry_model),
        ("registry_role", own.registry_role),
    ):
        if value and not configuration.outranks("backend.model", f"roles.{role}.{key}"):
            return False
    return not configuration.outranks("backend.use_registry", "backend.model")


def make_inference(
    configuration: Configuration, vocabulary: Vocabulary | None = None
) -> InferenceService:
    """Make the inference service; nothing is sent. Prompts name a short *vocabulary*.

    Raises:
        ConfigurationError: the profile, the registry or the address cannot be used.

    """
    settings = configuration.settings
    profile = read_profile(configuration)
    registry = read_registry(configuration)
    folder = inference.slots_folder(settings.state_directory, os.environ)
    backends = {
        url: inference.Backend(options, slots_folder=folder)
        for url, options in endpoint_settings(configuration, registry.base_urls).items()
    }
    return inference.InferenceService(
        settings,
        profile,
        backends,
        models=registry.models,
        vocabulary=vocabulary.shown if vocabulary else (),
        base_urls=registry.base_urls,
    )


def endpoint_settings(
    configuration: Configuration, urls: Mapping[str, str]
) -> dict[str, tables.Backend]:
    """Return the settings of each endpoint by its URL; *urls*: what a registry has for each role.

    Of ``backend.base_url`` and ``backend.endpoints`` the one from the higher layer counts.

    Raises:
        ConfigurationError: both are given in one place, or it is not clear whose the key is.

    """
    backend = configuration.settings.backend
    alone = configuration.outranks("backend.base_url", "backend.endpoints")
    if alone is None and backend.endpoints and backend.base_url != "auto":
        message = (
            f"{configuration.origins['backend.endpoints']}: backend.base_url and backend.endpoints "
            "are both given: keep one of the two"
        )
        raise ConfigurationError(message)
    return inference.backend_per_address(backend, urls, alone=bool(alone))


def check_settings(configuration: Configuration) -> None:
    """Check what the settings name: prompts, keyword list, registry, endpoints.

    Raises:
        ConfigurationError: one of them is missing or wrong.

    """
    read_profile(configuration)
    read_vocabulary(configuration.settings)
    endpoint_settings(configuration, read_registry(configuration).base_urls)


def metadata_options(settings: Settings) -> Options:
    """Return how sidecars are written."""
    return metadata.Options(
        target=settings.metadata.target,
        fields=settings.metadata.fields,
        own=frozenset(field for role in settings.roles.own.values() for field in role.fields),
        naming=settings.sidecar.naming,
        overwrite=settings.metadata.overwrite,
        backup_originals=settings.metadata.backup_originals,
        language=_language_of_texts(settings),
        root=settings.ownership.keyword,
    )


def _language_of_texts(settings: Settings) -> str:
    """Return the language that texts are marked with; the describer speaks English only."""
    language = settings.metadata.language
    foreign = language.partition("-")[0] != "en"
    return "" if foreign and settings.backend.base_url == "builtin:" else language
