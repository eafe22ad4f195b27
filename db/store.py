"""Rows to domain objects and back. Each method is one transaction; nothing of SQLAlchemy leaves this file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from math import fsum
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Engine, Select, String, cast, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from arena.domain import (
    ASIDE,
    OWN_PROMPT,
    PEOPLE,
    Battle,
    Contestant,
    Generation,
    ImageRef,
    ImportedVote,
    Outcome,
    Prompt,
    Protocol,
    Run,
    RunKind,
    RunState,
    Score,
    Vote,
    VotedPair,
    VoteFilter,
    VoterKind,
)
from arena.errors import BattleExpired, DuplicateVote, UnknownBattle, UnknownName, UsageError
from db import ballots, checkpoints, statements
from db import engine as engines
from db.decisions import Action, Withdrawn
from db.schema import (
    BallotRow,
    BattleRow,
    BoardRow,
    ContestantRow,
    GenerationRow,
    ImportedVoteRow,
    PromptRow,
    ProtocolRow,
    RatingRow,
    ReferenceSetRow,
    RunRow,
    ScoreRow,
    SkipRow,
    VoteExclusionRow,
    VoteRow,
    VoterRow,
    text_sha256,
)

Ratings = Mapping[int, float]
Rate = Callable[[Iterable[VotedPair], Ratings], dict[int, float]]


@dataclass(frozen=True, slots=True)
class CastVote:
    """A vote as it was cast: with its battle and both ratings before and after. One that is kept aside moves no rating;
    `after` is then what it would have led to."""

    vote: Vote
    battle: Battle
    before: Ratings
    after: Ratings
    voter_votes: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Votes that count, from SQL: contestants' names by id, and arrays of integers (n,).

    `left_id`, `right_id`: contestant ids. `outcome`: position in `Outcome`. `cluster`: a number for the voter or the
    prompt; None where votes were not kept apart.
    """

    names: Mapping[int, str]
    left_id: NDArray[np.int32]
    right_id: NDArray[np.int32]
    outcome: NDArray[np.int8]
    count: NDArray[np.int64]
    cluster: NDArray[np.int64] | None


class SampledVote(NamedTuple):
    """A vote with the probability that its pair and prompt were drawn with; `outcome` is the position in `Outcome`."""

    left_id: int
    right_id: int
    outcome: int
    voter_key: int
    probability: float


class VotedImages(NamedTuple):
    """A vote with the images it was about; `outcome` is the position in `Outcome`."""

    left_id: int
    right_id: int
    outcome: int
    voter_key: int
    left_sha256: str
    right_sha256: str
    prompt_id: int


@dataclass(slots=True)
class _Live:
    """A cached board under its lock: the last ballot it counts, and at how many exclusions."""

    id: int
    parameters: Mapping[str, Any]
    last: int
    exclusions: int


@dataclass(frozen=True, slots=True)
class _Labels:
    """Board and category of the ballots up to one, at how many exclusions."""

    ballot: int = 0
    excluded: int = 0
    labels: frozenset[tuple[str, str]] = frozenset()


def now() -> datetime:
    return datetime.now(UTC)


