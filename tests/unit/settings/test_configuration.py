"""Settings: their layers, their mistakes, their file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings import display, sources
from taggerd.settings.configuration import check_folders, load
from taggerd.settings.permissions import user_name
from taggerd.settings.project import trust
from taggerd.settings.tree import default_state_directory

SHIPPED = Path(__file__).parents[3] / "config" / "taggerd.toml"


@pytest.fixture(autouse=True)
def _no_other_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the layers that a test makes are there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "no-system-file.toml")
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    """Write a file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_each_layer_wins_over_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line > environment > credentials > file > pyproject > default, and each is named."""
    write(
        tmp_path / "pyproject.toml",
        '[tool.taggerd.backend]\nmodel = "pyproject"\nmax_concurrency = 9\ntimeout_seconds = 9\n'
        'base_url = "http://pyproject/v1"\n[tool.taggerd.image]\nmax_edge = 900\n',
    )
    trust(tmp_path)
    file = write(
        tmp_path / "t.toml",
        '[backend]\nmodel = "file"\nmax_concurrency = 8\ntimeout_seconds = 8\n'
        'base_url = "http://file/v1"\n',
    )
    write(tmp_path / "cred" / "backend.model", "credential\n")
    write(tmp_path / "cred" / "backend.max_concurrency", "7")
    write(tmp_path / "cred" / "backend.timeout_seconds", "7")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
    monkeypatch.setenv("TAGGERD__BACKEND__MODEL", "environment")
    monkeypatch.setenv("TAGGERD__BACKEND__MAX_CONCURRENCY", "6")
    loaded = load({"backend": {"model": "switch"}}, config=file)
    backend, origins = loaded.settings.backend, loaded.origins
    assert (backend.model, origins["backend.model"]) == ("switch", "command line")
    assert (backend.max_concurrency, origins["backend.max_concurrency"]) == (6, "environment")
    assert backend.timeout_seconds == 7
    assert origins["backend.timeout_seconds"] == "credential backend.timeout_seconds"
    assert (backend.base_url, origins["backend.base_url"]) == ("http://file/v1", str(file))
    assert loaded.settings.image.max_edge == 900
    assert origins["image.max_edge"].endswith("pyproject.toml [tool.taggerd]")
    assert origins["image.quality"] == "default"


def test_the_users_own_file_is_found(tmp_path: Path) -> None:
    """Without --config, $XDG_CONFIG_HOME/taggerd/taggerd.toml is read."""
    write(tmp_path / "config" / "taggerd" / "taggerd.toml", "[image]\nmax_edge = 700\n")
    assert load().settings.image.max_edge == 700


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[backend]\nbse_url = 'x'\n",
            r"t\.toml: backend\.bse_url: .*did you mean backend\.base_url\?",
        ),
        ("[arivals]\nroots = []\n", r"t\.toml: arivals: .*did you mean arrivals\?"),
        ("[image]\nmax_edge = 'wide'\n", r"t\.toml: image\.max_edge: .*pixels, not 'wide'$"),
        ("[image]\nmax_edge = 1\n", r"t\.toml: image\.max_edge: .*128.*not 1$"),
        ("[arrivals]\nroots = ['relative']\n", r"arrivals\.roots\.0\.path: .*absolute"),
        (
            "[arrivals]\nroots = [{path = '/a', mod = 'poll'}]\n",
            r"roots\.0\.mod: .*no such setting",
        ),
        ("[arrivals]\nimage_extensions = ['jpg', 'psd']\n", r"cannot read \.psd"),
        (
            "[backend]\nendpoints = 'http://a/v1'\n",
            r"endpoints: must be a list, like \[.+\]$",
        ),
        ("[backend]\nendpoints = [5]\n", r"endpoints\.0: must be a table, like \{… = …\}$"),
        (
            "[backend]\nendpoints = [{base_url = 'http://a/v1', key = 'x'}]\n",
            r"endpoints\.0\.key: no such setting$",
        ),
        ("[keywords]\nvocabulary = 3\n", r"keywords\.vocabulary: must be a path, not 3$"),
        ("[backend\n", r"t\.toml: not valid TOML: .*line 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_remedy(
    tmp_path: Path, text: str, complaint: str
) -> None:
    """Whatever is wrong in a file is said in one line: where, which key, what instead."""
    file = write(tmp_path / "t.toml", text)
    with pytest.raises(ConfigurationError) as caught:
        load(config=file)
    assert re.search(complaint, str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "setting", "read"),
    [
        ("ARRIVALS__IMAGE_EXTENSIONS", "jpg,png", "arrivals.image_extensions", ["jpg", "png"]),
        ("ARRIVALS__IMAGE_EXTENSIONS", '["jpg"]', "arrivals.image_extensions", ["jpg"]),
        ("ARRIVALS__IGNORE", "*_preview.jpg, tmp/*", "arrivals.ignore", ["*_preview.jpg", "tmp/*"]),
        ("KEYWORDS__STOP", "photo", "keywords.stop", ["photo"]),
        ("PROMPTS__CONTEXT", "date,folder", "prompts.context", ["date", "folder"]),
        ("METADATA__FIELDS__KEYWORDS", "dc:subject", "metadata.fields.keywords", ["dc:subject"]),
        ("SCHEDULE__ACTIVE", "22:00-07:00", "schedule.active", ["22:00-07:00"]),
        (
            "SCHEDULE__ACTIVE",
            "Mon-Fri 20:00-07:00, Sat,Sun 00:00-24:00",
            "schedule.active",
            ["Mon-Fri 20:00-07:00", "Sat,Sun 00:00-24:00"],
        ),
    ],
)
def test_a_list_in_the_environment_may_be_typed_as_people_do(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: str, read: list[str]
) -> None:
    """Texts with commas between them; JSON works as well."""
    monkeypatch.setenv(f"TAGGERD__{name}", value)
    found: object = load().settings
    for key in setting.split("."):
        found = getattr(found, key)
    assert found == read


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("TAGGERD__BACKEND__BASEURL", "x", "did you mean TAGGERD__BACKEND__BASE_URL?"),
        ("TAGGERD__BCKEND__MODEL", "x", "no such setting"),
        ("TAGGERD__ARRIVALS__ROOTS", "/srv", "JSON"),
        ("TAGGERD__KEYWORDS__STOP", '["a"', "JSON"),
        ("TAGGERD__IMAGE__MAX_EDGE", "wide", "environment: image.max_edge"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    """A variable that leads nowhere, or cannot be read, is an error and not silence."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        load()


