"""The ledger of judges: what each said of two images, the battles it was for, and the votes it became.

Each method is one transaction. A judge's votes enter the ledger of votes and count on the judge's own board.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from arena.domain import OWN_PROMPT, Battle, JudgeAnswer, JudgeCard, JudgeVerdict, Outcome, RunState, VoterKind
from arena.questions import FIRST, SECOND
from db.schema import (
    BattleRow,
    GenerationRow,
    JudgeRow,
    PromptRow,
    RunRow,
    VerdictBattleRow,
    VerdictClaimRow,
    VerdictRow,
    VoteRow,
    VoterRow,
)
from db.statements import battles
from db.store import Store, _battle, now


class Pair(NamedTuple):
    """Two images of a prompt, whatever contestants made them, by their sha256 in alphabetical order."""

    prompt_id: int
    left: str
    right: str

    @classmethod
    def of(cls, battle: Battle) -> Pair:
        assert battle.left.image and battle.right.image and battle.prompt.id is not None
        return cls(battle.prompt.id, *sorted((battle.left.image.sha256, battle.right.image.sha256)))


class Judged(NamedTuple):
    """A verdict and a battle that it was for."""

    verdict: JudgeVerdict
    battle: Battle

    @property
    def outcome(self) -> Outcome | None:
        """The verdict, as seen from the battle's sides."""
        return seen_from(self.verdict, self.battle)


class Head(NamedTuple):
    """A verdict and a battle it was for, in short: `left`, `right` and `outcome` as the battle has its sides."""

    verdict_id: int
    battle_id: int
    left: str
    right: str
    outcome: Outcome | None
    consistent: bool | None


