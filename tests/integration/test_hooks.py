"""Hooks of the whole program: what users are told, and what it costs nobody."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
from support.hearing import Listener
from support.program import REPOSITORY, Program, free_port, photo, until

from taggerd.hooks.webhook import signature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Return a program that is told; it may go and come back at its port."""
    serving = Listener(free_port())
    yield serving
    serving.close()


def hook(program: Program, name: str, **values: object) -> None:
    """Set a hook of *program*."""
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        program.environment[f"TAGGERD__HOOKS__{name.upper()}__{key.upper()}"] = text


def script(path: Path, text: str) -> str:
    """Write a shell script, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_webhook_is_told_over_kill_9_and_a_restart(
    taggerd: Program, inbox: Path, listener: Listener
) -> None:
    """It is away while photos are tagged, and the program is killed: nothing is lost."""
    port = listener.port
    listener.close()
    hook(taggerd, "after_photo", url=f"{listener.url}/photo", secret=SECRET)
    hook(taggerd, "after_batch", url=f"{listener.url}/batch")
    taggerd.environment["TAGGERD__HOOKS__IDLE_SECONDS"] = "1"
    daemon = taggerd.start("--input-dir", inbox)
    paths = {str(photo(inbox / f"{n}.jpg", n)) for n in range(5)}
    until(lambda: len(taggerd.records()) == 5)
    until(lambda: "a webhook takes no notices" in taggerd.log())
    daemon.kill()
    daemon.wait()
    back = Listener(port)
    try:
        taggerd.start("--input-dir", inbox)
        until(lambda: {n["data"]["photo"] for n in back.notices("photo.tagged")} == paths)

        def told() -> int:
            return sum(each["data"]["tagged"] for each in back.notices("batch.ended"))

        until(lambda: told() >= 5)  # photos that come slowly are several batches
        assert told() == 5
        for heard in back.heard:
            name, moment = heard.headers["webhook-id"], int(heard.headers["webhook-timestamp"])
            signed = heard.headers.get("webhook-signature")
            assert heard.notice["id"] == name
            if heard.path == "/photo":
                assert signed == signature(SECRET, name, moment, heard.body)
            else:
                assert signed is None
    finally:
        back.close()
    assert SECRET not in taggerd.log()


def test_a_webhook_that_never_answers_holds_up_no_photo(
    taggerd: Program, inbox: Path, listener: Listener
) -> None:
    """Neither tagging, nor the journal, nor the end of the service."""
    taggerd.environment["TAGGERD__HOOKS__TIMEOUT_SECONDS"] = "600"  # else it would be asked again
    listener.held.clear()
    for name in ("after_photo", "after_batch", "on_problem"):
        hook(taggerd, name, url=listener.url)
    daemon = taggerd.start("--input-dir", inbox)
    for number in range(10):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: listener.heard)
    until(lambda: len(taggerd.records()) == 10)
    assert taggerd.stop(daemon) == 0
    assert len(listener.heard) == 1


def test_a_scan_tells_at_its_end(
    taggerd: Program, card: Path, listener: Listener, tmp_path: Path
) -> None:
    """A command and webhooks, before the scan returns; a second scan has nothing to tell."""
    hook(taggerd, "after_photo", url=listener.url)
    command = script(tmp_path / "hook", f'cat >> "{tmp_path}/told"')
    hook(taggerd, "after_batch", command=[command])
    done = taggerd("scan", card)
    assert done.returncode == 0, done.stderr
    assert len(listener.notices("photo.tagged")) == 5
    told = json.loads((tmp_path / "told").read_text())
    assert told["text"] == "5 photos tagged"
    assert told["data"]["folders"] == {str(card): 5}
    assert taggerd("scan", card).returncode == 0
    assert taggerd("scan", "--dry-run", "--retag", card).returncode == 0
    assert len(listener.heard) == 5
    assert json.loads((tmp_path / "told").read_text()) == told


def test_a_command_that_fails_is_a_note(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """The scan says so, and ends as well as without it."""
    hook(taggerd, "after_batch", command=[script(tmp_path / "hook", "echo no luck >&2; exit 4")])
    done = taggerd("scan", card)
    assert done.returncode == 0
    assert "exit code 4: no luck" in done.stderr


@pytest.mark.long
def test_a_problem_is_told_when_it_begins_and_ends(
    taggerd: Program, inbox: Path, listener: Listener
) -> None:
    """An import folder that goes and comes back."""
    hook(taggerd, "on_problem", url=listener.url)
    taggerd.start("--input-dir", inbox)
    inbox.rmdir()
    (began,) = until(lambda: listener.notices("problem.began"))
    assert began["data"]["kind"] == "root"
    assert str(inbox) in began["data"]["subject"]
    inbox.mkdir()
    (ended,) = until(lambda: listener.notices("problem.ended"), 120)
    assert ended["data"]["kind"] == "root"
    assert len(listener.heard) == 2


def test_no_pyproject_sets_a_hook(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """Not even a trusted one: a hook is a command that runs as the user."""
    ran = tmp_path / "ran"
    command = script(card / "hook", f"touch {ran}")
    (card / "pyproject.toml").write_text(
        f'[tool.taggerd.hooks.after_batch]\ncommand = ["{command}"]\n'
        "[tool.taggerd.image]\nmax_edge = 900\n"
    )
    trusted = taggerd("config", "trust", card)
    assert trusted.returncode == 0
    assert "image.max_edge" in trusted.stdout
    assert "after_batch" not in trusted.stdout
    shown = taggerd("config", "show", "--config", card / "pyproject.toml")
    assert "hooks ignored: keys, addresses and hooks are never taken" in shown.stderr
    assert "hooks.after_batch.command = []" in shown.stdout
    assert "image.max_edge = 900" in shown.stdout
    assert taggerd("scan", card, "--config", card / "pyproject.toml").returncode == 0
    assert not ran.exists()


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("command", '["hook"]', "must begin with a program's absolute path"),
        ("url", "ftp://s3cret@here", "must begin with http:// or https://"),
        ("header", "no header s3cret", "must be one header"),
        ("header", "x: s3cret\r\ny: z", "must be one header"),
    ],
)
def test_a_wrong_hook_is_refused_without_its_secret(
    taggerd: Program, key: str, value: str, what: str
) -> None:
    """The message names the setting and says what is right, never what was given."""
    hook(taggerd, "after_batch", **{key: value})
    done = taggerd("config", "show")
    assert done.returncode == 2
    assert f"hooks.after_batch.{key}: {what}" in done.stderr
    assert "s3cret" not in done.stderr


def test_config_show_hides_the_keys_of_hooks(taggerd: Program, tmp_path: Path) -> None:
    """Also those in an address; credentials set them."""
    url = "https://me:s3cret@hook.test/services/T0"
    hook(taggerd, "after_batch", url=url, header="x-api-key: KEY")
    (tmp_path / "hooks.after_batch.secret").write_text("whsec_c2VjcmV0\n")
    taggerd.environment["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    shown = taggerd("config", "show").stdout
    assert 'hooks.after_batch.url = "https://***@hook.test/…"' in shown
    assert "hooks.after_batch.secret = (set, not shown)" in shown
    assert "KEY" not in shown
    assert "s3cret" not in shown
    assert "T0" not in shown


# ── The recipes of docs/hooks.md ─────────────────────────────────────────────────────────────────

RECIPES = re.findall(
    r"^\*\*(\w+)\*\*.*?```toml\n(.*?)```",
    (REPOSITORY / "taggerd/docs/hooks.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


def follow(program: Program, name: str, replaced: dict[str, str]) -> None:
    """Write the recipe *name* into the settings file, with other addresses and paths."""
    text = dict(RECIPES)[name]
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    tomllib.loads(text)
    settings = program.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    settings.chmod(0o600)


def test_every_recipe_is_tried() -> None:
    """One that is added gets a test here."""
    assert [name for name, _ in RECIPES] == ["Immich", "PhotoPrism", "ntfy", "Mail"]


def test_the_recipe_for_immich(taggerd: Program, card: Path, listener: Listener) -> None:
    """POST /api/libraries/{id}/scan with the key, once a batch."""
    follow(taggerd, "Immich", {"http://immich:2283": listener.url})
    assert taggerd("scan", card).returncode == 0
    (heard,) = listener.heard
    assert re.fullmatch(r"/api/libraries/[0-9a-f-]{36}/scan", heard.path)
    assert heard.headers["x-api-key"] == "KEY"
    assert heard.body == b"{}"


def test_the_recipe_for_photoprism(taggerd: Program, card: Path, listener: Listener) -> None:
    """POST /api/v1/index with what its form has."""
    follow(taggerd, "PhotoPrism", {"http://photoprism:2342": listener.url})
    assert taggerd("scan", card).returncode == 0
    (heard,) = listener.heard
    assert heard.path == "/api/v1/index"
    assert heard.headers["authorization"] == "Bearer APP-PASSWORD"
    assert json.loads(heard.body) == {"path": "/", "rescan": False, "cleanup": False}


def broken(card: Path) -> None:
    """Add a photo that fails."""
    (card / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")


def test_the_recipe_for_ntfy(taggerd: Program, card: Path, listener: Listener) -> None:
    """Its template finds the line for people in the JSON."""
    follow(taggerd, "ntfy", {"https://ntfy.sh": listener.url})
    broken(card)
    assert taggerd("scan", card).returncode == 1
    (heard,) = listener.heard
    assert heard.path == "/a-name-that-nobody-guesses?tpl=1&t=taggerd&m=%7B%7B.text%7D%7D"
    assert heard.notice["text"].startswith("1 photo failed, ")


def test_the_recipe_for_mail(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """A whole mail reaches sendmail."""
    text = (REPOSITORY / "taggerd/docs/hooks.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    mailer = tmp_path / "taggerd-mail"
    mailer.write_text(program)
    mailer.chmod(0o755)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    script(bin_folder / "sendmail", f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/mail')
    taggerd.environment["PATH"] = f"{bin_folder}:{_path()}"
    follow(taggerd, "Mail", {"/usr/local/bin/taggerd-mail": str(mailer)})
    broken(card)
    done = taggerd("scan", card)
    assert done.returncode == 1, done.stderr
    assert "a hook's command failed" not in done.stderr
    mail = (tmp_path / "mail").read_text()
    assert (tmp_path / "arguments").read_text().split() == ["-t", "-oi"]
    assert "To: you@example.org\n" in mail
    assert "Subject: taggerd: 1 photo failed, " in mail.replace("\n ", " ")


def _path() -> str:
    python = shutil.which("python3")
    assert python
    return f"{python.rpartition('/')[0]}:/usr/bin:/bin"
