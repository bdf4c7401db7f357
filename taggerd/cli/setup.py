"""``taggerd setup``: a few questions, and taggerd can tag."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import options
from taggerd.cli.dialogue import Dialogue
from taggerd.cli.models import ModelQuestion
from taggerd.cli.preview import show_words
from taggerd.errors import ConfigurationError, TaggerdError
from taggerd.photo import printable
from taggerd.settings import configuration, editing
from taggerd.settings.sources import PREFIX, default_file, user_file
from taggerd.setup import (
    PROGRAMS,
    candidates,
    count_photos,
    installed,
    is_there,
    language_of,
    make,
    pictures,
    wanted_by,
    why_not_usable,
)
from taggerd.units import Choice, can_install, install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.settings import Root
    from taggerd.setup import Program

_NONE = "none"
_PREVIEW = 5
_HOURS_FROM = 90
"""Minutes from which on a time is said in hours."""


@options.configured(options.BASE_URL, options.API_KEY, options.MODEL)
def setup(
    load: options.Load,
    *,
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="Folder in which photos arrive; may be repeated.", metavar="DIR"),
    ] = None,
    program: Annotated[
        list[str] | None,
        typer.Option(
            help="Photo program that you use: lightroom, darktable, digikam, immich, photoprism, "
            "capture-one or none; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    embed: Annotated[
        bool | None,
        typer.Option(
            "--embed/--no-embed",
            help="Write words into JPEG files too, if one of the programs reads them nowhere else.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help='Language of the words, e.g. "en-GB" or "de".', metavar="CODE"),
    ] = None,
    preview: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=50,
            help="Photos that are asked about as a preview; 0: none. Default: 5.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    service: Annotated[
        bool | None,
        typer.Option(
            "--service/--no-service", help="Install the service, which tags photos as they arrive."
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            help="Answer each question as Enter does; install the service only with --service.",
        ),
    ] = False,
) -> None:
    """Set taggerd up: a few questions, a preview of five photos, and the settings are written.

    Each question has a switch. Nothing is written before the end; of settings that exist only what
    was answered is changed, after it was shown. Ctrl-C stops.
    """
    if not yes and not _is_terminal():
        message = "taggerd setup asks questions: run it in a terminal, or with --yes"
        raise ConfigurationError(message)
    file = load.config or default_file() or user_file(os.environ)
    if load.config:
        load = replace(load, config=editing.readable(load.config))
    guide = Guide(load, file, Dialogue(asks=not yes))
    try:
        guide.folders(options.absolute(folder or []))
        guide.programs(program or [], embed=embed)
        guide.language(language)
        guide.model()
        guide.preview(preview)
        if not guide.write():
            return
        guide.service(wanted=service)
    except (KeyboardInterrupt, EOFError):
        guide.stopped()
        raise KeyboardInterrupt from None
    guide.farewell()


class Guide:
    """Asks one question after the other, and keeps the answers."""

    def __init__(self, load: options.Load, file: Path, dialogue: Dialogue) -> None:
        """Begin with the settings as they are, by *load*; they are written into *file*."""
        self._load = load
        self._file = file
        self._loaded = load(log_level="error")
        self._dialogue = dialogue
        self._step = 0
        self._values: dict[str, object] = {}
        """The answers, by setting."""
        self._said: list[tuple[str, str]] = []
        """The answers, for people."""
        self._roots: list[Path] = []
        self._programs: list[Program] = []
        self._model = ""
        self._seconds = 0.0
        """What a photo took in the preview."""
        self._written = self._runs = False

    def _ask(self, question: str) -> None:
        """Begin the next question."""
        if not self._step:
            self._dialogue.say(
                "Let us set taggerd up. Enter takes the answer in brackets; Ctrl-C stops.",
                indent="",
            )
            self._dialogue.say("Nothing is written before you say so at the end.", indent="")
        self._step += 1
        self._dialogue.head(f"{self._step}. {question}")

    def folders(self, named: Sequence[Path]) -> None:
        """Ask where photos arrive."""
        self._ask("Where do your photos arrive?")
        there = [root.path for root in self._loaded.settings.arrivals.roots]
        rows = [(path, "as it is set") for path in there]
        rows += [(path, why) for path, why in candidates(os.environ) if path not in there]
        if named or not self._dialogue.asks:
            chosen = [*named] or there or [path for path, _ in rows[:1]]
            if not chosen:
                message = "there is no folder of pictures: name one by --folder DIR"
                raise ConfigurationError(message)
            if why := next(filter(None, map(why_not_usable, chosen)), ""):
                message = f"--folder {', '.join(map(str, chosen))}: {why}"
                raise ConfigurationError(message)
        else:
            chosen = self._ask_folders(rows, there)
        self._roots = chosen
        self._tell("Photos arrive in", ", ".join(map(_short, chosen)))
        if chosen != there:
            known = {root.path: root for root in self._loaded.settings.arrivals.roots}
            self._values["arrivals.roots"] = [_as_set(known.get(path), path) for path in chosen]

    def _ask_folders(self, rows: Sequence[tuple[Path, str]], there: Sequence[Path]) -> list[Path]:
        self._dialogue.rows([(_short(path), _counted(path), why) for path, why in rows])
        default = ",".join(str(number) for number, _ in enumerate(there, 1))
        default = default or ("1" if rows else _short(pictures(os.environ) / "import"))
        question = "Number, or the path of another folder" if rows else "Path of a folder"
        while True:
            said = self._dialogue.text(question, default)
            chosen = _folders_of(said, [path for path, _ in rows])
            if not chosen:
                self._dialogue.say(f"Please type a number from 1 to {len(rows)}, or a path.")
                continue
            if why := next(filter(None, map(why_not_usable, chosen)), ""):
                self._dialogue.say(f"{said}: {why}.")
                continue
            new = [path for path in chosen if not is_there(path)]
            if not new or self._dialogue.yes(f"{_short(new[0])} is not there yet. Make it?"):
                return chosen

    def programs(self, named: Sequence[str], *, embed: bool | None) -> None:
        """Ask which photo programs are used, and set what they want."""
        self._ask("Which programs do you look at your photos with?")
        known = {program.key: program for program in PROGRAMS}
        for name in named:
            if name not in {*known, _NONE}:
                message = f"--program {name}: not known; choose from {', '.join([*known, _NONE])}"
                raise ConfigurationError(message)
        chosen = [known[name] for name in dict.fromkeys(named) if name != _NONE]
        self._programs = chosen if named else self._ask_programs()
        if not self._programs:
            self._dialogue.say("No program in particular: the words suit most of them.")
            return
        self._tell("Words for", ", ".join(program.name for program in self._programs))
        inside = " and ".join(program.name for program in self._programs if program.embedded)
        if inside and embed is None:
            self._dialogue.say(
                f"Of a JPEG, {inside} shows only what is inside the file. So the words have to go "
                "into it: into a copy that is checked, and then takes its name. The picture stays "
                "as it is, and taggerd undo takes the words out again."
            )
            embed = self._dialogue.yes("Write words into JPEG files?")
        wanted = wanted_by(self._programs, embed=bool(embed))
        self._values.update(wanted.settings)
        for reason in wanted.reasons:
            self._dialogue.say(f"- {reason}")

    def _ask_programs(self) -> list[Program]:
        """Return the programs that are chosen from a list."""
        here = installed(os.environ)
        is_set = self._loaded.origins["sidecar.naming"] == str(self._loaded.file)
        if not self._dialogue.asks:
            return [] if is_set else here
        rows = [(each.name, "found on this machine" if each in here else "") for each in PROGRAMS]
        self._dialogue.rows([*rows, ("none of these", "")])
        last = len(rows) + 1
        default = ",".join(str(PROGRAMS.index(each) + 1) for each in here) or str(last)
        if is_set:
            self._dialogue.say("Enter leaves what is set for programs as it is.")
            default = ""
        while True:
            said = self._dialogue.text("Numbers, with commas between them", default)
            parts = said.replace(",", " ").split()
            if all(part.isdecimal() and 1 <= int(part) <= last for part in parts):
                numbers = dict.fromkeys(int(part) for part in parts)
                return [PROGRAMS[number - 1] for number in numbers if number < last]
            self._dialogue.say(f"Please type numbers from 1 to {last}.")

    def language(self, named: str | None) -> None:
        """Ask for the language of the words."""
        self._ask("In which language shall the words be?")
        is_set = self._loaded.origins["metadata.language"] != "default"
        now = self._loaded.settings.metadata.language if is_set else language_of(os.environ)
        while True:
            said = named or self._dialogue.text("Its code, e.g. en, de, fr, pt-BR", now or "en")
            try:
                tried = configuration.load(
                    {"metadata": {"language": said}}, config=self._load.config
                )
            except ConfigurationError as error:
                if named or not self._dialogue.asks:
                    raise
                self._dialogue.say(str(error).partition("metadata.language: ")[2])
                continue
            break
        self._tell("Words in", said)
        # Without one the prompts' own language is used: English.
        tag = "" if said == "en" and not now else tried.settings.metadata.language
        if tag != self._loaded.settings.metadata.language:
            self._values["metadata.language"] = tag

    def model(self) -> None:
        """Find a model that sees, or say what to load."""
        self._ask("Which model looks at the photos?")
        question = ModelQuestion(self._loaded, self._load.given, self._dialogue)
        question.ask()
        self._model = question.name
        self._values.update(question.values)
        self._said.append(("Model", question.name or "none yet"))

    def preview(self, count: int | None) -> None:
        """Ask about some photos, and show the words."""
        if count == 0 or not self._model:
            return
        self._ask("A preview")
        folders = list(filter(is_there, self._roots))
        there = sum(count_photos(folder, time.monotonic)[0] for folder in folders)
        if not there:
            self._dialogue.say("There are no photos yet, so there is nothing to preview.")
            return
        wanted = min(count or _PREVIEW, there)
        question = f"Ask about {wanted} of your photos now? Nothing is written."
        if count is None and not self._dialogue.yes(question):
            return
        values = {**self._load.given, **self._values}
        config = self._load.config
        self._seconds = show_words(folders, wanted, values, config, self._dialogue)
        if self._seconds:
            self._dialogue.say()
            self._dialogue.say(f"That took {self._seconds:.1f} s a photo.")

    def write(self) -> bool:
        """Show what changes, ask, and write the settings; return whether they are there."""
        self._ask("The settings")
        planned = editing.plan(self._file, self._values)
        if planned.before is None:
            width = max(len(label) for label, _ in self._said)
            for label, said in self._said:
                self._dialogue.say(f"{label:<{width}}  {said}")
            self._dialogue.say(f"They go into {_short(self._file)}, with explanations.")
        elif not planned.lines:
            self._dialogue.say(f"{_short(self._file)} says all of this already.")
            return True
        else:
            self._dialogue.say(f"In {_short(self._file)} this changes, and nothing else:")
            for line in planned.lines:
                self._dialogue.say(f"- {line.key}")
                self._dialogue.say(f"from {line.before or 'nothing'}", indent=" " * 7)
                self._dialogue.say(f"to   {line.after}", indent=" " * 7)
        if not self._dialogue.yes("Write them?"):
            self._dialogue.say("Nothing was written.")
            return False
        for root in self._roots:
            make(root)
        planned.write()
        self._written = True
        self._dialogue.say("Written.")
        self._tell_what_outranks()
        return True

    def _tell_what_outranks(self) -> None:
        """Say which answers have no effect, because the environment says otherwise."""
        now = configuration.load(config=self._file)
        for key in self._values:
            if now.origins.get(key) not in {str(self._file), "default"}:
                self._dialogue.say(f"Note: {key} has no effect: {now.origins[key]} sets it.")

    def service(self, *, wanted: bool | None) -> None:
        """Offer the service."""
        is_read = self._file == default_file()  # the service reads no other
        if wanted is None and not (self._dialogue.asks and is_read and can_install()):
            return
        if wanted is None:
            self._ask("Tag photos as they arrive?")
            when = "It" if self._model else "As soon as there is a model, it"
            self._dialogue.say(
                f"The service starts with your session. {when} tags the photos that are there, and "
                f"then each one that arrives.{self._how_long()}"
            )
            wanted = self._dialogue.yes("Install it and start it?")
        if not wanted:
            return
        try:
            install(Choice(), [], self._dialogue.say)
            self._runs = True
        except TaggerdError as error:
            if not self._dialogue.asks:
                raise
            self._dialogue.say(f"That did not work: {error}")

    def _how_long(self) -> str:
        """Return how long the photos that are there take; empty if that is not known."""
        if not self._seconds:
            return ""
        counts = [count_photos(root, time.monotonic) for root in self._roots]
        photos = sum(count for count, _ in counts)
        minutes = photos * self._seconds / 60
        took = f"{minutes / 60:.0f} hours" if minutes > _HOURS_FROM else f"{minutes:.0f} minutes"
        first = "" if all(is_all for _, is_all in counts) else "first "
        return f" The {first}{photos:,} take about {took if minutes >= 1 else 'a minute'}."

    def stopped(self) -> None:
        """Say what was written when somebody stopped."""
        written = "The settings are written." if self._written else "Nothing was written."
        self._dialogue.stopped(f"Stopped. {written}")

    def farewell(self) -> None:
        """Say what to do next."""
        self._dialogue.head("Done. What comes next:")
        rows = []
        if not self._model:
            rows.append(("taggerd preflight", "tells whether a model is there, and sees"))
        if not self._runs:
            rows.append(("taggerd scan", "tags the photos that are there"))
            rows.append(("taggerd run", "tags each photo that arrives, until Ctrl-C"))
        rows.append(("taggerd web", "shows photos and words, and lets you mend them"))
        for command, does in rows:
            self._dialogue.say(f"{command:<18} {does}")
        if self._load.config:
            self._dialogue.say(f"Add --config {_short(self._file)} to these.")
        for program in self._programs:
            self._dialogue.say(f"In {program.name}: {program.step}.")
            self._dialogue.say(f"{f'taggerd help {program.key}':<18} has more", indent="     ")

    def _tell(self, label: str, said: str) -> None:
        """Repeat an answer, and keep it for the end."""
        self._said.append((label, said))
        self._dialogue.say(f"{label} {said}")


def offered() -> bool:
    """Ask whether to set taggerd up: there are no settings, and somebody sits at a terminal."""
    if not _is_terminal():
        return False
    if default_file() is not None or any(name.startswith(PREFIX) for name in os.environ):
        return False
    dialogue = Dialogue(asks=True)
    dialogue.say("taggerd gives your photos captions, keywords and descriptions.", indent="")
    dialogue.say("It is not set up yet. That takes about five minutes.", indent="")
    try:
        return dialogue.yes("Set it up now?")
    except EOFError:
        return False


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _folders_of(said: str, offered: Sequence[Path]) -> list[Path]:
    """Return the folders that a person means; none if that is not clear.

    Numbers of those *offered* and paths, with commas between them, or one path, commas and all.
    """
    parts = [part.strip() for part in said.split(",")]
    if not all(part.isdecimal() or part.startswith(("/", "~")) for part in parts):
        parts = [said]
    chosen = []
    for part in parts:
        if part.isdecimal() and not 1 <= int(part) <= len(offered):
            return []
        chosen.append(offered[int(part) - 1] if part.isdecimal() else Path(part).expanduser())
    return options.absolute(list(dict.fromkeys(chosen))) if said else []


def _as_set(root: Root | None, path: Path) -> object:
    """Return an import folder as it is set: some have settings of their own."""
    table = root.model_dump(mode="json", exclude_defaults=True) if root else {}
    return table if len(table) > 1 else path


def _counted(path: Path) -> str:
    count, is_all = count_photos(path, time.monotonic)
    return f"{'' if is_all else 'over '}{count:,} photo{'' if count == 1 else 's'}"


def _short(path: Path) -> str:
    """Return a path for people, with ``~`` for their home."""
    home, shown = str(Path.home()), printable(path)
    return f"~{shown.removeprefix(home)}" if shown.startswith(f"{home}/") else shown
