"""``prompts.examples``: captions of the user's own, as examples of style."""

from __future__ import annotations

import pytest

from taggerd import settings
from taggerd.inference import available_profiles, load_profile
from taggerd.inference.questions import questions


@pytest.mark.parametrize("profile", available_profiles())
def test_examples_are_shown_in_the_question_for_a_caption_alone(profile: str) -> None:
    """As another question, whose answer is not that to the one without; the rest is as it was."""
    plain = questions(settings.Roles(), load_profile(profile), "eye", 15)
    shown = questions(
        settings.Roles(), load_profile(profile), "eye", 15, examples=["Rex\nat {sea}", "Ana"]
    )
    told = "Write in the style of these captions of other photos: “Rex\\nat {sea}”; “Ana”."
    for before, after in zip(plain, shown, strict=True):
        if after.role == "caption":
            assert after.prompt == f"{before.prompt} {told}"
            assert after.identity != before.identity
        else:
            assert after == before


def test_none_is_shown_unless_it_is_set() -> None:
    """Nothing of the user's goes into a prompt unasked."""
    assert settings.Settings().prompts.examples == []
