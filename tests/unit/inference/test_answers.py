"""What models really send, and what may be written of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taggerd.errors import (
    AnswerCut,
    AnswerEmpty,
    AnswerError,
    AnswerNotJson,
    AnswerRejected,
)
from taggerd.inference.answers import read_answer
from taggerd.inference.completion import Completion
from taggerd.inference.questions import Question
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "Write one line that names the main subject and what is happening here."


def asked(role: str = "caption") -> Question:
    """Return a question in *role*."""
    return Question(
        role=role,
        model="eye",
        system="You describe photographs for a photo library.",
        prompt=PROMPT,
        max_tokens=100,
        wants="keywords" if role == "keywords" else "text",
    )


def text_of(content: str, role: str = "caption", **rest: Any) -> str:  # noqa: ANN401 - fields of several types
    """Read a text answer."""
    return read_answer(asked(role), Completion(content=content, **rest))[0]


def words_of(content: str) -> list[str]:
    """Read a keywords answer."""
    return [k.word for k in read_answer(asked("keywords"), Completion(content=content))[1]]


@pytest.mark.parametrize(
    "content",
    [
        "A red boat on a lake",
        '"A red boat on a lake"',
        "“A red boat on a lake”",
        "  A red boat\ton a lake \r\n",
        "Caption: A red boat on a lake",
        "**Caption:** A red boat on a lake",
        "### Caption\n",
        "**A red boat on a lake**",
        "A **red boat** on a lake",
        "Sure, here is a caption for the photo:\n\nA red boat on a lake",
        'Here\'s a caption: "A red boat on a lake"',
        "<think>The user wants a caption. A boat?</think>\nA red boat on a lake",
        "So the picture has a boat.</think>\n\nA red boat on a lake",
        "◁think▷a boat◁/think▷A red boat on a lake",
        "<|channel|>analysis<|message|>hm<|end|><|channel|>final<|message|>A red boat on a lake",
        "<|begin_of_box|>A red boat on a lake<|end_of_box|>",
        "A red boat on a lake<|im_end|>",
        "```\nA red boat on a lake\n```",
        '```json\n{"caption": "A red boat on a lake"}\n```',
        '{"caption": "A red boat on a lake", "keywords": ["boat"]}',
        '{"text": "A red boat on a lake"}',
        '["A red boat on a lake"]',
        'Here you go: {"caption": "A red boat on a lake"} Anything else?',
        "1. A red boat on a lake\n2. A lake with a boat",
        "- A red boat on a lake",
        "A red\u200b boat on a\u00ad lake",
        "\ufeffA red boat on a \u202elake",
        '{"caption": "A red boat on a lake\\ud800"}',
    ],
)
def test_a_caption_comes_out_of_any_wrapping(content: str) -> None:
    """However a model wraps it, the caption alone is read."""
    if content == "### Caption\n":
        content += "A red boat on a lake"
        content = content.replace("Caption\n", "Caption:\n")
    assert text_of(content) == "A red boat on a lake"


def test_a_description_keeps_its_sentences_on_one_line() -> None:
    """Paragraphs of a description become one line, nothing of it is lost."""
    said = "Description: A boat lies on a lake.\n\nThe light is soft: it is evening."
    expected = "A boat lies on a lake. The light is soft: it is evening."
    assert text_of(said, "description") == expected


def test_a_model_that_always_answers_one_json_object_gives_a_description_too() -> None:
    """The nearest text stands in where a JSON answer lacks the role that was asked."""
    assert (
        text_of('{"caption": "A red photo", "keywords": ["red"]}', "description") == "A red photo"
    )


@pytest.mark.parametrize(
    "content",
    [
        '{"caption": "A red photo", "keywords": [": [": [", "photo"]}',
        '{"caption": "A red photo": "keywords": ["keywords": ["photo"]}',
        '{"keywords": ["red"], "caption": "A red photo", "description": "Re',
    ],
)
def test_the_text_is_saved_out_of_damaged_json(content: str) -> None:
    """A small model that began its JSON well and lost itself has still given the caption."""
    assert text_of(content) == "A red photo"


@pytest.mark.parametrize("content", ['{"keywords": [": [": [", "photo"]}', '{"cap', '[{"a'])
def test_damaged_json_without_a_text_is_held_back(content: str) -> None:
    """Brackets and quotes never land in a photo as its caption."""
    with pytest.raises(AnswerRejected, match="no text"):
        text_of(content)


@pytest.mark.parametrize("said", ["桜の木の下の猫", "Кот спит на окне", "قارب أحمر في البحيرة"])
def test_other_scripts_pass_untouched(said: str) -> None:
    """A caption in any script is a caption."""
    assert text_of(said) == said


def test_emoji_joiners_survive_cleaning() -> None:
    """Joined emoji are not torn apart."""
    family = "A family 👨‍👩‍👧 at the sea"
    assert text_of(family) == family


def test_a_caption_that_never_ends_is_cut_after_a_sentence() -> None:
    """A caption has at most 300 characters and ends where a sentence ends."""
    assert text_of("A boat lies on a lake. " + "and then " * 90) == "A boat lies on a lake."


@pytest.mark.parametrize(
    ("content", "rest", "error"),
    [
        ("", {}, AnswerEmpty),
        (" \n\x00\u200b", {}, AnswerEmpty),
        ("<think>a boat, I suppose", {}, AnswerEmpty),
        ("<think>a boat</think>", {"thought": True}, AnswerEmpty),
        ("```\n```", {}, AnswerEmpty),
        ("A red boat on", {"finish_reason": "length"}, AnswerCut),
        ("", {"finish_reason": "length", "thought": True}, AnswerCut),
        ("", {"refusal": "I will not."}, AnswerRejected),
        ("I'm sorry, I can't help with that.", {}, AnswerRejected),
        ("I\u2019m sorry, but I cannot see images.", {}, AnswerRejected),
        ("As an AI language model, I see nothing", {}, AnswerRejected),
        ("I cannot describe people.", {}, AnswerRejected),
        ("No image was provided.", {}, AnswerRejected),
        ("Please upload the photo.", {}, AnswerRejected),
        ("1234 5678", {}, AnswerRejected),
        ("48.8566 N, 2.3522 E", {}, AnswerRejected),
        ("48°51'24\"N 2°21'07\"E", {}, AnswerRejected),
        ("!!!!!!!!!!!!!!!!", {}, AnswerRejected),
        (PROMPT, {}, AnswerRejected),
        ("names the main subject", {}, AnswerRejected),
        ("Caption: one line that names the main subject and more", {}, AnswerRejected),
        ("boat boat boat boat boat boat boat boat boat", {}, AnswerRejected),
        ('{"score": 3}', {}, AnswerRejected),
    ],
)
def test_what_is_no_caption_is_refused_by_name(
    content: str, rest: dict[str, Any], error: type[AnswerError]
) -> None:
    """Each way of not answering has an error of its own, which keeps the raw words on one line."""
    with pytest.raises(error) as caught:
        text_of(content, **rest)
    assert caught.value.raw == (rest.get("refusal") or content)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "said",
    [
        "Two people say sorry to each other",
        "Photo of the day: a boat",
        "Route 66 at dusk",
        "Person who cannot see walks with a dog",
        "Sign that says STOP STOP STOP",
        "An AI conference hall",
        "Great grey owl: hunting at dusk",
        "Here are two dogs playing!",
        "Okay Corral: a street at noon",
        "No photography is allowed here, says a sign",
        'A door with the sign ["EXIT"] above it',
    ],
)
def test_tripwires_let_honest_captions_pass(said: str) -> None:
    """Words that also occur in refusals, digits and repetition are allowed in a caption."""
    assert text_of(said) == said


@pytest.mark.parametrize(
    "content",
    [
        '{"keywords": ["red boat", "lake", "evening"]}',
        '["red boat", "lake", "evening"]',
        '```json\n{"keywords": ["red boat", "lake", "evening"]}\n```',
        'Sure! {"keywords": ["red boat", "lake", "evening"]} Enjoy.',
        '<think>[maybe]</think>{"keywords": ["red boat", "lake", "evening"]}',
        '{"Keywords": "red boat, lake, evening"}',
        '{"tags": [{"tag": "red boat"}, {"name": "lake"}, {"keyword": "evening"}]}',
        '{"keywords": {"subjects": ["red boat", "lake"], "time": ["evening"]}}',
        '{"subjects": ["red boat"], "base_urls": ["lake"], "time": ["evening"]}',
        "- red boat\n- lake\n- evening",
        "1. red boat\n2. lake\n3. evening",
        "* **red boat**\n* **lake**\n* evening",
        "Keywords: red boat, lake, evening",
        "**Keywords:** red boat, lake, evening.",
        "red boat, lake, evening",
        "Here are the keywords:\n\nred boat, lake, evening",
        "#red_boat #lake #evening",
        "{'keywords': ['red boat', 'lake', 'evening']}",
        '{"keywords": ["red boat", "lake", "evening",]}',
        "Sure! Here are 3 keywords: red boat, lake, evening",
        '["red boat", "lake", "Lake", "evening", "", "2024", "…"]',
        "red boat、lake、evening",
        "<ul><li>red boat</li><li>lake</li><li>evening</li></ul>",
    ],
)
def test_keywords_come_in_any_form(content: str) -> None:
    """Arrays, objects, lists of lines, commas, hashtags and broken JSON give the same keywords."""
    assert words_of(content) == ["red boat", "lake", "evening"]


@pytest.mark.parametrize(
    ("content", "score"),
    [
        ('{"keywords": [{"keyword": "lake", "score": 0.9}]}', 0.9),
        ('[{"word": "lake", "confidence": "90%"}]', 0.9),
        ('[{"label": "lake", "probability": 90}]', 0.9),
        ('{"lake": 0.9}', 0.9),
        ('{"keywords": {"lake": 0.9}}', 0.9),
        ("- lake (0.9)", 0.9),
        ("- lake: 90%", 0.9),
        ("- lake — 0.9", 0.9),
        ("lake 0.9", 0.9),
        ('[["lake", 0.9]]', 0.9),
        ('{"keywords": [["lake", "90%"]]}', 0.9),
        ('[{"keyword": "lake", "score": 1e999}]', None),
        ('[{"keyword": "lake", "score": NaN}]', None),
        ('[{"keyword": "lake", "score": -3}]', None),
        ('[{"keyword": "lake", "score": true}]', None),
    ],
)
def test_scores_are_read_as_shares(content: str, score: float | None) -> None:
    """A score is 0 to 1 whatever scale the model used, and absent if it makes no sense."""
    keywords = read_answer(asked("keywords"), Completion(content=content))[1]
    assert keywords == (Keyword("lake", score),)


def test_a_keyword_may_be_a_word_of_refusals() -> None:
    """In a JSON list, "sorry" is a keyword like any other."""
    assert words_of('["sorry", "sign"]') == ["sorry", "sign"]


def test_a_year_in_a_keyword_is_not_a_score() -> None:
    """Numbers that belong to a word stay with it."""
    assert words_of('["route 66", "1920s", "3d art", "Paris, Texas"]') == [
        "route 66",
        "1920s",
        "3d art",
        "Paris, Texas",
    ]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("The picture shows a boat that lies on a lake in the evening.", AnswerNotJson),
        ('"boat that lies on a lake in the evening"', AnswerNotJson),
        ('{"answer": true}', AnswerNotJson),
        ("{}", AnswerNotJson),
        ("[]", AnswerEmpty),
        ('{"keywords": []}', AnswerEmpty),
        ("", AnswerEmpty),
        ("I'm sorry, I can't assist with that.", AnswerRejected),
        ('{"keywords": ["...", "..."]}', AnswerEmpty),
        ('["12", "48.85, 2.35"]', AnswerRejected),
        ('["one line", "that names", "the main subject"]', AnswerRejected),
    ],
)
def test_what_are_no_keywords_is_refused_by_name(content: str, error: type[AnswerError]) -> None:
    """Prose, nothing, refusals, placeholders and echoes are no keywords."""
    with pytest.raises(error):
        words_of(content)


FILE = "near Moab, Utah, United States; date: June 2024; labels: red rock arch"


def test_what_is_told_of_a_photo_is_no_echo() -> None:
    """A place, a label or an earlier answer may come back; the words around them may not."""
    told = replace(asked("caption"), hints=f"place: {FILE}")
    said = "Red rock arch near Moab, Utah, United States in June 2024"
    assert read_answer(told, Completion(content=said))[0] == said
    words = replace(asked("keywords"), hints=f"place: {FILE}")
    content = '["near Moab", "Utah", "United States", "red rock arch"]'
    assert len(read_answer(words, Completion(content=content))[1]) == 4
    parroted = "Use a hint only where the picture agrees with it"
    with pytest.raises(AnswerRejected, match="repeats the prompt"):
        read_answer(told, Completion(content=parroted))
    caption = "Two dogs chase a ball over the wet sand of a beach"
    own = replace(asked("description"), prompt="Retell at length for a blind reader: {caption}")
    own = replace(own, role="alt_text", own=True).ready({"caption": caption}, {})
    assert read_answer(own, Completion(content=f"{caption}."))[0] == f"{caption}."
    with pytest.raises(AnswerRejected, match="repeats the prompt"):
        read_answer(own, Completion(content="Retell at length for a blind reader"))


def test_an_own_answer_is_cut_at_its_own_limit() -> None:
    """After a sentence, else after a word; the label that a model puts before it goes."""
    own = replace(asked("description"), role="color_narration", longest=30)
    said = "Color narration: A red boat. Behind it lies a blue lake."
    assert read_answer(own, Completion(content=said))[0] == "A red boat."
    assert read_answer(own, Completion(content="a red boat on a blue lake at dusk"))[0] == (
        "a red boat on a blue lake at"
    )


def test_an_own_role_may_count_and_choose() -> None:
    """A number is an answer to it, and so is one of the choices that its prompt names."""
    own = replace(
        asked("description"),
        role="light",
        prompt="How many people? In broad daylight, or at night?",
    )
    assert read_answer(own, Completion(content="3"))[0] == "3"
    assert read_answer(own, Completion(content="In broad daylight"))[0] == "In broad daylight"
    with pytest.raises(AnswerRejected):
        read_answer(replace(own, role="caption"), Completion(content="In broad daylight"))
    with pytest.raises(AnswerRejected):
        read_answer(own, Completion(content="!?"))


JSONISH = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["keywords", "keyword", "score", "caption", "x"]), inner)
    ),
    max_leaves=8,
).map(repr)
PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "```",
        "{",
        "}",
        "[",
        "]",
        '"',
        "keywords",
        ":",
        ",",
        "\ud800",
        "#",
        "*",
    ]
)


@given(st.one_of(st.text(), JSONISH, st.lists(PIECES | st.text(max_size=3)).map("".join)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_a_model_says_brings_the_parser_down(content: str) -> None:
    """For any text there is a clean answer or an AnswerError, and nothing else."""
    for role in ("caption", "keywords", "description"):
        try:
            text, keywords = read_answer(asked(role), Completion(content=content))
        except AnswerError as error:
            str(error).encode()
            continue
        for said in (text, *(k.word for k in keywords)):
            assert said.encode() == said.encode("utf-8")
            assert all(c.isprintable() or c in "\u200c\u200d\u00a0" or ord(c) > 127 for c in said)


@pytest.mark.parametrize("content", ["[" * 60000, '{"a":' * 12000, "9" * 60000, "<think>" * 9000])
def test_hostile_lengths_are_read_in_no_time(
    content: str, timed: Callable[[Callable[[], object]], float]
) -> None:
    """Towers of brackets and endless marks are an AnswerError, within a second."""

    def read() -> None:
        for role in ("caption", "keywords"):
            with pytest.raises(AnswerError):
                read_answer(asked(role), Completion(content=content))

    assert timed(read) < 1.0


@pytest.fixture
def timed() -> Callable[[Callable[[], object]], float]:
    """Measure processor seconds."""
    import time  # noqa: PLC0415 - only here

    def measure(function: Callable[[], object]) -> float:
        started = time.process_time()
        function()
        return time.process_time() - started

    return measure
