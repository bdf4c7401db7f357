"""Questions of the user's own: what they wait for, what is put into them, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.inference.profiles import Profile, RolePrompt, load_profile
from taggerd.inference.questions import HINTS, Question, check_own, questions
from taggerd.inference.service import InferenceService
from taggerd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.photo import Picture

ALT = {"prompt": "For {date}: {caption} {{x}}", "fields": ["Iptc4xmpCore:ExtDescrAccessibility"]}
TOLD = {"place": "near Moab, Utah, United States", "date": "June 2024"}


def roles(**own: Any) -> settings.Roles:  # noqa: ANN401 - tables as the settings file has them
    """Return the settings' tables with roles of the user's own."""
    return settings.Roles.model_validate(own)


def asked(name: str, **own: Any) -> Question:  # noqa: ANN401 - see above
    """Return the question of one role."""
    made = questions(roles(**own), load_profile("default"), "m", 15)
    return next(question for question in made if question.role == name)


def test_own_roles_come_after_the_three_in_their_order() -> None:
    """With their own model, limits and prompt; a prompt may be the profile's."""
    shipped = load_profile("default")
    prompt = RolePrompt(prompt="List {caption}.", form="Answer so.", max_tokens=33)
    profile = replace(shipped, roles={**shipped.roles, "b": prompt})
    tables = roles(
        z={"prompt": "Z", "fields": [], "model": "own", "max_characters": 50},
        b={"fields": []},
    )
    made = questions(tables, profile, "usual", 15, {"b": "reg"}, language="fr")
    assert [q.role for q in made] == ["caption", "keywords", "description", "z", "b"]
    z, b = made[3:]
    assert (z.model, z.longest, z.max_tokens, z.wants) == ("own", 50, 400, "text")
    assert (b.model, b.longest, b.max_tokens) == ("reg", 1000, 33)
    assert b.prompt == "List {caption}. Answer so. Write in French."


def test_a_question_waits_for_the_answers_it_speaks_of() -> None:
    """Those alone; once they are in it, it waits for nothing."""
    alt = asked("alt", alt=ALT)
    assert alt.waits_for(["caption", "keywords", "alt"]) == {"caption"}
    assert alt.waits_for(["keywords"]) == frozenset()
    ready = alt.ready({"caption": "Two {dogs}", "keywords": "dog"}, TOLD)
    assert ready.prompt == ready.text == "For June 2024: Two {dogs} {x}"
    assert ready.waits_for(["caption"]) == frozenset()
    assert ready.ready({}, {}).prompt == ready.prompt
    unknown = alt.ready({"caption": "Dogs"}, {})
    assert unknown.prompt == "For unknown: Dogs {x}"


def test_identity_follows_what_was_put_in_and_no_hints() -> None:
    """Another caption makes another question; another place or date besides it does not."""
    alt = asked("alt", alt=ALT | {"prompt": "More than: {caption}"})
    one = alt.ready({"caption": "Dogs"}, {})
    assert one.identity == alt.ready({"caption": "Dogs"}, TOLD).identity
    assert one.identity != alt.ready({"caption": "Cats"}, {}).identity
    caption = asked("caption")
    assert caption.ready({}, TOLD).identity == caption.ready({}, {}).identity == caption.identity


def test_hints_stand_between_the_picture_and_the_task() -> None:
    """The same words before each of a photo's questions; none without context."""
    caption, keywords = (asked(name).ready({}, TOLD) for name in ("caption", "keywords"))
    said = HINTS.format("place: near Moab, Utah, United States; date: June 2024")
    assert caption.text == f"{said}\n\n{caption.prompt}"
    assert keywords.text.startswith(said)
    assert asked("caption").ready({}, {}).text == asked("caption").prompt


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        (
            {"alt": ALT | {"prompt": "{capton}"}},
            "roles.alt.prompt: unknown placeholder {capton}; did you mean {caption}?",
        ),
        ({"alt": ALT | {"prompt": "{alt}"}}, "roles.alt.prompt: unknown placeholder {alt}"),
        (
            {"a": ALT | {"prompt": "{b}"}, "b": ALT},  # only what comes before is known
            "roles.a.prompt: unknown placeholder {b}",
        ),
        (
            {"alt": ALT | {"prompt": "{folder}"}},
            "roles.alt.prompt: {folder} is not available: add 'folder' to prompts.context",
        ),
        (
            {"alt": {"fields": []}},
            "roles.alt.prompt: missing, and prompt profile 'default' has none",
        ),
        ({"alt": ALT | {"prompt": "{caption"}}, "roles.alt.prompt: unbalanced braces"),
        (
            {"a": ALT, "b": ALT},
            "roles.b.fields: Iptc4xmpCore:ExtDescrAccessibility is already used by roles.a.fields",
        ),
        (
            {"a": ALT | {"fields": ["dc:title"]}},
            "roles.a.fields: dc:title is already used by metadata.fields.caption: remove one",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line(own: dict[str, Any], complaint: str) -> None:
    """A prompt that cannot be filled, and a field with two masters, are named before any photo."""
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as caught:
        check_own(roles(**own), load_profile("default"), ["place", "date"], settings.Fields())
    assert "\n" not in str(caught.value)


def test_what_can_be_asked_passes() -> None:
    """Earlier own roles, context that is told, literal braces, and a field taken out elsewhere."""
    own = roles(
        a=ALT | {"prompt": "{place} {{folder}} {keywords}"},
        b=ALT | {"prompt": "{a}", "fields": ["dc:title"]},
    )
    fields = settings.Fields(caption=["photoshop:Headline"])
    check_own(own, load_profile("default"), ["place"], fields)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            {"captions": {"prompt": "x"}},
            r"did you mean 'caption'\?\): a role of your own needs fiel",
        ),
        ({"Alt": ALT}, "cannot be the name of a role"),
        ({"place": ALT}, "cannot be the name of a role"),
        ({"metadata": ALT}, "cannot be the name of a role"),
        ({"alt": ALT | {"fields": ["crs:Exposure2012"]}}, "crs:Exposure2012"),
        ({"alt": ALT | {"fields": ["Iptc4xmpExt:DigitalSourceType"]}}, "DigitalSourceType"),
        ({"alt": ALT | {"fields": ["dc:subject"]}}, "dc:subject"),
        ({"alt": ALT | {"promt": "x"}}, "promt"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], complaint: str) -> None:
    """Names that mean something else, fields that are not for texts, settings that are none."""
    with pytest.raises(ValidationError, match=complaint):
        roles(**table)