class Words(NamedTuple):
    """What a judge answered of two images, in short: the word of each order, None where unscored, and the shares of
    "A" and "B" in each, None without log probabilities. `left` and `right` as in JudgeVerdict."""

    left: str
    right: str
    left_first: str | None
    right_first: str | None
    left_first_shares: tuple[float | None, float | None]
    right_first_shares: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts counted: `asked` of the model, attempts included; and of the pairs as they stand now, how many are
    `scored`, of these `inconsistent`, and `unscored`. Seconds and cost are None where no verdict names any."""

    asked: int
    scored: int
    inconsistent: int
    unscored: int
    seconds: float | None
    cost_usd: float | None


def seen_from(verdict: JudgeVerdict, battle: Battle) -> Outcome | None:
    """The verdict's outcome as seen from the battle's sides."""
    assert battle.left.image is not None
    same = battle.left.image.sha256 == verdict.left
    return verdict.outcome if same or verdict.outcome is None else verdict.outcome.mirrored


class Verdicts:
    """The judges' part of the store."""

    def __init__(self, store: Store):
        self.store = store

    # Judges

    def add_judge(self, card: JudgeCard) -> None:
        """Make a judge known, as a voter too; a known one stays as it is."""
        with self.store._writing() as session:
            self.store._add_voter(session, card.id, VoterKind.JUDGE)
            values = {"id": card.id, "source": card.source, "fingerprint": card.fingerprint, "at": now()}
            insert = self.store._insert(JudgeRow).values(**values, settings=dict(card.settings))
            session.execute(insert.on_conflict_do_nothing(index_elements=["id"]))

    def judges(self) -> list[JudgeCard]:
        """Oldest first."""
        with self.store._reading() as session:
            rows = session.scalars(select(JudgeRow).order_by(JudgeRow.at, JudgeRow.id))
            return [JudgeCard(row.id, row.source, row.settings) for row in rows]

    def newest(self, source: str) -> str | None:
        """The voter id of the judge that was last made known by this name; None where there is none."""
        return next((card.id for card in reversed(self.judges()) if card.source == source), None)

    # Asking

    def claim(
        self, judge_id: str, run_id: int, pairs: Iterable[Pair], *, again: bool = False
    ) -> tuple[dict[Pair, int], dict[Pair, JudgeVerdict]]:
        """The pairs that the run should ask about, each with its attempt, and the latest verdicts on those it need not.

        A pair that another run that still works has claimed is in neither. `again` asks about unscored pairs as well.
        """
        wanted = [*dict.fromkeys(pairs)]
        if not wanted:
            return {}, {}
        with self.store._writing() as session:
            self._in_turn(session, judge_id)
            # First the claims: whoever had one before has stored its verdict by the time ours is granted.
            mine = {pair for pair in wanted if self._claimed(session, judge_id, run_id, pair)}
            known = self._latest(session, judge_id, wanted)
            answered = {p: v for p, v in known.items() if v.unscored is None or not again}
            self._release(session, judge_id, mine & answered.keys())
            return {p: known[p].attempt + 1 if p in known else 0 for p in mine - answered.keys()}, answered

    @staticmethod
    def _in_turn(session: Session, judge_id: str) -> None:
        """Holds the judge's row until the transaction ends: two that take and drop the same claims in different orders
        would wait for each other for ever."""
        session.execute(select(JudgeRow.id).where(JudgeRow.id == judge_id).with_for_update(key_share=True))

    def _claimed(self, session: Session, judge_id: str, run_id: int, pair: Pair) -> bool:
        key = {"judge_id": judge_id, **_pair_values(pair)}
        insert = self.store._insert(VerdictClaimRow).values(**key, run_id=run_id)
        working = select(RunRow.id).where(RunRow.state == RunState.RUNNING)
        take = insert.on_conflict_do_update(
            index_elements=list(key),
            set_={"run_id": insert.excluded.run_id},
            where=or_(VerdictClaimRow.run_id == run_id, VerdictClaimRow.run_id.not_in(working)),
        )
        return bool(session.execute(take.returning(VerdictClaimRow.run_id)).one_or_none())

    @staticmethod
    def _release(session: Session, judge_id: str, pairs: Collection[Pair]) -> None:
        columns = (VerdictClaimRow.prompt_id, VerdictClaimRow.left_sha256, VerdictClaimRow.right_sha256)
        if pairs:
            session.execute(
                delete(VerdictClaimRow).where(VerdictClaimRow.judge_id == judge_id, tuple_(*columns).in_(pairs))
            )

    @staticmethod
    def _latest(session: Session, judge_id: str, pairs: Collection[Pair]) -> dict[Pair, JudgeVerdict]:
        columns = (VerdictRow.prompt_id, VerdictRow.left_sha256, VerdictRow.right_sha256)
        query = select(VerdictRow).where(VerdictRow.judge_id == judge_id, tuple_(*columns).in_(pairs))
        rows = session.scalars(query.order_by(VerdictRow.attempt))
        return {Pair(row.prompt_id, row.left_sha256, row.right_sha256): _verdict(row) for row in rows}

    def settle(
        self,
        judged: Sequence[tuple[JudgeVerdict, Battle]],
        *,
        board: str,
        parameters: Mapping[str, Any],
    ) -> list[Judged]:
        """Store verdicts that are new, the battles they are for that are new, and cast the votes: all or none.

        A battle that this judge already has, of the same two images made by the same two contestants, is not stored
        twice. The row of `board`, people's, is locked, so that votes of all kinds begin to count one after the other.
        """
        if not judged:
            return []
        with self.store._writing() as session:
            self._in_turn(session, judged[0][0].judge_id)
            self.store._locked_board(session, board, parameters)
            stored: dict[Pair, JudgeVerdict] = {}
            settled = []
            for verdict, battle in judged:
                pair = Pair.of(battle)
                if pair not in stored:
                    stored[pair] = verdict if verdict.id is not None else _add_verdict(session, verdict)
                if one := self._settle(session, stored[pair], battle):
                    settled.append(one)
            self._release(session, judged[0][0].judge_id, [*stored])
            return settled

    def _settle(self, session: Session, verdict: JudgeVerdict, battle: Battle) -> Judged | None:
        battle = self._stored(session, battle)
        if session.get(VerdictBattleRow, (verdict.id, battle.id)):
            return None
        session.add(VerdictBattleRow(verdict_id=verdict.id, battle_id=battle.id))
        outcome = seen_from(verdict, battle)
        voted = exists().where(VoteRow.battle_id == battle.id, VoteRow.voter_id == verdict.judge_id)
        if outcome is not None and not session.scalar(select(voted)):
            vote = self.store._add_vote(session, battle, verdict.judge_id, outcome, None)
            self.store._add_ballot(session, battle, vote)
        return Judged(verdict, battle)

    @staticmethod
    def _stored(session: Session, battle: Battle) -> Battle:
        """The battle with its id: the one this judge already has of the same two generations, or a new one."""
        if battle.id is not None:
            return battle
        both = (battle.left.id, battle.right.id)
        row = session.scalars(
            select(BattleRow)
            .where(BattleRow.drawn_for == battle.drawn_for, BattleRow.left_id.in_(both), BattleRow.right_id.in_(both))
            .limit(1)
        ).one_or_none()
        if row is not None:
            sides = (battle.left, battle.right) if row.left_id == battle.left.id else (battle.right, battle.left)
            return replace(battle, id=row.id, left=sides[0], right=sides[1])
        row = BattleRow(
            token=battle.token, prompt_id=battle.prompt.id, left_id=battle.left.id, right_id=battle.right.id,
            drawn_for=battle.drawn_for, policy=battle.policy, probability=battle.probability, at=now(),
        )  # fmt: skip
        session.add(row)
        session.flush()
        return replace(battle, id=row.id)

    # Reading

    def tally(self, judge_id: str | None = None, run_id: int | None = None) -> Tally:
        """Counts of a judge's verdicts, of a run's, or of all."""
        count = func.count(VerdictRow.id)
        query = select(
            count,
            count.filter(VerdictRow.outcome.is_not(None)),
            count.filter(VerdictRow.consistent.is_(False)),
            count.filter(VerdictRow.outcome.is_(None), ~_superseded()),
            func.sum(VerdictRow.seconds),
            func.sum(VerdictRow.cost_usd),
        )
        if judge_id is not None:
            query = query.where(VerdictRow.judge_id == judge_id)
        if run_id is not None:
            query = query.where(VerdictRow.run_id == run_id)
        with self.store._reading() as session:
            return Tally(*session.execute(query).one())

    def judge_of_run(self, run_id: int) -> str | None:
        """The judge whose verdicts a run computed, None where it computed none."""
        with self.store._reading() as session:
            return session.scalar(select(VerdictRow.judge_id).where(VerdictRow.run_id == run_id).limit(1))

    def judged(self, judge_id: str, battle_ids: Collection[int] | None = None) -> list[Judged]:
        """A judge's latest verdicts with the battles they were for, newest first; on these battles, where given."""
        query = _judged().where(VerdictRow.judge_id == judge_id, ~_superseded())
        if battle_ids is not None:
            query = query.where(BattleRow.id.in_(battle_ids))
        with self.store._reading() as session:
            rows = session.execute(query.order_by(VerdictRow.id.desc(), BattleRow.id))
            return [Judged(_verdict(row), _battle(*rest)) for row, *rest in rows]

    def heads(self, judge_id: str) -> list[Head]:
        """All that `judged` returns, in short and in the same order."""
        left, right = aliased(GenerationRow), aliased(GenerationRow)
        columns = (VerdictRow.id, BattleRow.id, left.sha256, right.sha256, VerdictRow.outcome, VerdictRow.consistent)
        query = _judged(left, right).with_only_columns(*columns, VerdictRow.left_sha256)
        query = query.where(VerdictRow.judge_id == judge_id, ~_superseded())
        with self.store._reading() as session:
            return [
                Head(id, battle_id, one, other, outcome and (outcome if one == first else outcome.mirrored), consistent)
                for id, battle_id, one, other, outcome, consistent, first in session.execute(
                    query.order_by(VerdictRow.id.desc(), BattleRow.id)
                )
            ]

    def verdict(self, verdict_id: int) -> JudgeVerdict | None:
        """The verdict of this id, None where there is none."""
        with self.store._reading() as session:
            row = session.get(VerdictRow, verdict_id)
            return None if row is None else _verdict(row)

    def words(self, judge_id: str) -> list[Words]:
        """The latest answers on each pair this judge was asked about, oldest first."""
        orders = [VerdictRow.answers[order] for order in (0, 1)]
        columns = [order["word"].as_string() for order in orders]
        columns += [order["shares"][word].as_float() for order in orders for word in (FIRST, SECOND)]
        query = select(VerdictRow.left_sha256, VerdictRow.right_sha256, *columns)
        query = query.where(VerdictRow.judge_id == judge_id, ~_superseded()).order_by(VerdictRow.id)
        with self.store._reading() as session:
            return [
                Words(left, right, one, other, (a, b), (c, d))
                for left, right, one, other, a, b, c, d in session.execute(query)
            ]

    def voted_by_people(self, voter_id: str | None = None) -> list[Battle]:
        """One battle for each two generations that people voted on (this one, where given), in the order of the first
        votes; without prompts that voters typed, which no judge gets to see."""
        query = (
            battles()
            .join(VoteRow, VoteRow.battle_id == BattleRow.id)
            .join(VoterRow, VoterRow.id == VoteRow.voter_id)
            .where(VoterRow.kind == VoterKind.PERSON, PromptRow.source != OWN_PROMPT)
            .order_by(VoteRow.id)
        )
        if voter_id is not None:
            query = query.where(VoteRow.voter_id == voter_id)
        found: dict[frozenset[int | None], Battle] = {}
        with self.store._reading() as session:
            for row in session.execute(query):
                battle = _battle(*row)
                found.setdefault(frozenset((battle.left.id, battle.right.id)), battle)
        return [*found.values()]

    def generations_met(self, judge_id: str) -> set[frozenset[int]]:
        """The two generations of every battle this judge has."""
        query = select(BattleRow.left_id, BattleRow.right_id).where(BattleRow.drawn_for == judge_id)
        with self.store._reading() as session:
            return {frozenset(both) for both in session.execute(query)}


