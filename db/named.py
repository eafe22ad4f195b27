"""Battles whose makers are shown. What is said of them lies in tables of its own and can reach no board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from arena.domain import Battle, Outcome, VoterKind
from arena.errors import DuplicateVote, UnknownBattle, UsageError
from db import drawing, statements
from db.decisions import Withdrawn
from db.drawing import Drawn
from db.schema import (
    BattleRow,
    ContestantRow,
    GenerationRow,
    NamedBattleRow,
    NamedVoteRow,
    PromptRow,
    VoteExclusionRow,
    VoteRow,
)
from db.store import Store, _generation, _prompt, now

POLICY = "named"
UNDONE = "taken back by the voter"


class NamedBattle(NamedTuple):
    """A battle with its makers' names, and the token of the battle whose vote was taken back for it."""

    battle: Battle
    names: tuple[str, str]
    undone: str | None


class NamedBattles:
    """The named battles' part of the store."""

    def __init__(self, store: Store):
        self.store = store

    def add(self, drawn: Sequence[Drawn], voter_id: str) -> None:
        """Store drawn battles, and their voter if new."""
        with self.store._writing() as session:
            self.store._add_voter(session, voter_id, VoterKind.PERSON)
            for battle in drawing.battles(session, drawn, voter_id, POLICY):
                session.add(_row(battle, battle.token))
                session.flush()  # so that ids follow the order of the draw

    def open(self, voter_id: str, undone: bool, category: str | None = None) -> list[NamedBattle]:
        """Those not answered nor withdrawn: the ones that an undo brought back, or the others. Oldest first."""
        answered = exists().where(NamedVoteRow.named_battle_id == NamedBattleRow.id)
        came_back = NamedBattleRow.undone_vote_id.is_not(None)
        query = _named().where(NamedBattleRow.drawn_for == voter_id, ~answered, came_back if undone else ~came_back)
        if category is not None:
            query = query.where(PromptRow.category == category)
        with self.store._reading() as session:
            found = [_battle(*row) for row in session.execute(query.order_by(NamedBattleRow.id))]
            withdrawn = Withdrawn.of(session) if found else None
        return [one for one in found if withdrawn and withdrawn.allows_battle(one.battle)]

    def battle(self, token: str) -> NamedBattle | None:
        with self.store._reading() as session:
            row = session.execute(_named().where(NamedBattleRow.token == token)).one_or_none()
            return None if row is None else _battle(*row)

    def cells(self, voter_id: str) -> list[tuple[int, int, int]]:
        """(lower contestant id, higher contestant id, prompt id) of every one this voter was shown."""
        with self.store._reading() as session:
            cells = session.execute(statements.NAMED_CELLS, {"voter_id": voter_id})
            return [(min(a, b), max(a, b), prompt) for a, b, prompt in cells]

    def answer(self, token: str, voter_id: str, outcome: Outcome | None) -> NamedBattle:
        """What the voter says of it; None puts it aside. Raises UnknownBattle and DuplicateVote."""
        with self.store._writing() as session:
            row = session.execute(_named().where(NamedBattleRow.token == token)).one_or_none()
            if row is None or row[0].drawn_for != voter_id:
                raise UnknownBattle(f"No pair {token[:40]!r} was drawn for you; reload the page to get one.")
            answer = self.store._insert(NamedVoteRow).values(named_battle_id=row[0].id, outcome=outcome, at=now())
            # Not by the number of rows: psycopg does not tell it here.
            stored = answer.on_conflict_do_nothing(index_elements=["named_battle_id"]).returning(
                NamedVoteRow.named_battle_id
            )
            if session.scalar(stored) is None:
                raise DuplicateVote(f"You already answered the pair {token[:40]!r}; your first answer stands.")
            return _battle(*row)

    def take_back(self, token: str, voter_id: str, new_token: str) -> None:
        """Stop counting the voter's last vote and bring its pair back with names; done once, however often asked.

        Raises UnknownBattle, and UsageError where this is not the voter's last vote that counts.
        """
        with self.store._writing() as session:
            battle = self.store._battle(session, token)
            vote_id = session.scalar(
                select(VoteRow.id).where(VoteRow.battle_id == battle.id, VoteRow.voter_id == voter_id)
            )
            if vote_id is None:
                raise UsageError("There is no vote of yours on that pair to take back.")
            if session.scalar(select(exists().where(NamedBattleRow.undone_vote_id == vote_id))):
                return
            if vote_id != _last_standing(session, voter_id):
                raise UsageError("Only your last vote can be taken back.")
            self.store._exclude_vote(session, vote_id, UNDONE)
            session.add(_row(battle, new_token, undone_vote_id=vote_id))


def last_vote(store: Store, voter_id: str) -> str | None:
    """The token of the battle that the voter's last vote is about, of those that count; None where there is none."""
    with store._reading() as session:
        vote_id = _last_standing(session, voter_id)
        query = select(BattleRow.token).join(VoteRow, VoteRow.battle_id == BattleRow.id).where(VoteRow.id == vote_id)
        return None if vote_id is None else session.scalar(query)


def _last_standing(session: Session, voter_id: str) -> int | None:
    excluded = exists().where(VoteExclusionRow.vote_id == VoteRow.id)
    return session.scalar(select(func.max(VoteRow.id)).where(VoteRow.voter_id == voter_id, ~excluded))


_LEFT, _RIGHT = aliased(GenerationRow), aliased(GenerationRow)
_LEFT_MAKER, _RIGHT_MAKER = aliased(ContestantRow), aliased(ContestantRow)


def _named() -> Select:
    undone = (
        select(BattleRow.token)
        .join(VoteRow, VoteRow.battle_id == BattleRow.id)
        .where(VoteRow.id == NamedBattleRow.undone_vote_id)
        .scalar_subquery()
    )
    return (
        select(NamedBattleRow, PromptRow, _LEFT, _RIGHT, _LEFT_MAKER.name, _RIGHT_MAKER.name, undone)
        .join(PromptRow, PromptRow.id == NamedBattleRow.prompt_id)
        .join(_LEFT, _LEFT.id == NamedBattleRow.left_id)
        .join(_RIGHT, _RIGHT.id == NamedBattleRow.right_id)
        .join(_LEFT_MAKER, _LEFT_MAKER.id == _LEFT.contestant_id)
        .join(_RIGHT_MAKER, _RIGHT_MAKER.id == _RIGHT.contestant_id)
    )


def _row(battle: Battle, token: str, undone_vote_id: int | None = None) -> NamedBattleRow:
    return NamedBattleRow(
        token=token,
        prompt_id=battle.prompt.id,
        left_id=battle.left.id,
        right_id=battle.right.id,
        drawn_for=battle.drawn_for,
        undone_vote_id=undone_vote_id,
        at=now(),
    )


def _battle(
    row: NamedBattleRow,
    prompt: PromptRow,
    left: GenerationRow,
    right: GenerationRow,
    left_name: str,
    right_name: str,
    undone: str | None,
) -> NamedBattle:
    battle = Battle(
        prompt=_prompt(prompt),
        left=_generation(left),
        right=_generation(right),
        policy=POLICY,
        probability=1.0,
        token=row.token,
        drawn_for=row.drawn_for,
        id=row.id,
    )
    return NamedBattle(battle, (left_name, right_name), undone)