def test_a_credential_that_leads_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt credential does not silently give no key."""
    write(tmp_path / "cred" / "backend.apikey", "secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
    with pytest.raises(ConfigurationError, match=r"backend\.api_key") as caught:
        load()
    assert "secret" not in str(caught.value)


def test_a_credential_is_its_file_without_the_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``echo`` leaves does not get into a key; a name without a dot is another program's."""
    write(tmp_path / "cred" / "backend.api_key", "s3cret key \r\n")
    write(tmp_path / "cred" / "other", "")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
    key = load().settings.backend.api_key
    assert key is not None
    assert key.get_secret_value() == "s3cret key"


def test_no_credentials_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without them starts."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nonexistent")
    assert load().settings.backend.api_key is None


def test_a_binary_credential_is_refused_without_quoting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file and not its content."""
    write(tmp_path / "cred" / "backend.api_key", "").write_bytes(b"\xff\xfesecret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        load()
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """--config must name a file; there is no silent fall-back."""
    with pytest.raises(ConfigurationError, match=r"no\.toml: cannot read"):
        load(config=tmp_path / "no.toml")


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """``config show`` says that a key is set, nothing more; a bad one is not quoted."""
    file = write(tmp_path / "t.toml", '[backend]\napi_key = "sk-12345"\n')
    rows = {row.key: row for row in display.rows(load(config=file))}
    assert rows["backend.api_key"].text == "(set, not shown)"
    assert rows["backend.api_key"].value == "(set, not shown)"
    assert "sk-12345" not in str(load(config=file).settings.model_dump(mode="json"))
    write(file, "[backend]\napi_key = 12345\n")
    with pytest.raises(ConfigurationError) as caught:
        load(config=file)
    assert "12345" not in str(caught.value)


def test_the_address_of_a_shared_ledger_is_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a password: a credential sets it, nothing shows it; a bad one is not quoted."""
    address = "postgresql://taggerd:s3cret@db.example/taggerd"
    write(tmp_path / "cred" / "ledger.url", f"{address}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
    found = load()
    url = found.settings.ledger.url
    assert url is not None
    assert url.get_secret_value() == address
    shown = {row.key: row for row in display.rows(found)}
    assert shown["ledger.url"].text == "(set, not shown)"
    assert "s3cret" not in repr(found)
    assert "s3cret" not in str(found.settings.model_dump(mode="json"))
    write(tmp_path / "cred" / "ledger.url", "mysql://taggerd:s3cret@db.example/taggerd")
    with pytest.raises(ConfigurationError, match="must begin with postgresql://") as caught:
        load()
    assert "s3cret" not in str(caught.value)


def test_the_environment_names_a_shared_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """``TAGGERD__LEDGER__URL`` is one of its sources; empty means the ledger of this machine."""
    monkeypatch.setenv("TAGGERD__LEDGER__URL", "postgresql:///taggerd")
    url = load().settings.ledger.url
    assert url is not None
    assert url.get_secret_value() == "postgresql:///taggerd"
    monkeypatch.setenv("TAGGERD__LEDGER__URL", "")
    assert load().settings.ledger.url is None


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    """``config check`` names file, key and folder of an import folder that is missing."""
    file = write(tmp_path / "t.toml", f'[arrivals]\nroots = ["{tmp_path}/card"]\n')
    with pytest.raises(ConfigurationError, match=r"t\.toml: arrivals\.roots: .*/card"):
        check_folders(load(config=file), allow_offline=False)
    check_folders(load(config=file), allow_offline=True)


def test_the_shipped_file_is_the_generated_one() -> None:
    """config/taggerd.toml holds every setting as the program knows it."""
    assert SHIPPED.read_text(encoding="utf-8") == display.template()


def test_every_line_of_the_template_can_be_switched_on(tmp_path: Path) -> None:
    """Removing every # gives a file that is valid and means exactly the defaults."""
    switched_on = re.sub(r"^#(\w+ = )", r"\1", display.template(), flags=re.MULTILINE)
    file = write(tmp_path / "t.toml", switched_on)
    loaded = load(config=file)
    assert loaded.settings.model_dump(mode="json") == load().settings.model_dump(mode="json")
    assert set(loaded.origins.values()) == {str(file)}


def test_a_users_commands_find_the_state_of_their_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it is stopped: else they would begin a queue of their own and pay again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    assert default_state_directory(tmp_path) == tmp_path / "own" / "taggerd"
    served = tmp_path / f"taggerd-{user_name(os.geteuid())}"
    served.mkdir()
    assert default_state_directory(tmp_path) == served
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/taggerd")
    assert default_state_directory(tmp_path) == Path("/var/lib/taggerd")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_nobodys_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name alone says nothing: the folder has to be this user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    served = tmp_path / f"taggerd-{user_name(0)}"
    served.mkdir()
    os.chown(served, 65534, 65534)
    assert default_state_directory(tmp_path) == tmp_path / "own" / "taggerd"