def _pair_values(pair: Pair) -> dict[str, Any]:
    return {"prompt_id": pair.prompt_id, "left_sha256": pair.left, "right_sha256": pair.right}


def _add_verdict(session: Session, verdict: JudgeVerdict) -> JudgeVerdict:
    row = VerdictRow(
        judge_id=verdict.judge_id, prompt_id=verdict.prompt_id, left_sha256=verdict.left, right_sha256=verdict.right,
        attempt=verdict.attempt, question_sha256=verdict.question_sha256, answers=[*map(_plain, verdict.answers)],
        outcome=verdict.outcome, consistent=verdict.consistent, unscored=verdict.unscored, seconds=verdict.seconds,
        cost_usd=verdict.cost_usd, run_id=verdict.run_id, at=now(),
    )  # fmt: skip
    session.add(row)
    session.flush()
    return replace(verdict, id=row.id, at=row.at)


def _plain(answer: JudgeAnswer) -> dict[str, Any]:
    shares = None if answer.shares is None else dict(answer.shares)
    return {**asdict(replace(answer, shares=None)), "shares": shares}


def _superseded() -> ColumnElement[bool]:
    """Whether the pair was asked about again since."""
    later = aliased(VerdictRow)
    same = [
        getattr(later, name) == getattr(VerdictRow, name)
        for name in ("judge_id", "prompt_id", "left_sha256", "right_sha256")
    ]
    return exists().where(*same, later.attempt > VerdictRow.attempt)


def _judged(left: Any = None, right: Any = None) -> Select[Any]:
    """Verdicts with a battle each was for: rows of verdict, battle, prompt and both generations."""
    left, right = left or aliased(GenerationRow), right or aliased(GenerationRow)
    return (
        select(VerdictRow, BattleRow, PromptRow, left, right)
        .join(VerdictBattleRow, VerdictBattleRow.verdict_id == VerdictRow.id)
        .join(BattleRow, BattleRow.id == VerdictBattleRow.battle_id)
        .join(PromptRow, PromptRow.id == BattleRow.prompt_id)
        .join(left, left.id == BattleRow.left_id)
        .join(right, right.id == BattleRow.right_id)
    )


def _verdict(row: VerdictRow) -> JudgeVerdict:
    first, second = (JudgeAnswer(**answer) for answer in row.answers)
    return JudgeVerdict(
        judge_id=row.judge_id, prompt_id=row.prompt_id, left=row.left_sha256, right=row.right_sha256,
        answers=(first, second), question_sha256=row.question_sha256, outcome=row.outcome, consistent=row.consistent,
        unscored=row.unscored, attempt=row.attempt, run_id=row.run_id, at=row.at, id=row.id,
    )  # fmt: skip
