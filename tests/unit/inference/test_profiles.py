"""Prompt profiles and the questions made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.inference.profiles import ROLES, available_profiles, load_profile
from taggerd.inference.questions import questions

if TYPE_CHECKING:
    from pathlib import Path

OWN = """
system = "Look."
[roles.caption]
prompt = "Say it in one line."
max_tokens = 50
[roles.keywords]
prompt = 'Up to {max_keywords} words: {"keywords": []}'
max_tokens = 60
wants = "keywords"
[roles.description]
prompt = "Say more."
max_tokens = 70
"""


def test_every_shipped_profile_is_complete() -> None:
    """Each shipped profile has the three roles, and asks for keywords where they belong."""
    shipped = available_profiles()
    assert "default" in shipped
    for name in shipped:
        profile = load_profile(name)
        assert set(ROLES) <= profile.roles.keys()
        assert [profile.roles[role].wants for role in ROLES] == ["text", "keywords", "text"]
        assert "{max_keywords}" in profile.roles["keywords"].prompt
        assert profile.description


def test_a_users_profile_is_found_and_wins_over_a_shipped_one(tmp_path: Path) -> None:
    """A file in the user's folder is a profile by its name, also by a shipped one's name."""
    (tmp_path / "mine.toml").write_text(OWN)
    (tmp_path / "default.toml").write_text(OWN.replace("Look.", "Look well."))
    assert load_profile("mine", tmp_path).system == "Look."
    assert load_profile("default", tmp_path).system == "Look well."
    assert load_profile("default").system != "Look well."


def test_a_profile_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    """The message lists what is known and the nearest name; a missing folder is no error."""
    (tmp_path / "mine.toml").write_text(OWN)
    with pytest.raises(ConfigurationError, match=r"did you mean 'default'\?.*default, mine"):
        load_profile("defualt", tmp_path)
    with pytest.raises(ConfigurationError, match=r"no prompt profile '\.\./x'"):
        load_profile("../x", tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"system = ", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (
            OWN.replace("max_tokens = 50", "max_tokens = 'x'").encode(),
            r"roles\.caption\.max_tokens",
        ),
        (OWN.replace("max_tokens = 50", "max_tokens = 1").encode(), r"roles\.caption\.max_tokens"),
        (OWN.replace('prompt = "Say more."', "promt = 'x'").encode(), r"roles\.description\.prom"),
        (OWN.replace("roles.description", "roles.other").encode(), r"needs a table \[roles.descr"),
        (b"system = 'x'", "roles"),
    ],
)
def test_a_damaged_profile_is_one_clear_line(tmp_path: Path, text: bytes, words: str) -> None:
    """The line names the file and what is wrong in it."""
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_profile("mine", tmp_path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_digest_follows_what_is_sent(tmp_path: Path) -> None:
    """It changes with any text that is sent and with nothing else."""
    digests = set()
    for name, text in {
        "a": OWN,
        "b": "description = 'x'\n" + OWN,
        "c": OWN.replace("Look.", "Look!"),
        "d": OWN.replace("Say more.", "Say less."),
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
        digests.add(load_profile(name, tmp_path).digest)
    assert len(digests) == 3
    assert all(len(digest) == 32 for digest in digests)


def test_questions_come_in_order_with_their_models_and_limits(tmp_path: Path) -> None:
    """What the registry gives wins, for it has minded a role's own model; braces stay."""
    (tmp_path / "mine.toml").write_text(OWN)
    profile = load_profile("mine", tmp_path)
    roles = settings.Roles(
        caption=settings.Role(model="mine", max_tokens=99),
        description=settings.Role(prompt="Say {max_keywords} things."),
    )
    asked = questions(roles, profile, "usual", 12, {"keywords": "reg"})
    assert [(q.role, q.model, q.max_tokens, q.wants) for q in asked] == [
        ("caption", "mine", 99, "text"),
        ("keywords", "reg", 60, "keywords"),
        ("description", "usual", 70, "text"),
    ]
    assert asked[1].prompt == 'Up to 12 words: {"keywords": []}'
    assert asked[2].prompt == "Say 12 things."
    assert {q.system for q in asked} == {"Look."}


def test_identity_is_of_what_is_asked(tmp_path: Path) -> None:
    """Model, texts and generation settings make another question."""
    (tmp_path / "mine.toml").write_text(OWN)
    profile = load_profile("mine", tmp_path)

    def identity(model: str = "m", **role: object) -> str:
        roles = settings.Roles(caption=settings.Role(**role))
        return questions(roles, profile, model, 15)[0].identity

    assert len(identity()) == 32
    others: list[dict[str, Any]] = [
        {"max_tokens": 500},
        {"temperature": 0},
        {"top_p": 0.5},
        {"prompt": "Else."},
    ]
    asked = {identity(), identity("n"), *(identity(**other) for other in others)}
    assert len(asked) == 2 + len(others)


def test_generation_settings_come_from_the_role_then_the_backend() -> None:
    """A role's own win, 0 included; without any the profile has the limit and nothing else."""
    profile = load_profile("default")
    backend = settings.Backend(temperature=0.9, top_p=0.5, max_tokens=77)
    roles = settings.Roles.model_validate({"caption": {"temperature": 0, "max_tokens": 33}})
    caption, keywords, _ = questions(roles, profile, "m", 15, generation=backend)
    assert (caption.temperature, caption.top_p, caption.max_tokens) == (0, 0.5, 33)
    assert (keywords.temperature, keywords.top_p, keywords.max_tokens) == (0.9, 0.5, 77)
    plain = questions(settings.Roles(), profile, "m", 15, generation=settings.Backend())[0]
    assert (plain.temperature, plain.top_p) == (None, None)
    assert plain.max_tokens == profile.roles["caption"].max_tokens
