"""What requests cost, and how much may be spent in a day."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from taggerd.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.photo import Usage

_MILLION = 1_000_000
Unit = Literal["money", "tokens", "requests"]


class ModelPrice(Section):
    """What one model costs."""

    input_per_million: float = Field(
        0.0, ge=0, description="Price of a million tokens of what is asked, pictures included."
    )
    output_per_million: float = Field(
        0.0, ge=0, description="Price of a million tokens of what is answered."
    )


class Price(ModelPrice):
    """What the backend's models cost."""

    currency: str = Field(
        "USD", min_length=1, max_length=8, description="Currency of the prices, as it is shown."
    )
    models: dict[str, ModelPrice] = Field(
        {},
        description="Prices of single models by name, e.g. "
        '{"gpt-4o" = {input_per_million = 2.5, output_per_million = 10}}; free ones are named with '
        "{}.",
    )

    @property
    def known(self) -> bool:
        """Whether any price is set."""
        return any(each.input_per_million or each.output_per_million for each in self._all)

    @property
    def _all(self) -> tuple[ModelPrice, ...]:
        return (self, *self.models.values())

    def of(self, model: str, usage: Usage) -> float:
        """Return what *usage* of *model* costs, in the currency."""
        price = self.models.get(model, self)
        asked = usage.prompt_tokens * price.input_per_million
        return (asked + usage.completion_tokens * price.output_per_million) / _MILLION

    def total(self, spent: Mapping[str, Usage]) -> float:
        """Return what was *spent*, by model, in the currency."""
        return sum(self.of(model, usage) for model, usage in spent.items())

    def text(self, amount: float) -> str:
        """Return an *amount* of money for people: as many digits as tell it from nothing."""
        digits = 2 if amount >= 1 or not amount else 4
        return f"{amount:.{digits}f} {self.currency}"


class DayBudget(NamedTuple):
    """How much may be spent in a day."""

    amount: float
    unit: Unit

    @classmethod
    def of(cls, text: str) -> DayBudget | None:
        """Parse ``2.50``, ``500000 tokens`` or ``200 requests``; None if *text* is empty.

        Raises:
            ValueError: it is none of these.
        """
        if not text.strip():
            return None
        form = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(tokens|requests)?\s*", text)
        if form is None:
            message = 'write an amount of money, like 2.50, or "500000 tokens" or "200 requests"'
            raise ValueError(message)
        unit: Unit = "money" if form[2] is None else "tokens" if form[2] == "tokens" else "requests"
        return cls(float(form[1]), unit)

    def used(self, spent: Mapping[str, Usage], price: Price) -> float:
        """Return how much of it is *spent*, by model, in its unit."""
        match self.unit:
            case "money":
                return price.total(spent)
            case "tokens":
                return float(sum(usage.tokens for usage in spent.values()))
            case "requests":
                return float(sum(usage.requests for usage in spent.values()))

    def text(self, amount: float, price: Price) -> str:
        """Return an *amount* in its unit."""
        return price.text(amount) if self.unit == "money" else f"{amount:,.0f} {self.unit}"
