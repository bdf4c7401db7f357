"""``taggerd setup`` as a photographer meets it: at a terminal of 80 columns."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, photo
from support.terminal import COLUMNS, CTRL_C, Terminal, terminal

from taggerd.inference import describer
from taggerd.settings import display
from taggerd.settings.configuration import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import Reply

NOBODY = "http://127.0.0.1:9/v1"
GOOD, BLIND = "qwen2.5vl:7b", "llava-broken:7b"


class Person:
    """Somebody with a home, some pictures, and nothing set up."""

    def __init__(self, home: Path) -> None:
        """Move into *home*."""
        self.home = home
        self.pictures = home / "Pictures"
        self._program = Program(home)
        self.kept: dict[str, str] = {}
        """More of her environment."""

    @property
    def file(self) -> Path:
        """Her settings."""
        return self.home / "config" / "taggerd" / "taggerd.toml"

    @property
    def environment(self) -> dict[str, str]:
        """Her environment: no setting is in it."""
        found = self._program.full_environment()
        kept = {name: value for name, value in found.items() if not name.startswith("TAGGERD__")}
        return {**kept, "LANG": "en_GB.UTF-8", **self.kept}

    def at_terminal(self, *arguments: object) -> _Run:
        """Type a command."""
        return terminal(self._program.command(*arguments), self.environment, self.home)

    def in_script(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command where nobody can answer."""
        return subprocess.run(
            self._program.command(*arguments),
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def sidecars(self) -> list[str]:
        """Return the sidecars beside her pictures."""
        return sorted(path.name for path in self.home.rglob("*.xmp"))


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    _Run = AbstractContextManager[Terminal]


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Return somebody with three pictures."""
    for number in range(3):
        photo(tmp_path / "Pictures" / f"{number}.jpg", number)
    return Person(tmp_path)


@pytest.fixture
def backend() -> Iterator[CountingBackend]:
    """Serve two models whose names say that they see; one of them does."""
    served = CountingBackend()

    def script(path: str, body: bytes) -> Reply | None:
        if path.endswith("/models"):
            models = [{"id": BLIND}, {"id": GOOD}]
            return 200, {}, json.dumps({"data": models}).encode()
        asked = json.loads(body)
        status, answer = describer.respond(
            "POST", path, json.dumps({**asked, "model": describer.MODEL}).encode()
        )
        if asked["model"] == BLIND and b"image_url" in body:
            answer["choices"][0]["message"]["content"] = "purple"  # type: ignore[index]  # of the describer's shape
        return status, {}, json.dumps({**answer, "model": asked["model"]}).encode()

    served.script = script
    yield served
    served.close()


def fits(shown: Terminal) -> bool:
    """Say whether nothing is wider than the terminal, but a path that cannot be broken."""
    return all(len(line) <= COLUMNS for line in shown.text.splitlines() if "/" not in line)


def test_from_nothing_to_a_tagged_photo_with_a_model_that_sees(
    person: Person, backend: CountingBackend
) -> None:
    """The probe chooses the model, not its name; the words are shown before anything is written."""
    with person.at_terminal("setup", "--base-url", NOBODY) as shown:
        shown.until("~/Pictures  3 photos  your pictures")
        shown.answer("another folder [1]")
        shown.answer("commas between them [7]", "2")
        shown.answer("[en-GB]")
        shown.answer("Number, or the address", f"127.0.0.1:{backend.port}")
        shown.until(f"{BLIND}")
        shown.until("does not see pictures")
        shown.until(f"{GOOD}")
        shown.until("sees (")
        shown.until(f"{GOOD} will look at your photos")
        shown.answer("Ask about 3 of your photos now? Nothing is written.")
        shown.until("Caption: ")
        shown.until("Keywords: ")
        shown.until("s a photo")
        assert person.sidecars() == []
        assert not person.file.exists()
        shown.answer("Write them?")
        shown.until("taggerd web")
        assert shown.end() == 0
        assert fits(shown), shown.text
        assert shown.keys < 40
    settings = load(config=person.file).settings
    assert settings.backend.model == GOOD
    assert settings.backend.base_url == backend.base_url
    assert settings.sidecar.naming == "full"
    assert settings.metadata.target == "sidecar"
    assert settings.metadata.language == "en-GB"
    assert [root.path for root in settings.arrivals.roots] == [person.pictures]
    text = person.file.read_text()
    assert text.count("\n# ") > 150, "the settings are explained"
    assert person.sidecars() == []
    done = person.in_script("scan")
    assert done.returncode == 0, done.stderr
    assert person.sidecars() == ["0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp"]


def test_taggerd_alone_offers_it_where_nothing_is_set_up(person: Person) -> None:
    """In a terminal; a no shows the help. Nobody is asked in a script, or who has settings."""
    with person.at_terminal() as shown:
        shown.answer("Set it up now? [Y/n]")
        shown.until("Where do your photos arrive?")
        shown.type(CTRL_C)
        assert shown.end() == 130
    with person.at_terminal() as shown:
        shown.answer("Set it up now? [Y/n]", "n")
        shown.until("Usage: taggerd")
        assert shown.end() == 0
    assert "Set it up" not in person.in_script().stdout
    person.file.parent.mkdir(parents=True)
    person.file.touch()
    with person.at_terminal() as shown:
        shown.until("Usage: taggerd")
        assert shown.end() == 0
        assert "Set it up" not in shown.text


def test_without_a_backend_it_names_what_to_load_with_sizes(person: Person) -> None:
    """Nobody is left with an error: what to pull, another machine, without a model, or later."""
    with person.at_terminal("setup", "--base-url", NOBODY, "--program", "none") as shown:
        shown.answer("another folder [1]")
        shown.answer("[en-GB]")
        shown.until("ollama pull qwen2.5vl:7b")
        shown.until("GB")
        shown.until("load a model later")
        shown.answer("Number, or the address", "4")
        shown.answer("Write them?")
        assert shown.end() == 0
        assert "taggerd preflight" in shown.text
        assert fits(shown), shown.text
    assert load(config=person.file).settings.arrivals.roots


def test_a_model_that_is_blind_is_never_chosen(person: Person, backend: CountingBackend) -> None:
    """It answers, and its name says that it sees: the probe says otherwise, and that is shown."""
    with person.at_terminal(
        "setup", "--base-url", backend.base_url, "--model", BLIND, "--program", "none"
    ) as shown:
        shown.answer("another folder [1]")
        shown.answer("[en-GB]")
        shown.until("does not see pictures")
        shown.until("Load a model that sees pictures.")
        shown.answer("Number, or the address", "3")
        shown.until("no objects")
        shown.answer("Nothing is written.", "n")
        shown.answer("Write them?")
        assert shown.end() == 0
    settings = load(config=person.file).settings
    assert settings.backend.base_url == "builtin:"
    assert settings.backend.model == ""


@pytest.mark.parametrize(
    ("programs", "answer", "target"),
    [("1", "", "embed"), ("1,2", "", "both"), ("1", "n", "sidecar")],
)
def test_lightroom_gets_the_words_into_jpeg_files_and_is_told_why(
    person: Person, programs: str, answer: str, target: str
) -> None:
    """It reads no sidecar of a JPEG: photos are changed only after a yes to that question."""
    with person.at_terminal(
        "setup", "--base-url", "builtin:", "--preview", "0", "--language", "en"
    ) as shown:
        shown.answer("another folder [1]")
        shown.answer("commas between them", programs)
        shown.until("shows only what is inside the file")
        shown.answer("Write words into JPEG files? [Y/n]", answer)
        shown.answer("Write them?")
        assert shown.end() == 0
        assert "Metadata > Read Metadata from File" in " ".join(shown.text.split())
        assert fits(shown), shown.text
    settings = load(config=person.file).settings
    assert settings.metadata.target == target
    assert settings.sidecar.naming == "auto"


@pytest.mark.long
def test_of_two_models_that_see_a_person_chooses(person: Person, backend: CountingBackend) -> None:
    """The first is what Enter takes; what was tried is not hidden."""

    def both(path: str, body: bytes) -> Reply | None:
        if path.endswith("/models"):
            return 200, {}, json.dumps({"data": [{"id": BLIND}, {"id": GOOD}]}).encode()
        asked = {**json.loads(body), "model": describer.MODEL}
        status, answer = describer.respond("POST", path, json.dumps(asked).encode())
        return status, {}, json.dumps(answer).encode()

    backend.script = both
    with person.at_terminal(
        "setup", "--base-url", backend.base_url, "--program", "none", "--preview", "0"
    ) as shown:
        shown.answer("another folder [1]")
        shown.answer("[en-GB]")
        shown.until("These see pictures:")
        shown.answer("Which one? [1]", "2")
        shown.answer("Write them?")
        assert shown.end() == 0
        assert fits(shown), shown.text
    assert load(config=person.file).settings.backend.model == GOOD


def test_yes_takes_the_defaults_and_a_script_has_to_say_it(
    person: Person, backend: CountingBackend
) -> None:
    """Each question has a switch; without --yes and a terminal it waits for nobody."""
    waits = person.in_script("setup")
    assert waits.returncode == 2
    assert "--yes" in waits.stderr
    assert not person.file.exists()
    done = person.in_script(
        "setup", "--yes", "--folder", person.home / "new", "--program", "digikam",
        "--program", "lightroom", "--embed", "--language", "pt-br", "--preview", "1",
        "--base-url", backend.base_url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    settings = load(config=person.file).settings
    assert [root.path for root in settings.arrivals.roots] == [person.home / "new"]
    assert (person.home / "new").is_dir()
    assert settings.metadata.target == "both"
    assert settings.metadata.language == "pt-BR"
    assert settings.metadata.fields.keywords == [
        "dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList",
    ]  # fmt: skip
    assert settings.backend.model == GOOD
    before = person.file.read_bytes()
    again = person.in_script("setup", "--yes", "--preview", "0")
    assert again.returncode == 0, again.stderr
    assert "says all of this already" in again.stdout
    assert person.file.read_bytes() == before


@pytest.mark.parametrize("question", ["another folder", "Number, or the address", "Write them?"])
def test_ctrl_c_leaves_nothing_behind(person: Person, question: str) -> None:
    """Wherever it comes: no settings, no half of them, no state, and that is said."""
    before = {path for path in person.home.rglob("*") if "runtime" not in path.parts}
    with person.at_terminal("setup", "--base-url", NOBODY, "--program", "none") as shown:
        for each, answer in (
            ("another folder", str(person.home / "new")),
            ("Make it?", ""),
            ("[en-GB]", ""),
            ("Number, or the address", "4"),
        ):
            if each == question:
                break
            shown.answer(each, answer)
        shown.until(question)
        shown.type(CTRL_C)
        shown.until("Stopped. Nothing was written.")
        assert shown.end() == 130
        assert "Traceback" not in shown.text
    assert {path for path in person.home.rglob("*") if "runtime" not in path.parts} == before


def test_ctrl_c_in_the_preview_leaves_nothing_behind(person: Person) -> None:
    """Photos are in flight then, in processes of their own and a folder that has to go."""
    scratch = person.home / "tmp"
    scratch.mkdir()
    person.kept["TMPDIR"] = str(scratch)
    with person.at_terminal(
        "setup", "--base-url", "builtin:", "--program", "none", "--language", "en"
    ) as shown:
        shown.answer("another folder [1]")
        shown.answer("Nothing is written. [Y/n]")
        shown.until("Asking about 3 photos")
        shown.type(CTRL_C)
        shown.until("Stopped. Nothing was written.")
        assert shown.end() == 130
        assert "Traceback" not in shown.text
    assert list(scratch.iterdir()) == []
    assert not person.file.exists()
    assert person.sidecars() == []


def test_a_settings_file_that_is_named_is_made(person: Person) -> None:
    """The user's own is neither read nor written."""
    person.file.parent.mkdir(parents=True)
    person.file.write_text(MINE)
    named = person.home / "other.toml"
    done = person.in_script(
        "setup", "--yes", "--config", named, "--base-url", "builtin:", "--preview", "0"
    )
    assert done.returncode == 0, done.stderr
    assert load(config=named).settings.backend.timeout_seconds != 60
    assert person.file.read_text() == MINE


MINE = """\
# Ann's settings. Do not touch!
[backend]
base_url = "builtin:"   # until the graphics card is here
timeout_seconds = 60    # seconds

[keywords]
stop = ["photo"]  # of course it is
"""


def test_settings_that_exist_change_only_in_what_was_answered(person: Person) -> None:
    """What changes is shown as it is and as it will be; comments and the rest stay."""
    person.file.parent.mkdir(parents=True)
    person.file.write_text(MINE)
    with person.at_terminal("setup", "--preview", "0") as shown:
        shown.answer("another folder [1]")
        shown.answer("commas between them [7]")
        shown.answer("[en-GB]", "de")
        shown.until("no objects")
        shown.until("this changes, and nothing else:")
        shown.until("- metadata.language")
        shown.until("from nothing")
        shown.answer("Write them?")
        assert shown.end() == 0
    folder = json.dumps(str(person.pictures))
    assert person.file.read_text() == (
        f'{MINE}\n[arrivals]\nroots = [{folder}]\n\n[metadata]\nlanguage = "de"\n'
    )


@pytest.mark.long
def test_a_folder_is_added_to_those_that_are_set(person: Person) -> None:
    """What is set for one folder alone stays with it."""
    person.file.parent.mkdir(parents=True)
    root = {"path": str(person.home / "old"), "mode": "poll", "ignore": ["*_small.jpg"]}
    (person.home / "old").mkdir()
    person.file.write_text(f"[arrivals]\nroots = [{display.literal(root)}]  # the share\n")
    with person.at_terminal(
        "setup", "--preview", "0", "--base-url", "builtin:", "--program", "none"
    ) as shown:
        shown.until("as it is set")
        shown.answer("another folder [1]", "1, 2")
        shown.answer("[en-GB]")
        shown.answer("Write them?")
        assert shown.end() == 0
    old, new = load(config=person.file).settings.arrivals.roots
    assert old.mode == "poll"
    assert old.ignore == ["*_small.jpg"]
    assert new.path == person.pictures
    assert "# the share" in person.file.read_text()


@pytest.mark.long
def test_a_no_at_the_end_writes_nothing(person: Person) -> None:
    """The settings that exist are the very bytes."""
    person.file.parent.mkdir(parents=True)
    person.file.write_text(MINE)
    with person.at_terminal("setup", "--preview", "0", "--program", "darktable") as shown:
        shown.answer("another folder [1]")
        shown.answer("[en-GB]")
        shown.answer("Write them?", "n")
        shown.until("Nothing was written.")
        assert shown.end() == 0
    assert person.file.read_text() == MINE


def test_answers_that_cannot_be_used_are_asked_for_again(person: Person) -> None:
    """A number that is not offered, a file, a language that nobody speaks: what to type is said."""
    with person.at_terminal("setup", "--preview", "0", "--base-url", "builtin:") as shown:
        shown.answer("another folder [1]", "7")
        shown.until("Please type a number from 1 to 1, or a path.")
        shown.answer("another folder [1]", str(person.pictures / "0.jpg"))
        shown.until("that")  # behind its path, which is of any length: the line may end anywhere
        shown.until("another folder [1]")
        assert "that is a file, not a folder" in " ".join(shown.text.split())
        shown.type("1\r")
        shown.answer("commas between them", "9")
        shown.until("Please type numbers from 1 to 7.")
        shown.answer("commas between them", "7")
        shown.answer("[en-GB]", "klingonish")
        shown.until("unknown language")
        shown.answer("[en-GB]", "en")
        shown.answer("Write them?", "what")
        shown.until("Please answer y or n")
        shown.answer("Write them?", "YES")
        assert shown.end() == 0


def test_a_key_is_asked_for_and_never_sent_to_another_address(
    person: Person, backend: CountingBackend
) -> None:
    """The key is not shown while it is typed; it goes to the address that wants it alone."""
    backend.key = "sk-secret"
    address = f"127.0.0.1:{backend.port}"
    with person.at_terminal(
        "setup", "--base-url", NOBODY, "--program", "none", "--language", "en", "--preview", "0"
    ) as shown:
        shown.answer("another folder [1]")
        shown.answer("Number, or the address", address)
        shown.answer_unseen("API key, or Enter for none", "sk-secret")
        shown.until(f"{GOOD} will look")
        shown.answer("Write them?")
        assert shown.end() == 0
        assert "sk-secret" not in shown.text
    settings = load(config=person.file).settings
    assert settings.backend.api_key is not None
    assert settings.backend.api_key.get_secret_value() == "sk-secret"
    assert person.file.stat().st_mode & 0o077 == 0
    other = CountingBackend()
    try:
        done = person.in_script("setup", "--yes", "--base-url", other.base_url, "--preview", "0")
        assert done.returncode == 2
        assert "--api-key" in done.stderr
        assert "sk-secret" not in done.stderr + done.stdout
        assert load(config=person.file).settings.backend.base_url == backend.base_url
    finally:
        other.close()


@pytest.mark.long
def test_what_the_environment_sets_is_told(person: Person) -> None:
    """An answer without effect is no silent one."""
    person.kept["TAGGERD__METADATA__LANGUAGE"] = "fr"
    done = person.in_script(
        "setup", "--yes", "--base-url", "builtin:", "--preview", "0", "--language", "de"
    )
    assert done.returncode == 0, done.stderr
    assert "metadata.language has no effect: environment sets it" in done.stdout


def test_help_names_a_switch_for_each_question(person: Person) -> None:
    """Whatever can be asked can be said."""
    shown = person.in_script("setup", "--help").stdout
    for switch in ("--folder", "--program", "--embed", "--language", "--base-url", "--model",
                   "--api-key", "--preview", "--service", "--yes"):  # fmt: skip
        assert switch in shown


def test_the_file_is_the_one_that_explains_every_setting(person: Person) -> None:
    """Apart from the answers it is what `taggerd config init` writes."""
    done = person.in_script("setup", "--yes", "--base-url", "builtin:", "--preview", "0")
    assert done.returncode == 0, done.stderr
    new, plain = person.file.read_text().splitlines(), display.template().splitlines()
    assert len(new) == len(plain)
    assert {a for a, b in zip(new, plain, strict=True) if a != b} == {
        f"roots = {json.dumps([str(person.pictures)])}",
        'base_url = "builtin:"',
        'language = "en-GB"',
    }
