"""What the ledger keeps of the records that hosts have journalled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger import PostgresState
from support.postgres import name_in
from support.records import record_of

from taggerd.ledger.postgres.journalled import packed, unpacked
from taggerd.ledger.postgres.reading import SharedJournal
from taggerd.photo import Keyword, Tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import PostgresServer

KEPT = bytes.fromhex(
    "01b5965b0e82301045b7d20d48daf8a5abf0c30d805421340c69418cabf7b6f8a09487c4c8673be963ca9c33b3"
    "30d048854e37c243802be267f5e2b9538700113280fff6099f2133bbce92e34cb7a0bc07e50fc95ca5629ae274"
    "29d4d44d9280bfe7dca67921b8a216545679892b2c84a68d29962984bbb0932663a481107ac706e9eb166e6475"
    "4bcc3ba3192517c4e8167b1aa8cef253c16039b57a79a72a45541827b04e44563826a346414d113b7cd2c0f01f"
    "b258517971eeca48e777382e919036b6ac62ac2bafb284896d3b1079849d26a61bddc44370f6860719e8669255"
    "18bd544d8416e06f107d556c9fa2ffe7a7b0be3ff2dd9e8b373ff9383fc3f8ad1f3f0257447c0dd70128033272"
    "3ec5463bd1e7ea6fac448f5776c80b69f900"
)
TAGS = Tags(
    caption="A fox crosses a gravel road between two stubble fields",
    description="A red fox with a thick tail crosses a gravel road between two stubble fields and "
    "looks back over its shoulder. Power lines run along the horizon below a pale evening sky.",
    keywords=tuple(map(Keyword, ("fox", "gravel road", "stubble field", "power lines", "dusk"))),
)


@pytest.fixture
async def state(postgres_server: PostgresServer) -> AsyncIterator[PostgresState]:
    """A database of its own; whoever is still there at the end is closed."""
    made = PostgresState(postgres_server)
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


@given(st.text())
def test_a_record_comes_back_as_it_was(line: str) -> None:
    """Whatever a line says, also if it is none of JSON."""
    encodable = line.encode("utf-8", "replace").decode()
    assert unpacked(packed(encodable)) == encodable


def test_what_was_kept_once_is_read_for_ever() -> None:
    """The text that records are compressed by may not change under those that are kept."""
    assert json.loads(unpacked(KEPT)) == json.loads(json.dumps(record_of(tags=TAGS).to_json()))


def test_a_record_takes_a_third_of_its_length() -> None:
    """Its keys and its numbers' places are those of every record."""
    line = json.dumps(record_of(tags=TAGS).to_json())
    assert len(packed(line)) < len(line) / 3


async def test_records_older_than_day_files_are_forgotten(state: PostgresState) -> None:
    """Those of the days before, however many; what was not journalled yet stays."""
    ledger = await state.open()
    state._server.execute(
        "INSERT INTO taggerd.outbox (record, day, line, stream) "
        "SELECT n, '2025-06-' || 10 + n % 3, '{\"id\": \"' || n || '\"}', '' "
        "FROM generate_series(1, 3000) n",
        database=name_in(state.url),
    )
    while lines := await ledger.outbox(700):
        await ledger.delivered([line.id for line in lines])
    whole = SharedJournal(state.url)
    assert sorted(whole.days()) == ["2025-06-10", "2025-06-11", "2025-06-12"]
    await ledger.fleet.forget_records("2025-06-12")
    assert whole.days() == ["2025-06-12"]
    numbers = [int(json.loads(line)["id"]) for line in whole.lines("2025-06-12")]
    assert numbers == list(range(2, 3001, 3)), "all, in their order"