class Store:
    """The arena's database. Thread-safe; open one per process."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._writer = engine.execution_options(**{engines.WRITES: True})
        self._known = _Labels()
        # SQLite has one writer at a time and lets the others sleep up to a tenth of a second before they look again.
        self._turn = Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with engines.connecting(self.engine), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        writing = Session(self._writer, expire_on_commit=False)
        with self._turn, engines.connecting(self.engine), writing as session, session.begin():
            yield session

    def _insert(self, table: type) -> Any:
        """INSERT that can say ON CONFLICT."""
        return statements.insert_into(table, self.engine.dialect.name)

    # Prompts and contestants

    def add_prompts(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Store those whose text is new; returns all of them with their ids, in order.

        A prompt that only a voter had typed so far becomes everyone's when it is added from another source.
        """
        prompts = list(prompts)
        with self._writing() as session:
            for prompt in prompts:
                values = {"category": prompt.category, "tags": list(prompt.tags), "source": prompt.source}
                session.execute(
                    self._insert(PromptRow)
                    .values(text=prompt.text, **values)
                    .on_conflict_do_update(
                        index_elements=["text_sha256"], set_=values,
                        where=(PromptRow.source == OWN_PROMPT) & (prompt.source != OWN_PROMPT),
                    )
                )  # fmt: skip
            texts = [text_sha256(prompt.text) for prompt in prompts]
            rows = session.scalars(select(PromptRow).where(PromptRow.text_sha256.in_(texts)))
            stored = {row.text: _prompt(row) for row in rows}
        return [stored[prompt.text] for prompt in prompts]

    def prompts(self) -> list[Prompt]:
        """Everyone's prompts, without those that voters typed for themselves."""
        query = select(PromptRow).where(PromptRow.source != OWN_PROMPT).order_by(PromptRow.id)
        with self._reading() as session:
            return [_prompt(row) for row in session.scalars(query)]

    def categories(self) -> list[str]:
        """The categories of the prompts that have been voted on, and of all that could be."""
        with self._reading() as session:
            asked = session.scalars(select(PromptRow.category).distinct())
            voted = (category for _, category in self._labels(session))
            return sorted({*asked, *voted} - {""})

    def prompt_categories(self) -> list[str]:
        """The categories of the prompts there are."""
        query = select(PromptRow.category).where(PromptRow.source != OWN_PROMPT).distinct()
        with self._reading() as session:
            return sorted({*session.scalars(query)} - {""})

    def add_contestant(self, contestant: Contestant) -> Contestant:
        """Store it, or update card and running of the one with the same name and settings; see `add_contestants`."""
        [stored] = self.add_contestants([contestant])
        return stored

    def add_contestants(self, contestants: Iterable[Contestant]) -> list[Contestant]:
        """Store them, or update card and running of those with the same name and settings: all of them or none.

        Raises UsageError when a name is taken by other settings: what was voted on must not change.
        """
        with self._writing() as session:
            return [_contestant(self._put_contestant(session, contestant)) for contestant in contestants]

    def _put_contestant(self, session: Session, contestant: Contestant) -> ContestantRow:
        row = session.scalar(select(ContestantRow).where(ContestantRow.name == contestant.name))
        if row is None:
            return self._new_contestant(session, contestant)
        if row.fingerprint != contestant.fingerprint:
            raise UsageError(
                f"The contestant {contestant.name!r} exists with other settings, and votes were cast on those; "
                "choose another name for the new ones."
            )
        row.card, row.running = dict(contestant.card), dict(contestant.running)
        session.flush()
        return row

    @staticmethod
    def _new_contestant(session: Session, contestant: Contestant) -> ContestantRow:
        row = ContestantRow(
            name=contestant.name,
            backend=contestant.backend,
            settings=dict(contestant.settings),
            card=dict(contestant.card),
            running=dict(contestant.running),
            fingerprint=contestant.fingerprint,
        )
        session.add(row)
        session.flush()
        return row

    def contestants(self) -> list[Contestant]:
        with self._reading() as session:
            return [_contestant(row) for row in session.scalars(select(ContestantRow).order_by(ContestantRow.id))]

    def contestant(self, name: str) -> Contestant:
        """Raises UnknownName with the known ones."""
        known = {contestant.name: contestant for contestant in self.contestants()}
        if name not in known:
            raise UnknownName("contestant", name, known)
        return known[name]

    def withdrawn(self) -> Withdrawn:
        """What is kept from battles."""
        with self._reading() as session:
            return Withdrawn.of(session)

    # Generations

    def add_generations(self, generations: Iterable[Generation]) -> None:
        """Store attempts, all or none. An image is never replaced; a failure is, by whatever came of the retry."""
        with self._writing() as session:
            for generation in generations:
                values = _generation_values(generation)
                statement = self._insert(GenerationRow).values(**values)
                session.execute(
                    statement.on_conflict_do_update(
                        index_elements=["contestant_id", "prompt_id", "seed"],
                        set_={key: statement.excluded[key] for key in values},
                        where=GenerationRow.failure.is_not(None),
                    )
                )

    def generations(self, contestant_id: int, *, images_only: bool = False) -> list[Generation]:
        """A contestant's attempts, oldest first."""
        query = select(GenerationRow).where(GenerationRow.contestant_id == contestant_id).order_by(GenerationRow.id)
        if images_only:
            query = query.where(GenerationRow.sha256.is_not(None))
        with self._reading() as session:
            return [_generation(row) for row in session.scalars(query)]

    def mean_seconds(self) -> dict[int, float]:
        """Seconds per image by contestant id, over those that were timed; rounded once, whatever the database."""
        query = select(GenerationRow.contestant_id, GenerationRow.seconds).where(
            GenerationRow.sha256.is_not(None), GenerationRow.seconds.is_not(None)
        )
        found: dict[int, list[float]] = {}
        with self._reading() as session:
            for contestant_id, seconds in session.execute(query):
                found.setdefault(contestant_id, []).append(seconds)
        # SQL's avg adds up in another order, and with other roundings, on every database.
        return {contestant_id: fsum(values) / len(values) for contestant_id, values in found.items()}

    # Voters and battles

    def add_voter(self, voter_id: str, kind: VoterKind = VoterKind.PERSON) -> None:
        """Make the voter known; a known one stays as it is."""
        with self._writing() as session:
            self._add_voter(session, voter_id, kind)

    def _add_voter(self, session: Session, voter_id: str, kind: VoterKind) -> None:
        session.execute(
            self._insert(VoterRow)
            .values(id=voter_id, kind=kind, since=now())
            .on_conflict_do_nothing(index_elements=["id"])
        )

    def prompts_with_images(self, category: str | None = None) -> dict[int, list[int]]:
        """Contestant id -> ids of the prompts it has an image for that may be drawn: nothing retired or hidden, and
        no prompt that a voter typed."""
        asked = {} if category is None else {"category": category}
        found: dict[int, list[int]] = {}
        with self._reading() as session:
            cells, withdrawn = session.execute(statements.cells_with_images(bool(asked)), asked), Withdrawn.of(session)
            for contestant_id, prompt_id, id in cells:
                if withdrawn.shows_image(contestant_id, prompt_id, id):
                    found.setdefault(contestant_id, []).append(prompt_id)
        return {contestant_id: [*dict.fromkeys(prompts)] for contestant_id, prompts in found.items()}

    def seen_cells(self, voter_id: str) -> list[tuple[int, int, int]]:
        """(lower contestant id, higher contestant id, prompt id) of every battle ever drawn for this voter."""
        with self._reading() as session:
            cells = session.execute(statements.SEEN_CELLS, {"voter_id": voter_id})
            return [(min(a, b), max(a, b), prompt) for a, b, prompt in cells]

    def generation_for(self, contestant_id: int, prompt_id: int) -> Generation:
        """The contestant's oldest image for the prompt that is not hidden."""
        query = (
            select(GenerationRow)
            .where(
                GenerationRow.contestant_id == contestant_id,
                GenerationRow.prompt_id == prompt_id,
                GenerationRow.sha256.is_not(None),
            )
            .order_by(GenerationRow.id)
            .limit(1)
        )
        with self._reading() as session:
            hidden = Withdrawn.of(session).generations
            return _generation(session.scalars(query.where(GenerationRow.id.not_in(hidden))).one())

    def prompt(self, prompt_id: int) -> Prompt:
        with self._reading() as session:
            return _prompt(session.get_one(PromptRow, prompt_id))

    def add_battle(self, battle: Battle, kind: VoterKind = VoterKind.PERSON) -> Battle:
        """Store a drawn battle, and its voter if new."""
        with self._writing() as session:
            self._add_voter(session, battle.drawn_for, kind)
            row = BattleRow(
                token=battle.token,
                prompt_id=battle.prompt.id,
                left_id=battle.left.id,
                right_id=battle.right.id,
                drawn_for=battle.drawn_for,
                policy=battle.policy,
                probability=battle.probability,
                at=now(),
            )
            session.add(row)
            session.flush()
            return replace(battle, id=row.id)

    def open_battles(self, voter_id: str, category: str | None = None, since: datetime | None = None) -> list[Battle]:
        """Battles drawn for this voter (since then), neither voted on nor skipped nor withdrawn; oldest first."""
        asked = {"voter_id": voter_id, "since": since or _EPOCH} | ({} if category is None else {"category": category})
        with self._reading() as session:
            found = [_battle(*row) for row in session.execute(statements.open_battles(category is not None), asked)]
            withdrawn = Withdrawn.of(session) if found else None
        return [battle for battle in found if withdrawn and withdrawn.allows_battle(battle)]

    def battle(self, token: str) -> Battle:
        """Raises UnknownBattle."""
        with self._reading() as session:
            return self._battle(session, token)

    def _battle(self, session: Session, token: str, since: datetime | None = None) -> Battle:
        row = session.execute(statements.BATTLE, {"token": token}).one_or_none()
        if row is None:
            raise UnknownBattle(f"There is no battle {token[:40]!r}; reload the page to get a new one.")
        if since is not None and row[0].at < since:
            raise BattleExpired(f"That pair was drawn on {row[0].at:%d %B %Y}, too long ago; vote on a new one.")
        return _battle(*row)

    def add_skip(self, battle_id: int, voter_id: str) -> None:
        with self._writing() as session:
            session.execute(
                self._insert(SkipRow)
                .values(battle_id=battle_id, voter_id=voter_id, at=now())
                .on_conflict_do_nothing(index_elements=["battle_id", "voter_id"])
            )

    # Votes and the live board

    def cast_vote(
        self,
        token: str,
        voter_id: str,
        outcome: Outcome,
        decision_seconds: float | None,
        *,
        board: str,
        parameters: Mapping[str, Any],
        start: float,
        rate: Rate,
        since: datetime | None = None,
        recipe: str | None = None,
        swapped: bool | None = None,
    ) -> CastVote:
        """Add a vote and bring the board up to it, in one transaction. `recipe`, `swapped`: how it was shown.

        The board's row is locked before the vote gets its id, so that ids are given in the order in which votes
        become visible, on every database: the board after vote n is the replay of votes 1 to n.
        Raises UnknownBattle, DuplicateVote, and BattleExpired for one drawn before `since`; then nothing has changed.
        """
        with self._writing() as session:
            live = self._locked_board(session, board, parameters)
            battle = self._battle(session, token, since)
            if battle.drawn_for != voter_id:
                raise UnknownBattle(
                    f"The battle {token[:40]!r} was drawn for another voter; reload the page to get your own."
                )
            before = self._up_to_date(session, live, rate)
            vote = self._add_vote(session, battle, voter_id, outcome, decision_seconds, recipe, swapped)
            where, ballot_id = self._add_ballot(session, battle, vote)
            both = (battle.left.contestant_id, battle.right.contestant_id)
            after = rate([VotedPair(ballot_id, *both, outcome)], before)
            if where == board:
                self._move(session, live, ballot_id, after, changed=both)
            return CastVote(
                vote,
                battle,
                {id: before.get(id, start) for id in both},
                {id: after.get(id, start) for id in both},
                session.scalar(statements.STANDING_VOTES, {"voter_id": voter_id}) or 0,
            )

    @staticmethod
    def _add_vote(
        session: Session,
        battle: Battle,
        voter_id: str,
        outcome: Outcome,
        decision_seconds: float | None,
        recipe: str | None = None,
        swapped: bool | None = None,
    ) -> Vote:
        values = {
            "battle_id": battle.id, "voter_id": voter_id, "outcome": outcome, "at": now(),
            "decision_seconds": decision_seconds, "recipe": recipe, "swapped": swapped,
        }  # fmt: skip
        try:
            return Vote(**values, id=session.scalar(statements.ADDED_VOTE, values))
        except IntegrityError as error:
            raise DuplicateVote(
                f"You already voted on the battle {battle.token[:40]!r}; your first vote stands."
            ) from error

    @staticmethod
    def _add_ballot(session: Session, battle: Battle, vote: Vote) -> tuple[str, int]:
        """A person's vote goes to the people's board or aside, a judge's to the judge's own; that board, and the id."""
        board = _board_of(session, vote)
        values = {
            "board": board,
            "vote_id": vote.id,
            "left_id": battle.left.contestant_id,
            "right_id": battle.right.contestant_id,
            "outcome": ballots.OUTCOMES.index(vote.outcome),
            "count": 1,
            "voter_key": ballots.key(vote.voter_id),
            "prompt_key": ballots.key(battle.prompt.text),
            "category": battle.prompt.category,
            "probability": battle.probability,
            "at": vote.at,
        }
        return board, session.scalars(statements.ADDED_BALLOT, values).one()

    def _locked_board(self, session: Session, name: str, parameters: Mapping[str, Any]) -> _Live:
        """The board, its row held until the transaction ends; emptied when its parameters are no longer these."""
        found = session.execute(statements.LOCKED_BOARD, {"name": name}).one_or_none()
        if found is None:
            session.execute(
                self._insert(BoardRow)
                .values(name=name, parameters=dict(parameters), last_vote_id=0, exclusions=0)
                .on_conflict_do_nothing(index_elements=["name"])
            )
            found = session.execute(statements.LOCKED_BOARD, {"name": name}).one()
        live, excluded = _Live(*found), self._exclusions(session)
        if live.parameters != dict(parameters):
            checkpoints.forget(session, live.id)
        if live.parameters != dict(parameters) or live.exclusions != excluded:
            session.execute(delete(RatingRow).where(RatingRow.board_id == live.id))
            last, ratings = checkpoints.newest(session, live.id, excluded)
            live.parameters, live.last, live.exclusions = dict(parameters), last, excluded
            self._save(session, live, ratings)
        return live

    def _up_to_date(self, session: Session, live: _Live, rate: Rate) -> dict[int, float]:
        """The board's ratings after every vote now in the ledger."""
        ratings = self._ratings(session, live.id)
        missed = self._voted_pairs(session, after=live.last)
        if missed:
            ratings = rate(missed, ratings)
            self._move(session, live, missed[-1].vote_id, ratings, changed=ratings)
        return dict(ratings)

    def _move(self, session: Session, live: _Live, last: int, ratings: Ratings, changed: Iterable[int]) -> None:
        """Bring the board to the ballot `last`, after which these are its ratings; those `changed` are written."""
        if checkpoints.due(live.last, last):
            checkpoints.save(session, live.id, last, ratings, live.exclusions)
        live.last = last
        self._save(session, live, {id: ratings[id] for id in changed})

    def _save(self, session: Session, live: _Live, ratings: Ratings) -> None:
        session.execute(
            statements.MOVED_BOARD,
            {"board_id": live.id, "new_parameters": dict(live.parameters), "new_last_vote_id": live.last,
             "new_exclusions": live.exclusions},
        )  # fmt: skip
        values = [{"board_id": live.id, "contestant_id": id, "value": value} for id, value in ratings.items()]
        if values:
            session.execute(statements.saved_rating(self.engine.dialect.name), values)

    @staticmethod
    def _ratings(session: Session, board_id: int) -> dict[int, float]:
        return dict(session.execute(statements.RATINGS, {"board_id": board_id}).all())

    @staticmethod
    def _exclusions(session: Session) -> int:
        return session.scalar(statements.EXCLUSIONS) or 0

    def ratings(self, board: str, parameters: Mapping[str, Any], rate: Rate) -> tuple[dict[int, float], int]:
        """The board's ratings and the last vote they count; computed from the ledger where the cache lags behind."""
        with self._reading() as session:
            row = session.execute(statements.BOARD, {"name": board}).one_or_none()
            last, ratings = 0, {}
            if row is not None and row.parameters == dict(parameters):
                excluded = self._exclusions(session)
                if row.exclusions == excluded:
                    last, ratings = row.last_vote_id, self._ratings(session, row.id)
                else:
                    last, ratings = checkpoints.newest(session, row.id, excluded)
            missed = self._voted_pairs(session, after=last)
        return (rate(missed, ratings), missed[-1].vote_id) if missed else (ratings, last)

    def cached_ratings(self, board: str) -> dict[int, float]:
        """The ratings as stored, without looking at the ledger."""
        with self._reading() as session:
            row = session.execute(statements.BOARD, {"name": board}).one_or_none()
            return {} if row is None else self._ratings(session, row.id)

    def voted_pairs(self, after: int = 0) -> list[VotedPair]:
        """Counted votes of people with an id above `after`, in order."""
        with self._reading() as session:
            return self._voted_pairs(session, after)

    @staticmethod
    def _voted_pairs(session: Session, after: int) -> list[VotedPair]:
        return [
            pair
            for id, left, right, outcome, count in session.execute(statements.VOTED_PAIRS, {"after": after})
            for pair in [VotedPair(id, left, right, ballots.OUTCOMES[outcome])] * count
        ]

    def counts(self, votes: VoteFilter, cluster: str | None = "voter") -> Counts:
        """The votes the filter lets through, by contestants and outcome, and by "voter" or "prompt".

        Without `cluster` equal votes are added up; with it, a row is a voter's or prompt's votes as they were written.
        """
        cell = (BallotRow.left_id * _BASE + BallotRow.right_id) * len(ballots.OUTCOMES) + BallotRow.outcome
        with self._reading() as session:
            names = dict(session.execute(select(ContestantRow.id, ContestantRow.name)).all())
            if cluster:
                key = {"voter": BallotRow.voter_key, "prompt": BallotRow.prompt_key}[cluster]
                keys, cells, counts = _by_key(session, key, cell, votes)
            else:
                groups = (BallotRow.left_id, BallotRow.right_id, BallotRow.outcome)
                total = cast(func.sum(BallotRow.count), BigInteger)
                found = _integers(session, _filtered(select(cell, total), votes).group_by(*groups), 2)
                keys, (cells, counts) = None, found.T
        pair = cells // len(ballots.OUTCOMES)
        return Counts(
            names=names,
            left_id=(pair // _BASE).astype(np.int32),
            right_id=(pair % _BASE).astype(np.int32),
            outcome=(cells % len(ballots.OUTCOMES)).astype(np.int8),
            count=counts,
            cluster=keys,
        )

    def ballots_after(self, votes: VoteFilter, after: int) -> NDArray[np.int64]:
        """The votes the filter lets through that began to count after the ballot `after`, in their order.

        int64 (n, 6): ballot, left and right contestant, position of the outcome, count, and the voter's key.
        """
        query = statements.ballots_after(frozenset(_limits(votes)))
        with self._reading() as session:
            return _integers(session, query, 6, {"after": after, **_limits(votes)})

    def sampled(self, votes: VoteFilter) -> list[SampledVote]:
        """The votes the filter lets through whose battle was drawn here, with the probability it was drawn with."""
        columns = (
            BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.voter_key, BallotRow.probability,
        )  # fmt: skip
        query = _filtered(select(*columns), votes).where(BallotRow.probability.is_not(None)).order_by(BallotRow.id)
        with self._reading() as session:
            return [SampledVote(*row) for row in session.execute(query)]

    def judges(self) -> list[str]:
        """The boards of judges: the voter ids of those that have votes."""
        with self._reading() as session:
            return sorted({board for board, _ in self._labels(session)} - {PEOPLE, ASIDE})

    def _labels(self, session: Session) -> frozenset[tuple[str, str]]:
        """Board and category of every ballot. What was read stays known: of a million ballots only the new ones are."""
        ballot, excluded, _ = session.execute(statements.NEWEST).one()
        known = self._known if self._known.excluded == excluded else _Labels()
        if ballot > known.ballot:
            rows = session.execute(statements.LABELS_AFTER, {"after": known.ballot})
            known = _Labels(ballot, excluded, known.labels.union(map(tuple, rows)))
        self._known = known
        return known.labels

    def voted_images(self, votes: VoteFilter) -> list[VotedImages]:
        """The votes the filter lets through of which both images are in this arena, in their order."""
        left, right = aliased(GenerationRow), aliased(GenerationRow)
        query = (
            _filtered(
                select(
                    BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.voter_key, left.sha256,
                    right.sha256, BattleRow.prompt_id,
                ),
                votes,
            )
            .join(VoteRow, VoteRow.id == BallotRow.vote_id)
            .join(BattleRow, BattleRow.id == VoteRow.battle_id)
            .join(left, left.id == BattleRow.left_id)
            .join(right, right.id == BattleRow.right_id)
            .order_by(BallotRow.id)
        )  # fmt: skip
        with self._reading() as session:
            return [VotedImages(*row) for row in session.execute(query)]

    def newest(self) -> tuple[int, int, int]:
        """Last ballot, number of excluded votes, last contestant: a board stays the same as long as these do."""
        with self._reading() as session:
            ballot, excluded, contestant = session.execute(statements.NEWEST).one()
            return ballot, excluded, contestant

    def votes(self, voter_id: str | None = None) -> list[Vote]:
        """The ledger, in order; of one voter where given."""
        query = select(VoteRow).order_by(VoteRow.id)
        if voter_id is not None:
            query = query.where(VoteRow.voter_id == voter_id)
        with self._reading() as session:
            return [_vote(row) for row in session.scalars(query)]

    def exclude_vote(self, vote_id: int, reason: str) -> None:
        """Stop counting a vote; the vote itself stays in the ledger."""
        with self._writing() as session:
            self._exclude_vote(session, vote_id, reason)

    def _exclude_vote(self, session: Session, vote_id: int, reason: str) -> None:
        ballot = session.scalar(select(BallotRow.id).where(BallotRow.vote_id == vote_id))
        session.execute(
            self._insert(VoteExclusionRow)
            .values(vote_id=vote_id, reason=reason, at=now(), ballot_id=ballot)
            .on_conflict_do_nothing(index_elements=["vote_id"])
        )
        session.execute(delete(BallotRow).where(BallotRow.vote_id == vote_id))

    # Votes from elsewhere

    def has_imported(self, source: str) -> bool:
        """Whether a file (its sha256) is in the ledger of imported votes."""
        with self._reading() as session:
            return bool(session.scalar(select(exists().where(ImportedVoteRow.source == source))))

    def import_votes(
        self,
        source: str,
        votes: Iterable[ImportedVote],
        contestant: Callable[[str], Contestant],
        *,
        board: str,
        parameters: Mapping[str, Any],
        rate: Rate,
    ) -> None:
        """Add votes to the ledger of imported ones and to a board, in one transaction: all or none.

        A name that is no contestant's becomes the one that `contestant` makes of it. The board's row is locked, so
        that live votes and imports begin to count one after the other.
        """
        with self._writing() as session:
            live = self._locked_board(session, board, parameters)
            ids = {name: id for id, name in session.execute(select(ContestantRow.id, ContestantRow.name))}
            last = session.scalar(select(func.coalesce(func.max(ImportedVoteRow.id), 0))) or 0
            numbered = ((last + 1 + position, position, vote) for position, vote in enumerate(votes))
            while part := [*islice(numbered, _PART)]:
                for name in dict.fromkeys(name for *_, vote in part for name in (vote.left, vote.right)):
                    if name not in ids:
                        ids[name] = self._new_contestant(session, contestant(name)).id
                session.execute(
                    self._insert(ImportedVoteRow),
                    [_imported_values(id, source, position, vote, ids) for id, position, vote in part],
                )
                session.execute(self._insert(BallotRow), [_ballot_values(id, board, vote, ids) for id, _, vote in part])
            self._up_to_date(session, live, rate)

    def exported(self, board: str) -> Iterator[ImportedVote]:
        """The votes that count on a board, in their order, as another arena would import them."""
        left, right = aliased(ContestantRow), aliased(ContestantRow)
        prompt = func.coalesce(PromptRow.text, ImportedVoteRow.prompt)
        query = (
            select(
                left.name, right.name, BallotRow.outcome, BallotRow.count, BallotRow.voter_key, ImportedVoteRow.voter,
                ImportedVoteRow.id, prompt, BallotRow.category, BallotRow.at,
            )
            .join(left, left.id == BallotRow.left_id)
            .join(right, right.id == BallotRow.right_id)
            .outerjoin(ImportedVoteRow, ImportedVoteRow.id == BallotRow.imported_id)
            .outerjoin(VoteRow, VoteRow.id == BallotRow.vote_id)
            .outerjoin(BattleRow, BattleRow.id == VoteRow.battle_id)
            .outerjoin(PromptRow, PromptRow.id == BattleRow.prompt_id)
            .where(BallotRow.board == board)
            .order_by(BallotRow.id)
            .execution_options(yield_per=_PART)
        )  # fmt: skip
        with self._reading() as session:
            for a, b, outcome, n, key, voter, imported, text, category, at in session.execute(query):
                who = voter if imported is not None else f"voter-{key:016x}"
                yield ImportedVote(a, b, ballots.OUTCOMES[outcome], n, who, text, category or None, at)

    # Runs and scores

    def add_run(self, kind: RunKind, subject: str, parameters: Mapping[str, Any] | None = None) -> Run:
        with self._writing() as session:
            row = RunRow(
                kind=kind, subject=subject, state=RunState.RUNNING, done=0, total=0, stage="starting", message="",
                parameters=dict(parameters or {}), pid=None, started_at=now(), heartbeat_at=now(), finished_at=None,
            )  # fmt: skip
            session.add(row)
            session.flush()
            return _run(row)

    def beat(self, run_id: int, *, pid: int | None = None, stage: str = "", done: int = 0, total: int = 0) -> RunState:
        """Report progress of a running Run; returns its state, which another process may have set to cancelled."""
        values: dict[str, Any] = {"heartbeat_at": now(), "stage": stage, "done": done, "total": total}
        if pid is not None:
            values["pid"] = pid
        with self._writing() as session:
            session.execute(
                update(RunRow).where(RunRow.id == run_id, RunRow.state == RunState.RUNNING).values(**values)
            )
            return session.scalars(select(RunRow.state).where(RunRow.id == run_id)).one()

    def end_run(self, run_id: int, state: RunState, message: str = "", scores: Iterable[Score] = ()) -> bool:
        """Close a running Run and store its scores, all or none; False, and nothing stored, if it was closed before."""
        with self._writing() as session:
            done = session.execute(
                update(RunRow)
                .where(RunRow.id == run_id, RunRow.state == RunState.RUNNING)
                .values(state=state, message=message, finished_at=now())
            )
            closed = bool(done.rowcount)
            if closed:
                for score in scores:
                    self._add_score(session, score)
            return closed

    def close_silent(self, kinds: Iterable[RunKind], before: datetime, message: str) -> None:
        """Close as failed the running Runs of these kinds that last reported before then."""
        with self._reading() as session:
            silent = RunRow.state == RunState.RUNNING, RunRow.kind.in_([*kinds]), RunRow.heartbeat_at < before
            found = session.scalars(select(RunRow.id).where(*silent)).all()
        if found:  # so that looking at runs takes no write lock
            with self._writing() as session:
                values = {"state": RunState.FAILED, "message": message, "finished_at": now()}
                session.execute(update(RunRow).where(*silent).values(**values))

    def runs(self, kind: RunKind | None = None, limit: int = 20) -> list[Run]:
        """Newest first."""
        query = select(RunRow).order_by(RunRow.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(RunRow.kind == kind)
        with self._reading() as session:
            return [_run(row) for row in session.scalars(query)]

    def run(self, run_id: int) -> Run:
        with self._reading() as session:
            row = session.get(RunRow, run_id)
            if row is None:
                raise UsageError(f"There is no run {run_id}; the Benchmarks page lists those there are.")
            return _run(row)

    def add_reference_set(self, name: str, n: int, recipe: Mapping[str, Any]) -> None:
        with self._writing() as session:
            session.execute(
                self._insert(ReferenceSetRow)
                .values(name=name, n=n, recipe=dict(recipe))
                .on_conflict_do_nothing(index_elements=["name"])
            )

    def add_score(self, score: Score) -> None:
        with self._writing() as session:
            self._add_score(session, score)

    def _add_score(self, session: Session, score: Score) -> None:
        protocol = score.protocol
        session.execute(
            self._insert(ProtocolRow)
            .values(
                fingerprint=protocol.fingerprint,
                name=protocol.name,
                version=protocol.version,
                settings=dict(protocol.settings),
            )
            .on_conflict_do_nothing(index_elements=["fingerprint"])
        )
        session.add(
            ScoreRow(
                subject=score.subject,
                metric=score.metric,
                protocol_fingerprint=protocol.fingerprint,
                contestant_id=score.contestant_id,
                run_id=score.run_id,
                value=score.value,
                unscored=score.unscored,
                details=dict(score.details),
                images=[*map(list, score.images)] or None,
                at=score.at or now(),
            )
        )

    def newest_score(self) -> int:
        """The id of the newest score, 0 where there is none."""
        with self._reading() as session:
            return session.scalar(select(func.coalesce(func.max(ScoreRow.id), 0))) or 0

    def scores(self, limit: int = 200) -> list[Score]:
        """Newest first."""
        query = (
            select(ScoreRow, ProtocolRow)
            .join(ProtocolRow, ProtocolRow.fingerprint == ScoreRow.protocol_fingerprint)
            .order_by(ScoreRow.id.desc())
            .limit(limit)
        )
        with self._reading() as session:
            return [_score(row, protocol) for row, protocol in session.execute(query)]


def _board_of(session: Session, vote: Vote) -> str:
    """People's board, unless the voter is excluded or the battle's own prompt does not count; a judge's own."""
    asked = {"battle_id": vote.battle_id, "voter_id": vote.voter_id}
    kind, counts, decided = session.execute(statements.BALLOT_KIND, asked).one()
    if kind is not VoterKind.PERSON:
        return vote.voter_id
    return ASIDE if counts is False or decided == Action.EXCLUDE else PEOPLE


_PART = 10_000
_KEYS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE = 1 << 24
"""More contestants than an arena will ever have."""


def _imported_values(id: int, source: str, position: int, vote: ImportedVote, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": id, "source": source, "position": position, "left_id": ids[vote.left], "right_id": ids[vote.right],
        "outcome": vote.outcome, "count": vote.count, "voter": vote.voter, "prompt": vote.prompt,
        "category": vote.category, "at": vote.at,
    }  # fmt: skip


def _ballot_values(id: int, board: str, vote: ImportedVote, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "board": board, "imported_id": id, "left_id": ids[vote.left], "right_id": ids[vote.right],
        "outcome": ballots.OUTCOMES.index(vote.outcome), "count": vote.count, "voter_key": ballots.key(vote.voter),
        "prompt_key": ballots.key(vote.prompt), "category": vote.category or "", "at": vote.at,
    }  # fmt: skip


def _limits(votes: VoteFilter) -> dict[str, Any]:
    """What the filter asks for, without what it leaves open."""
    return {name: value for name, value in asdict(votes).items() if value is not None}


def _filtered(query: Select[Any], votes: VoteFilter) -> Select[Any]:
    return statements.filtered(query, frozenset(_limits(votes))).params(_limits(votes))


def _by_key(
    session: Session, key: Any, cell: Any, votes: VoteFilter
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Key, cell and count of each ballot, int64 (n,) each: one text for each key, which numpy reads.

    Handing a million rows of three numbers to Python takes twice as long as all the rest of a board.
    """
    pair = cast(cell, String).concat(" ").concat(cast(BallotRow.count, String))
    query = _filtered(select(key, func.count(), func.aggregate_strings(pair, " ")), votes).group_by(key)
    cursor = session.connection().execute(query).cursor
    keys, cells, counts = ([np.zeros(0, np.int64)] for _ in range(3))
    while rows := cursor.fetchmany(_KEYS):
        found, lengths, texts = zip(*rows, strict=True)
        pairs = np.fromstring(" ".join(texts), np.int64, sep=" ").reshape(-1, 2)
        keys.append(np.repeat(np.array(found, np.int64), lengths))
        cells.append(pairs[:, 0].copy())
        counts.append(pairs[:, 1].copy())
    return np.concatenate(keys), np.concatenate(cells), np.concatenate(counts)


def _integers(
    session: Session, query: Select[Any], width: int, asked: Mapping[str, Any] | None = None
) -> NDArray[np.int64]:
    """The rows of a query of integers, int64 (n, width), straight from the driver: no object for each row."""
    result = session.connection().execute(query, asked)
    return np.fromiter(chain.from_iterable(result.cursor), np.int64).reshape(-1, width)


def _prompt(row: PromptRow) -> Prompt:
    return Prompt(row.text, row.category, tuple(row.tags), row.source, row.id)


def _contestant(row: ContestantRow) -> Contestant:
    return Contestant(row.name, row.backend, row.settings, row.card, row.id, row.running)


def _generation_values(generation: Generation) -> dict[str, Any]:
    image = generation.image
    return {
        "contestant_id": generation.contestant_id,
        "prompt_id": generation.prompt_id,
        "seed": generation.seed,
        "sha256": image and image.sha256,
        "width": image and image.width,
        "height": image and image.height,
        "media_type": image and image.media_type,
        "seconds": generation.seconds,
        "cost_usd": generation.cost_usd,
        "cost_source": generation.cost_source,
        "failure": generation.failure,
        "at": now(),
    }


def _generation(row: GenerationRow) -> Generation:
    image = None
    if row.sha256 is not None:
        image = ImageRef(row.sha256, row.width or 0, row.height or 0, row.media_type or "")
    return Generation(
        row.contestant_id, row.prompt_id, row.seed, image, row.seconds, row.cost_usd, row.failure, row.id,
        row.cost_source,
    )  # fmt: skip


def _battle(row: BattleRow, prompt: PromptRow, left: GenerationRow, right: GenerationRow) -> Battle:
    return Battle(
        prompt=_prompt(prompt),
        left=_generation(left),
        right=_generation(right),
        policy=row.policy,
        probability=row.probability,
        token=row.token,
        drawn_for=row.drawn_for,
        id=row.id,
    )


def _vote(row: VoteRow) -> Vote:
    return Vote(row.battle_id, row.voter_id, row.outcome, row.at, row.decision_seconds, row.id, row.recipe, row.swapped)


def _run(row: RunRow) -> Run:
    return Run(
        kind=row.kind, subject=row.subject, state=row.state, started_at=row.started_at, heartbeat_at=row.heartbeat_at,
        done=row.done, total=row.total, stage=row.stage, message=row.message, pid=row.pid,
        parameters=row.parameters, finished_at=row.finished_at, id=row.id,
    )  # fmt: skip


def _score(row: ScoreRow, protocol: ProtocolRow) -> Score:
    return Score(
        subject=row.subject,
        metric=row.metric,
        protocol=Protocol(protocol.name, protocol.version, protocol.settings),
        value=row.value,
        unscored=row.unscored,
        details=row.details,
        contestant_id=row.contestant_id,
        run_id=row.run_id,
        at=row.at,
        id=row.id,
    )
