"""The question of ``taggerd setup`` for a model that sees pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from taggerd.cli import interrupts
from taggerd.errors import ConfigurationError
from taggerd.setup import Asked, Served, addresses_of, find, hints_for, on_this_machine, probe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taggerd.cli.dialogue import Dialogue
    from taggerd.inference import Candidate
    from taggerd.settings.configuration import Configuration

BUILTIN = "builtin:"
_DESCRIBER = Served("the built-in describer", BUILTIN)
_MODEL = "     "
"""Indent of what is said of a model."""


class ModelQuestion:
    """Finds the models that see, and lets one be chosen."""

    def __init__(
        self, loaded: Configuration, given: Mapping[str, object], dialogue: Dialogue
    ) -> None:
        """Begin.

        Args:
            loaded: the settings, with what was given.
            given: settings that were given by switches, by dotted key.
            dialogue: asks.
        """
        self._loaded = loaded
        self._given = given
        self._dialogue = dialogue
        self._options = loaded.settings.backend
        self.values: dict[str, object] = {}
        """The answers, by setting."""
        self.name = ""
        """The model that was chosen and where, for people; empty: none was."""

    def ask(self) -> None:
        """Ask until a model is chosen, or somebody goes on without."""
        if self._options.endpoints and "backend.base_url" not in self._given:
            count = len(self._options.endpoints)
            self._dialogue.say(f"{count} backends are set, and stay: taggerd preflight tries them.")
            self.name = f"{count} backends, as set"
            return
        if "backend.api_key" in self._given:
            self.values["backend.api_key"] = self._given["backend.api_key"]
        typed = "" if self._options.base_url == "auto" else self._options.base_url
        while True:
            served = self._find(typed)
            seeing = [(each, asked) for each in served for asked in self._probe(each)]
            if seeing:
                self._choose(seeing)
                return
            for line in hints_for(served):
                self._dialogue.say(line)
            if not self._dialogue.asks:
                self._go_without()
                return
            said = self._ask_where()
            if said is None:
                self._go_without()
                return
            typed = said or typed

    def _find(self, typed: str) -> list[Served]:
        """Return the backends at an address that was *typed*; empty: on this machine."""
        if typed == BUILTIN:
            return [_DESCRIBER]
        where = f"at {typed}" if typed else "on this machine"
        addresses = addresses_of(typed) if typed else on_this_machine()
        served = self._ask_for_models(addresses, where)
        for locked in [each for each in served if each.locked and self._dialogue.asks]:
            self._dialogue.say(f"{locked.name} ({locked.base_url}) wants a key.")
            if key := self._dialogue.text("API key, or Enter for none", "", hidden=True):
                self.values["backend.api_key"] = key
                self._options = self._options.model_copy(
                    update={"base_url": locked.base_url, "api_key": SecretStr(key)}
                )
                return self._ask_for_models(addresses_of(locked.base_url), where)
        return served

    def _ask_for_models(self, addresses: Sequence[Candidate], where: str) -> list[Served]:
        with self._dialogue.waiting(f"Looking for models {where} …"):
            served = interrupts.run(find(self._options, addresses))
        if not [each for each in served if not each.error]:
            errors = "; ".join(each.error for each in served)
            self._dialogue.say(errors or f"There is no program with models {where}.")
        return served

    def _probe(self, served: Served) -> list[Asked]:
        """Return the models of *served* that see; show what became of each probe."""
        if served == _DESCRIBER:
            self._dialogue.say(
                "The built-in describer needs no model. It sees colours, light and shape, but no "
                "objects, and says so in English: good for a try, not for your archive."
            )
            return [Asked("", sees=True)]
        if served.error:
            return []
        named = str(self._given.get("backend.model", ""))
        models = (named,) if named else served.models
        self._dialogue.say(f"{served.name} ({served.base_url}):")
        if not models:
            self._dialogue.say("no model is loaded", indent=_MODEL)
        seeing = []
        for model in models:
            with self._dialogue.waiting(f"Showing two pictures to {model} …"):
                asked = interrupts.run(probe(self._options, served, model))
            self._dialogue.say(f"{model:<30} {_verdict(asked)}", indent=_MODEL)
            seeing += [asked] if asked.sees else []
        if not named and served.listed > len(models):
            more = served.listed - len(models)
            self._dialogue.say(f"({more} more were not tried: name one by --model)", indent=_MODEL)
        return seeing

    def _choose(self, seeing: Sequence[tuple[Served, Asked]]) -> None:
        """Let one of the models that see be chosen."""
        models = [asked.model for _, asked in seeing]
        index = models.index(self._options.model) if self._options.model in models else 0
        if len(seeing) > 1:
            self._dialogue.say("These see pictures:")
            self._dialogue.rows([(asked.model, served.name) for served, asked in seeing])
            index = self._dialogue.number("Which one?", len(seeing), index + 1) - 1
        served, asked = seeing[index]
        self._take_address(served.base_url)
        if asked.model and asked.model != self._set_in_file("backend.model"):
            self.values["backend.model"] = asked.model
        self.name = f"{asked.model} ({served.name})" if asked.model else served.name
        self._dialogue.say(f"{asked.model or 'The describer'} will look at your photos.")

    def _take_address(self, base_url: str) -> None:
        """Take the backend at *base_url*; a key that was meant for another is not sent to it.

        Raises:
            ConfigurationError: there is one, and nobody to ask.
        """
        before = self._set_in_file("backend.base_url")
        if base_url == before:
            return
        self.values["backend.base_url"] = base_url
        if self._loaded.settings.backend.endpoints:
            self.values["backend.endpoints"] = []
        origin = self._loaded.origins["backend.api_key"]
        if "backend.api_key" in self.values or origin != str(self._loaded.file):
            return
        whose = str(before or "another backend")
        if not self._dialogue.asks:
            message = f'{origin}: the key there is for {whose}: add --api-key KEY, or --api-key ""'
            raise ConfigurationError(message)
        self._dialogue.say(f"The key in your settings is for {whose}.")
        if self._dialogue.yes("Remove it, so that it is sent nowhere else?"):
            self.values["backend.api_key"] = None

    def _set_in_file(self, key: str) -> object:
        """Return what the settings file says of *key*; None: nothing."""
        if self._loaded.origins[key] != str(self._loaded.file):
            return None
        return getattr(self._loaded.settings.backend, key.partition(".")[2])

    def _ask_where(self) -> str | None:
        """Return where to look next; empty: there again; None: nowhere."""
        self._dialogue.say()
        self._dialogue.rows(
            [
                ("look again", "when you have loaded a model"),
                ("another machine", "type its name or address"),
                ("try without a model", "the built-in describer: colours and light only"),
                ("go on", "and load a model later"),
            ]
        )
        while True:
            said = self._dialogue.text("Number, or the address of another machine", "1")
            if said == "2":
                said = self._dialogue.text("Its name or address, e.g. gpu1 or 192.168.1.20", "")
            known = {"1": "", "3": BUILTIN, "4": None}
            if said in known:
                return known[said]
            if addresses_of(said) and not said.isdigit():
                return said
            self._dialogue.say("Please type a number from 1 to 4, or an address.")

    def _go_without(self) -> None:
        """Go on without a model that sees; what was given explicitly is done all the same."""
        for key in ("backend.base_url", "backend.model"):
            if key in self._given:
                self.values[key] = self._given[key]
        self._dialogue.say("Set up without a model for now.")


def _verdict(asked: Asked) -> str:
    """Return what the probe of a model found, for people."""
    if asked.sees:
        return f"sees ({asked.seconds:.1f} s)"
    return "does not see pictures" if asked.blind else f"cannot be used: {asked.error}"
