"""Settings of what looks at the photos: where it is, and when it may be asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from taggerd.settings.hours import Hours
from taggerd.settings.section import Folder, Section


def _address(url: str) -> str:
    """Check an address of a backend."""
    if url in {"auto", "builtin:"}:
        return url
    if not url.startswith(("http://", "https://")):
        message = 'must be "auto", "builtin:", or begin with http:// or https://'
        raise ValueError(message)
    return url.rstrip("/")


class Endpoint(Section):
    """One of several places that serve the models."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        description="Address up to and including /v1."
    )
    api_key: SecretStr | None = Field(None, description="Its own key; sent nowhere else.")
    model: str = Field("", description="Model asked here; empty: backend.model.")
    max_concurrency: int | None = Field(
        None, ge=1, le=256, description="Requests under way here; default: as for the backend."
    )


def _endpoint_table(value: object) -> object:
    """Accept a bare address where an endpoint's table is expected."""
    return {"base_url": value} if isinstance(value, str) else value


class Backend(Section):
    """The OpenAI-compatible service that looks at the photos."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "auto",
        description='Address up to and including /v1. "auto" looks for Ollama, LM Studio, '
        'llama-server and vLLM on this machine; "builtin:" is the describer inside the program, '
        "which says only what pixels show.",
    )
    api_key: SecretStr | None = Field(
        None, description="Key, if the backend wants one; better given as a systemd credential."
    )
    model: str = Field("", description="Model for every role; empty: the first the backend lists.")
    timeout_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest wait for one answer, seconds."
    )
    max_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Most requests under way at once, from all taggerd programs of this machine; "
        "fewer where the backend refuses more or answers too late.",
    )
    endpoints: list[Annotated[Endpoint, BeforeValidator(_endpoint_table)]] = Field(
        [],
        description="Several backends instead of base_url: addresses, or tables "
        '{base_url = "http://gpu1:8000/v1", api_key = "...", model = "...", max_concurrency = 4}. '
        "Each photo is asked about at one of them. api_key above is not sent to them.",
    )
    request_mode: Literal["per-role", "combined"] = Field(
        "per-role",
        description="per-role: one request for each answer; combined: one for all roles of a "
        "model, where it can answer so.",
    )
    preflight: bool = Field(default=True, description="Probe the backend before work starts.")
    preflight_minutes: float = Field(
        10.0, gt=0, le=10080, description="Minutes between probes of a running daemon."
    )
    use_registry: bool = Field(
        default=False, description="Resolve each role's model from a registry file."
    )
    use_loader: bool = Field(
        default=False,
        description="Take registry names as logical names and send the name that is served.",
    )
    registry_path: Folder | None = Field(
        None, description="The registry file, JSON (see models.example.json)."
    )

    @field_validator("endpoints")
    @classmethod
    def _apart(cls, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Refuse a place named twice, and one that has to be looked for."""
        urls = [endpoint.base_url for endpoint in endpoints]
        if "auto" in urls:
            message = 'each needs an address: "auto" is for base_url'
            raise ValueError(message)
        if len(set(urls)) < len(urls):
            message = "an address is named twice: keep one of the two"
            raise ValueError(message)
        return endpoints


def _listed(value: object) -> object:
    """Accept one text where a list of texts is expected."""
    return [value] if isinstance(value, str) else value


class Schedule(Section):
    """When the backend may be asked."""

    active: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [],
        description='Windows of local time, e.g. ["22:00-07:00"] or ["Mon-Fri 20:00-07:00", '
        '"Sat,Sun 00:00-24:00"]; days are those on which a window begins. Outside of them the '
        "daemon asks the backend nothing; photos arrive and wait. Empty: always.",
    )

    @field_validator("active")
    @classmethod
    def _windows(cls, texts: list[str]) -> list[str]:
        Hours.of(texts)
        return texts

    @property
    def hours(self) -> Hours:
        """The windows."""
        return Hours.of(self.active)
