"""What a person does with photos in the browser: one photo's form, or many that are selected.

Each action ends with the address of a page that says what was done and offers to undo it; a script
that asks for JSON gets the same as values.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import Route

from taggerd.catalogue import key_of
from taggerd.errors import Conflict, TaggerdError
from taggerd.metadata import Edit
from taggerd.review import Outcome
from taggerd.web.addresses import address, photo_address, query_of
from taggerd.web.photos import LIMITS, Contested, entry_of, photo_page, words_of
from taggerd.web.recent import Done
from taggerd.web.site import done, form_of, notice, page, site_of, wants_json, who

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from taggerd.catalogue import Entry, Query
    from taggerd.review import Review
    from taggerd.web.site import Form

FEW = 10
"""More photos than this are asked about again, or rejected, only after a question."""
QUESTIONS = {
    "retag": (
        "Ask again about {photos}?",
        "Each of them costs requests; human words are kept.",
        "Ask again",
    ),
    "reject": (
        "Reject all words of {photos}?",
        "Human words are kept. It can be undone.",
        "Reject all words",
    ),
}
"""Question, what to know before it is answered, and what yes is called."""
_FRESH, _BATCH, _NOTES = 200, 20, 4
"""So many photos are read again before the grid is shown, so many at once; so many sentences."""
_ONCE = frozenset({"retag", "undo"})
"""What has no undo of its own: what is asked stays asked."""
_SAID = {
    "accept": "Accepted {photos}.",
    "reject": "Rejected the words of {photos}.",
    "retag": "{photos} will be asked about again.",
    "add": "Added “{word}” to {photos}.",
    "drop": "Dropped “{word}” from {photos}.",
    "undo": "Undone.",
}


async def act(request: Request) -> Response:
    """Do something with one photo, and go on to it or to the next."""
    entry, form = await entry_of(request), form_of(request)
    action, query = str(request.path_params["action"]), query_of(request.query_params)
    edit = edit_of(form, _texts(entry), _waiting(entry)) if action == "edit" else Edit()
    try:
        if action != "edit":
            chosen = form.getlist("which") if action == "undo" else ()
            finished = await _do(request, action, [entry.path], entry.name, actions=chosen)
        elif said := _edited(edit):
            outcome = await site_of(request).review.edit(entry.path, edit, who(request))
            finished = _of(said, [outcome])
        else:
            finished = Done("Nothing was changed.", once=True)
    except Conflict:
        now = await words_of(request, entry.path)
        contested = _contested(edit, _texts(now))
        if wants_json(request):
            return done(request, "/", status=409, **contested._asdict())
        return await photo_page(request, now, status=409, contested=contested)
    except TaggerdError as error:
        if wants_json(request):
            return done(request, "/", status=422, error=str(error))
        return await photo_page(request, entry, status=422, problem=str(error))
    await words_of(request, entry.path)  # the grid shows it as it is now
    token = site_of(request).recent.keep(finished)
    to = photo_address(_key(form.get("next", "")) or entry.key, query, done=token)
    return done(request, to, message=finished.message, next=to)


def _texts(entry: Entry) -> Mapping[str, str]:
    return {"caption": entry.caption.text, "description": entry.description.text}


def _waiting(entry: Entry) -> tuple[str, ...]:
    """Return the machine's keywords that wait for acceptance."""
    if entry.state != "held":
        return ()
    return tuple(word.text for word in entry.keywords if word.whose == "machine")


def _key(text: str) -> str:
    """Return *text* if it is a photo's key."""
    return text if re.fullmatch("[0-9a-f]{24}", text) else ""


def edit_of(form: Form, now: Mapping[str, str], waiting: tuple[str, ...] = ()) -> Edit:
    """Return what *form* changes.

    Args:
        form: ``caption``, ``description``, each with ``seen_…``: as it was read; ``add``, ``drop``;
            ``rename``, ``to``.
        now: the texts as they are. Browsers send line ends of their own: a text that differs from
            what was read in nothing else is that text.
        waiting: machine keywords that were shown and are in no sidecar yet.
    """
    texts: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, text in now.items():
        if name in form:
            typed, read = _lines(form[name]), _lines(form.get(f"seen_{name}", ""))
            if typed != read:
                texts[name] = typed[: LIMITS[name]]
                seen[name] = text if read == _lines(text) else read
    to = _word(form.get("to", ""))
    return Edit(
        caption=texts.get("caption"),
        description=texts.get("description"),
        add=tuple(filter(None, map(_word, form.getlist("add")))),
        drop=tuple(filter(None, form.getlist("drop"))),
        rename={form["rename"]: to} if to and form.get("rename", "") not in {"", to} else {},
        seen=seen,
        waiting=waiting,
    )


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _word(text: str) -> str:
    return " ".join(text.split())[: LIMITS["keyword"]]


def _edited(edit: Edit) -> str:
    """Return what *edit* does, for people; empty: nothing."""
    said = [f"Saved the {name}." for name in ("caption", "description") if name in edit.seen]
    said += [f"Added “{word}”." for word in edit.add]
    said += [f"Dropped “{word}”." for word in edit.drop]
    said += [f"Renamed “{old}” to “{new}”." for old, new in edit.rename.items()]
    return " ".join(said)


def _contested(edit: Edit, now: Mapping[str, str]) -> Contested:
    """Return the text of *edit* that somebody else has changed."""
    name = next((each for each in edit.seen if edit.seen[each] != now[each]), "caption")
    return Contested(name, getattr(edit, name) or "", now[name])


