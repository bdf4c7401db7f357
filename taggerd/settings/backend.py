"""Settings of the backend: where it is, and when requests may be sent."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from taggerd.settings.hours import Hours
from taggerd.settings.price import DayBudget, Price
from taggerd.settings.section import Section, UserPath


def _address(url: str) -> str:
    """Check the address of a backend."""
    if url in {"auto", "builtin:"}:
        return url
    if not url.startswith(("http://", "https://")):
        message = 'must be "auto", "builtin:", or begin with http:// or https://'
        raise ValueError(message)
    return url.rstrip("/")


class Endpoint(Section):
    """One of several backends."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        description="Address up to and including /v1."
    )
    api_key: SecretStr | None = Field(
        None, description="API key of this backend; sent nowhere else."
    )
    model: str = Field("", description="Model to use here; empty: backend.model.")
    max_concurrency: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Most requests in flight here; default: backend.max_concurrency.",
    )


def _proxy(address: str) -> str:
    """Check the address of a proxy."""
    if not re.fullmatch(r"https?://[^/\s]+/?", address):
        message = "must be the address of an HTTP proxy, like http://proxy:3128"
        raise ValueError(message)
    return address


def _amount(value: object) -> object:
    """Accept a number where an amount may have a unit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:f}" if is_number else value


def _endpoint_table(value: object) -> object:
    """Accept an address instead of an endpoint's table."""
    return {"base_url": value} if isinstance(value, str) else value


class Backend(Section):
    """The OpenAI-compatible service with the vision model."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "auto",
        description='Address up to and including /v1. "auto" looks for Ollama, LM Studio, '
        'llama-server and vLLM on this machine; "builtin:" is the built-in describer, which sees '
        "only colours, light and shape.",
    )
    api_key: SecretStr | None = Field(
        None, description="API key, if the backend needs one; a systemd credential is safer."
    )
    model: str = Field(
        "", description="Model for every role; empty: the first one the backend lists."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="How freely a model chooses its words, from 0 to 2; default: 0.2. A question "
        "that is repeated is asked at 0.7 or more.",
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the likeliest words that a model chooses from, up to 1; default: the "
        "backend's own.",
    )
    max_tokens: int | None = Field(
        None,
        ge=16,
        le=32768,
        description="Longest answer, tokens; default: as in the prompt profile.",
    )
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(
        None,
        description="HTTP proxy on the way to the backend, e.g. http://proxy:3128; default: none. "
        "HTTP_PROXY and its kin are not used: photos and the key would go through it unasked.",
    )
    timeout_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest wait for one answer, seconds."
    )
    max_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Most requests in flight at once, from all taggerd programs on this machine; "
        "fewer while the backend refuses more or answers too late.",
    )
    slot_wait_seconds: float = Field(
        600.0,
        gt=0,
        le=604800,
        description="Longest wait while other programs of this machine hold all of these requests, "
        "seconds; then work goes on without, and log and status say who holds them.",
    )
    endpoints: list[Annotated[Endpoint, BeforeValidator(_endpoint_table)]] = Field(
        [],
        description="Several backends instead of base_url: addresses, or tables "
        '{base_url = "http://gpu1:8000/v1", api_key = "...", model = "...", max_concurrency = 4}. '
        "Each photo goes to one of them. api_key above is not sent to them.",
    )
    request_mode: Literal["per-role", "combined"] = Field(
        "per-role",
        description="per-role: one request per role; combined: one request for all roles, if the "
        "model can answer that way.",
    )
    preflight: bool = Field(default=True, description="Probe the backend before work starts.")
    preflight_minutes: float = Field(
        10.0, gt=0, le=10080, description="Minutes between the daemon's probes of the backend."
    )
    use_registry: bool = Field(
        default=False, description="Take the model of each role from a registry file."
    )
    use_loader: bool = Field(
        default=False,
        description="Send the name under which a model is served instead of its registry name.",
    )
    registry_path: UserPath | None = Field(
        None, description="Registry file, JSON (see models.example.json)."
    )

    budget_per_day: Annotated[str, BeforeValidator(_amount)] = Field(
        "",
        description="Most to spend in a day: an amount of money by backend.price, like 2.50, or "
        '"500000 tokens" or "200 requests". When it is spent no more is asked until the next local '
        "day; requests in flight by then are finished. All taggerd programs that share the state "
        "directory count together. Empty: no limit.",
    )
    price: Price = Field(
        Price(), description="What requests cost; only for estimates, totals and budget_per_day."
    )

    @field_validator("budget_per_day")
    @classmethod
    def _is_budget(cls, text: str) -> str:
        DayBudget.of(text)
        return text

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Self:
        """Refuse a budget in money that no price turns into requests: it would stop nothing."""
        budget = self.budget
        if budget is not None and budget.unit == "money" and not self.price.known:
            message = (
                f"budget_per_day = {self.budget_per_day} is an amount of money and needs "
                '[backend.price]; without prices write a unit: "500000 tokens" or '
                '"200 requests"'
            )
            raise ValueError(message)
        return self

    @property
    def budget(self) -> DayBudget | None:
        """What may be spent in a day; None: any amount."""
        return DayBudget.of(self.budget_per_day)

    @field_validator("endpoints")
    @classmethod
    def _apart(cls, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Refuse an address that is listed twice, and ``"auto"``."""
        urls = [endpoint.base_url for endpoint in endpoints]
        if "auto" in urls:
            message = 'each needs an address; "auto" is only for base_url'
            raise ValueError(message)
        if len(set(urls)) < len(urls):
            message = "an address is listed twice: remove one"
            raise ValueError(message)
        return endpoints


def _listed(value: object) -> object:
    """Accept a string instead of a list of strings: windows with commas between them."""
    if not isinstance(value, str):
        return value
    # The comma in "Sat,Sun 00:00-24:00" belongs to the days: only one after a time separates.
    return [text.strip() for text in re.split(r"(?<=\d)\s*,", value) if text.strip()]


PROJECT_KEYS = frozenset(
    {
        "model", "temperature", "top_p", "max_tokens", "timeout_seconds", "max_concurrency",
        "slot_wait_seconds", "request_mode", "preflight", "preflight_minutes",
    }
)  # fmt: skip
"""What a pyproject.toml may set: nothing that says where photos go, or with which key.

The registry is not among them: it names addresses.
"""


class Schedule(Section):
    """When requests may be sent."""

    active: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [],
        description='Windows of local time, e.g. ["22:00-07:00"] or ["Mon-Fri 20:00-07:00", '
        '"Sat,Sun 00:00-24:00"]; a day is the one on which the window begins. Outside the windows '
        "the daemon sends no requests; new photos wait. Empty: always.",
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