@pytest.mark.parametrize("prompt", [ALT["prompt"], "Indoors or outdoors? Say one word."])
async def test_an_own_answer_is_no_sign_of_blindness(
    scripted: type[Scripted], say: Callable[..., Any], picture: Picture, prompt: str
) -> None:
    """The same caption in the same prompt, or one of few answers: the same for many pictures."""
    server = scripted(reply=lambda _: say("Deux chiens courent."))
    given = {
        "backend": {"preflight": False, "model": "eye"},
        "roles": {"fr": ALT | {"prompt": prompt}},
    }
    backend = server.backend()
    service = InferenceService(
        Settings.model_validate(given), load_profile("default"), {backend.base_url: backend}
    )
    await service.probe()
    question = service.questions[-1].ready({"caption": "Two dogs run."}, {})
    for number in range(8):
        seen = replace(picture, digest=str(number))
        (answer,) = [answer async for answer in service.describe(seen, [question])]
        assert answer.text == "Deux chiens courent."


def test_what_is_put_in_is_put_into_the_text_without_its_form_too() -> None:
    """Else it would be asked with its braces where it is asked together with others."""
    shipped = load_profile("default")
    prompt = RolePrompt(prompt="In {place} {{x}}: {caption}", form="Alone.", max_tokens=33)
    profile = replace(shipped, roles={**shipped.roles, "alt": prompt})
    alt = questions(roles(alt={"fields": []}), profile, "m", 15, language="fr")[-1]
    ready = alt.ready({"caption": "Dogs"}, {})
    assert ready.prompt == "In unknown {x}: Dogs Alone. Write in French."
    assert ready.task == "In unknown {x}: Dogs Write in French."


def test_every_profile_gives_its_texts_also_without_their_form() -> None:
    """Asked together, each task is said without how to answer when it is asked alone."""
    profile = Profile(
        name="x",
        system="s",
        roles={
            **load_profile("concise").roles,
            "caption": RolePrompt(prompt="Name it.", form="Alone.", max_tokens=50),
        },
    )
    caption = questions(settings.Roles(), profile, "m", 15, offered="x")[0]
    assert (caption.prompt, caption.task) == ("Name it. Alone.", "Name it.")


def built_in(**prompts: str) -> settings.Roles:
    """Return settings with *prompts* for the built-in roles."""
    return settings.Roles.model_validate({name: {"prompt": p} for name, p in prompts.items()})


def test_built_in_roles_may_quote_each_other() -> None:
    """A description built on caption and keywords waits for them; other braces stay."""
    text = 'On "{caption}" and {keywords}, like {"a": []}.'
    asked = questions(built_in(description=text), load_profile("default"), "m", 15)
    caption, keywords, description = asked
    assert description.waits_for(["caption", "keywords"]) == {"caption", "keywords"}
    assert (caption.placeholders, keywords.placeholders) == ((), ())
    made = description.ready({"caption": "A {dog}", "keywords": "dog, beach"}, {})
    assert made.prompt == 'On "A {dog}" and dog, beach, like {"a": []}.'
    assert "{{" not in keywords.prompt


@pytest.mark.parametrize(
    ("prompts", "complaint"),
    [
        ({"description": "{capton}"}, "unknown placeholder {capton}; did you mean {caption}"),
        ({"caption": "{caption}"}, "unknown placeholder {caption}"),
        ({"caption": "{folder}"}, "add 'folder' to prompts.context"),
        ({"caption": "{keywords}", "keywords": "{caption}"}, "caption and keywords wait for each"),
    ],
)
def test_a_built_in_prompt_that_cannot_be_filled_is_refused(
    prompts: dict[str, str], complaint: str
) -> None:
    """Unknown, its own answer, not to be told, or a circle: one line before anything is asked."""
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        check_own(
            built_in(**prompts), load_profile("default"), ["place"], settings.Metadata().fields
        )