async def act_on_many(request: Request) -> Response:
    """Do something with each photo that was selected, and go back to the grid."""
    form, action = form_of(request), str(request.path_params["action"])
    query, word = query_of(request.query_params), _word(form.get("word", ""))
    if action == "undo" and "done" in form:
        return await _undo(request, query, form)
    paths = await asyncio.to_thread(_selected, request, query, form)
    missing = "" if paths else "Select photos first."
    if action in {"add", "drop"} and not word:
        missing = "Type a keyword first."
    if missing:
        notice(request, missing)
        return done(request, address(query), status=400, error=missing)
    if action in QUESTIONS and len(paths) > FEW and "sure" not in form:
        return _question(request, action, query, form, len(paths))
    try:
        finished = await _do(request, action, paths, "", word)
    except TaggerdError as error:
        notice(request, str(error))
        return done(request, address(query), status=422, error=str(error))
    return await _back(request, query, finished)


async def _back(request: Request, query: Query, finished: Done) -> Response:
    """Go back to the grid, where the photos are that something was done with."""
    for start in range(0, min(len(finished.paths), _FRESH), _BATCH):
        await site_of(request).review.library.read(finished.paths[start : start + _BATCH])
    token = site_of(request).recent.keep(finished)
    first = f"#p-{key_of(finished.paths[0])}" if finished.paths else ""
    to = address(query, done=token) + first
    return done(request, to, message=finished.message, photos=len(finished.paths))


def _selected(request: Request, query: Query, form: Form) -> list[Path]:
    catalogue = site_of(request).review.library.catalogue
    if form.get("all"):
        return [entry.path for entry in catalogue.every(query)]
    known = catalogue.get_all(form.getlist("key"))
    return [entry.path for entry in known.values()]


async def _do(  # noqa: PLR0913, PLR0917 - what a form says
    request: Request,
    action: str,
    paths: Sequence[Path],
    photos: str = "",
    word: str = "",
    actions: Sequence[str] = (),
) -> Done:
    """Do it with each of *paths*; return what was done, and with which.

    To undo, *actions* are what was done to each: others may have done something else since.

    Raises:
        HTTPException: there is no such action.
        TaggerdError: nothing could be done.
    """
    review, by = site_of(request).review, who(request)
    match action:
        case "accept":
            outcomes = await review.accept(paths, by)
        case "reject":
            outcomes = await review.reject(paths, by)
        case "retag":
            outcomes = await review.retag(paths, by)
        case "undo":
            of = dict(zip(paths, actions, strict=False))
            outcomes = [await _undone(review, path, by, of.get(path, "")) for path in paths]
        case "add":
            outcomes = await review.edit_all(paths, Edit(add=(word,)), by)
        case "drop":
            outcomes = await review.edit_all(paths, Edit(drop=(word,)), by)
        case _:
            raise HTTPException(404, "There is no such action.")
    changed = [each for each in outcomes if each.changed]
    errors = [each.error for each in outcomes if each.error]
    if errors and not changed:
        raise TaggerdError(errors[0])
    said = list(dict.fromkeys(note for each in outcomes for note in each.notes))
    if changed or not said:
        said.insert(0, _SAID[action].format(photos=photos or _counted(len(changed)), word=word))
    if errors:
        said.append(f"{_counted(len(errors))} not: {errors[0]}")
    return _of(" ".join(said[:_NOTES]), changed, once=action in _ONCE)


def _of(message: str, outcomes: Sequence[Outcome], *, once: bool = False) -> Done:
    """Return what *outcomes* say was done."""
    paths, actions = [each.path for each in outcomes], [each.action for each in outcomes]
    return Done(message, paths, actions, once=once)


async def _undone(review: Review, path: Path, by: str, action: str) -> Outcome:
    try:
        return await review.undo(path, by, action)
    except TaggerdError as error:
        return Outcome(path=path, error=str(error))


async def _undo(request: Request, query: Query, form: Form) -> Response:
    """Undo what was done lately; go back to the photo where it was done on its page."""
    last = site_of(request).recent.take(form["done"])
    if last is None or not last.paths:
        notice(request, "This cannot be undone here any more; each photo has its own Undo.")
        return done(request, address(query), status=410, error="forgotten")
    try:
        finished = await _do(request, "undo", last.paths, actions=last.actions)
    except TaggerdError as error:
        notice(request, str(error))
        return done(request, address(query), status=422, error=str(error))
    if "one" not in form:
        return await _back(request, query, finished._replace(paths=last.paths, once=True))
    await words_of(request, last.paths[0])
    token = site_of(request).recent.keep(finished)
    to = photo_address(key_of(last.paths[0]), query, done=token)
    return done(request, to, message=finished.message, next=to)


def _question(request: Request, action: str, query: Query, form: Form, photos: int) -> Response:
    """Ask before something is done with many photos."""
    question, explanation, button = QUESTIONS[action]
    fields = (
        [("key", key) for key in form.getlist("key")] if not form.get("all") else [("all", "1")]
    )
    return page(
        request,
        "confirm.html",
        question=question.format(photos=_counted(photos)),
        explanation=explanation,
        button=button,
        action=f"/photos/{action}?{request.url.query}",
        fields=fields,
        back=address(query),
    )


def _counted(photos: int) -> str:
    return "1 photo" if photos == 1 else f"{photos:,} photos"


routes = (
    Route("/photos/{action}", act_on_many, methods=["POST"]),
    Route("/photos/{key}/{action}", act, methods=["POST"]),
)
