"""A voter's own board: their ranking, how far others and the judge agree, their taste; and their data, to take or to
delete."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.domain import ASIDE, OWN_PROMPT, PEOPLE, Outcome, VoteFilter
from arena.errors import DataError
from arena.rating import agreement as ratings
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import covariates
from arena.rating.agreement import NOT_ASKED, UNSCORED, Agreement, Share
from arena.rating.board import Board
from arena.rating.comparisons import CODES, Comparisons, aggregate
from arena.services import audit, counting, judging, running
from arena.services.votes_files import WRITTEN
from db import ballots
from db.personal import Erased, OthersVote, OwnVote, Personal
from db.renditions import Renditions
from db.verdicts import Pair

if TYPE_CHECKING:
    from arena.bootstrap import Arena

NEEDED = 30
"""Votes from which a personal board is shown."""
DELETED = "deleted by the voter"
MOST_MEASURED = 1000
"""Votes whose pictures are measured for taste, the latest ones."""

WORDS: dict[str, tuple[str, str]] = {
    covariates.LEFT: ("the left side", "the right side"),
    "megapixels": ("larger pictures", "smaller pictures"),
    "aspect": ("wider pictures", "taller pictures"),
    "brightness": ("brighter pictures", "darker pictures"),
    "contrast": ("more contrast", "less contrast"),
    "colourfulness": ("more colour", "less colour"),
    "sharpness": ("sharper pictures", "softer pictures"),
}
"""A feature -> what favouring more of it is called, and less of it."""
LEVEL = 1 - 0.05 / len(WORDS)
"""Of each interval, so that all seven hold at once with 95% (Bonferroni)."""


NOTHING = Share(0, 0)


@dataclass(frozen=True, slots=True)
class Taste:
    """What one feature is worth to this voter, in rating points, with an interval that holds for all at once.

    `points`: for the left side, or for one standard deviation of the difference between two pictures.
    """

    feature: str
    points: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether the interval excludes no effect."""
        return self.low > 0 or self.high < 0

    @property
    def words(self) -> str:
        more, less = WORDS[self.feature]
        return more if self.points > 0 else less


@dataclass(frozen=True, slots=True)
class Mine:
    """All there is of a voter. `board` None: too few votes (`missing`), or they order nobody (`reason`).

    `with_others`: this voter against the most frequent answer of the others on the same pair. `with_board`: of the
    choices between two models that the others' votes rate, how many fell on the higher one. `with_judge`: against the
    judge of this name on the same two pictures.
    """

    votes: int
    answers: dict[Outcome, int]
    board: Board | None = None
    reason: str = ""
    with_others: Agreement | None = None
    with_board: Share = NOTHING
    with_judge: Agreement | None = None
    judge: str = ""
    tastes: tuple[Taste, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Votes until the board is shown."""
        return max(0, NEEDED - self.votes)


def mine(arena: Arena, voter_id: str) -> Mine:
    """The voter's board as of their last vote; remembered until any vote, exclusion or verdict comes."""
    votes = [vote for vote in Personal(arena.store).votes(voter_id) if vote.counts]
    answers = Counter(vote.outcome for vote in votes)
    if len(votes) < NEEDED:
        return Mine(len(votes), dict(answers))
    key = (str(arena.store.engine.url), voter_id)
    state = (arena.store.newest(), len(votes), judging.newest(arena, arena.settings.judge))
    if _memory.get(key, (None,))[0] != state:
        while len(_memory) >= 64:
            _memory.pop(next(iter(_memory)))
        _memory[key] = (state, _made(arena, voter_id, votes, dict(answers)))
    return _memory[key][1]


_memory: dict[tuple[str, str], tuple[object, Mine]] = {}


def _made(arena: Arena, voter_id: str, votes: Sequence[OwnVote], answers: dict[Outcome, int]) -> Mine:
    board, reason = _board(arena, votes)
    judge = _judge(arena)
    tastes, untold = tastes_of(arena, votes)
    return Mine(
        votes=len(votes),
        answers=answers,
        board=board,
        reason=reason,
        with_others=_with_others(arena, voter_id, votes),
        with_board=_with_board(arena, votes),
        with_judge=_with_judge(arena, judge, votes) if judge else None,
        judge=judge or "",
        tastes=tastes,
        untold=untold,
    )


# The board


def compared(arena: Arena, votes: Sequence[OwnVote], cluster: bool = True) -> Comparisons:
    """The votes as arrays, clustered by prompt: one voter's answers to one prompt hang together."""
    names, position = counting.named_positions(arena)
    return aggregate(
        names,
        np.array([position[vote.left_id] for vote in votes], np.int32),
        np.array([position[vote.right_id] for vote in votes], np.int32),
        np.array([CODES[vote.outcome] for vote in votes], np.int8),
        cluster=np.array([vote.prompt_id for vote in votes]) if cluster else None,
    )


def _board(arena: Arena, votes: Sequence[OwnVote]) -> tuple[Board | None, str]:
    try:
        return boards.board(compared(arena, votes)), ""
    except DataError as error:
        return None, str(error)


# Agreement


def _with_others(arena: Arena, voter_id: str, votes: Sequence[OwnVote]) -> Agreement:
    """Pairs on which nobody else voted, or no answer leads, are left out."""
    said: dict[tuple[int, int, int], Counter[Outcome]] = {}
    for other in Personal(arena.store).others(voter_id, [vote.prompt for vote in votes if not _is_own(vote)]):
        said.setdefault(_cell(other.prompt_key, other), Counter())[_turned(other)] += 1
    leading = [_leading(said.get(_cell(ballots.key(vote.prompt), vote))) for vote in votes]
    return ratings.agreement(leading, [CODES[_turned(vote)] for vote in votes])


def _is_own(vote: OwnVote) -> bool:
    return vote.category == OWN_PROMPT


def _cell(prompt: int, vote: OwnVote | OthersVote) -> tuple[int, int, int]:
    return prompt, min(vote.left_id, vote.right_id), max(vote.left_id, vote.right_id)


def _turned(vote: OwnVote | OthersVote) -> Outcome:
    """The outcome as if the contestant of the lower id stood on the left."""
    return vote.outcome if vote.left_id < vote.right_id else vote.outcome.mirrored


def _leading(counts: Counter[Outcome] | None) -> int:
    """The most frequent answer; UNSCORED where there is none, or several are as frequent."""
    if not counts:
        return UNSCORED
    (first, most), *rest = counts.most_common(2)
    return UNSCORED if rest and rest[0][1] == most else CODES[first]


def _with_board(arena: Arena, votes: Sequence[OwnVote]) -> Share:
    """Choices for the higher rated model, the voter's own votes taken out of the ratings first."""
    theta = _others_strengths(arena, votes)
    hits = of = 0
    for vote in votes:
        left, right = theta.get(vote.left_id), theta.get(vote.right_id)
        if vote.outcome in (Outcome.LEFT, Outcome.RIGHT) and left is not None and right is not None and left != right:
            of += 1
            hits += (left > right) == (vote.outcome is Outcome.LEFT)
    return Share(hits, of)


def _others_strengths(arena: Arena, votes: Sequence[OwnVote]) -> dict[int, float]:
    """Bradley–Terry strengths by contestant id from everybody else's votes; empty where they order nobody."""
    everyone = running.board(arena, VoteFilter())
    names, position = counting.named_positions(arena)
    own = [vote for vote in votes if vote.board == PEOPLE]
    wins = bt.win_matrix(everyone.pooled) - bt.win_matrix(compared(arena, own, cluster=False))
    rated = bt.components(np.maximum(wins, 0)).rated
    if len(rated) < 2:
        return {}
    try:
        theta = bt.fit(wins[np.ix_(rated, rated)])
    except DataError:
        return {}
    strength = dict(zip((names[k] for k in rated), theta.tolist(), strict=True))
    return {id: strength[names[k]] for id, k in position.items() if names[k] in strength}


def _judge(arena: Arena) -> str | None:
    """The usual judge's voter id; the last one that came where the usual one never judged here."""
    known = judging.known(arena)
    return judging.newest(arena, arena.settings.judge) or (known[-1].id if known else None)


def _with_judge(arena: Arena, judge_id: str, votes: Sequence[OwnVote]) -> Agreement:
    """The voter is "people" here: a pair that the judge was not asked about is left out, an unscored one is counted as
    such."""
    said = Personal(arena.store).verdicts(judge_id, [_pair(vote) for vote in votes])
    codes = []
    for vote in votes:
        verdict = said.get(_pair(vote))
        if verdict is None:
            codes.append(NOT_ASKED)
        elif verdict.outcome is None:
            codes.append(UNSCORED)
        else:
            same = vote.left_sha256 == verdict.left
            codes.append(CODES[verdict.outcome if same else verdict.outcome.mirrored])
    asked = [k for k, code in enumerate(codes) if code != NOT_ASKED]
    return ratings.agreement([CODES[votes[k].outcome] for k in asked], [codes[k] for k in asked])


def _pair(vote: OwnVote) -> Pair:
    return Pair(vote.prompt_id, *sorted((vote.left_sha256 or "", vote.right_sha256 or "")))


# Taste


def tastes_of(arena: Arena, votes: Sequence[OwnVote]) -> tuple[tuple[Taste, ...], tuple[str, ...]]:
    """What each feature is worth, one at a time, with the models' strengths taken out; and the features of which these
    votes can tell nothing."""
    votes = votes[-MOST_MEASURED:]
    rows = _one_by_one(arena, votes)
    difference = _differences(arena, votes)
    found, untold = [], []
    for name in WORDS:
        try:
            effect = _effect(rows, difference, name)
            found.append(Taste(name, *map(float, effect.points)))
        except DataError:
            untold.append(name)
    return tuple(sorted(found, key=lambda taste: -abs(taste.points))), tuple(untold)


def _one_by_one(arena: Arena, votes: Sequence[OwnVote]) -> Comparisons:
    names, position = counting.named_positions(arena)
    return covariates.one_row_each(
        names,
        np.array([position[vote.left_id] for vote in votes]),
        np.array([position[vote.right_id] for vote in votes]),
        np.array([CODES[vote.outcome] for vote in votes]),
        cluster=np.array([vote.prompt_id for vote in votes]),
    )


def _differences(arena: Arena, votes: Sequence[OwnVote]) -> np.ndarray | None:
    """Style of the left picture against the right one (n, 6); None where a picture is missing."""
    try:
        style = audit.styles(arena, {sha for vote in votes for sha in (vote.left_sha256, vote.right_sha256) if sha})
        left = np.array([style[vote.left_sha256 or ""] for vote in votes])
        return covariates.style_difference(left, np.array([style[vote.right_sha256 or ""] for vote in votes]))
    except (DataError, KeyError):
        return None


def _effect(rows: Comparisons, difference: np.ndarray | None, name: str) -> covariates.Effect:
    if name == covariates.LEFT:
        return covariates.left_effect(rows, level=LEVEL)
    if difference is None:
        raise DataError("A picture is missing, so no style can be measured; restore it from a backup.")
    column = covariates.STYLE.index(name)
    return covariates.fit(rows, difference[:, [column]], [name], level=LEVEL).effect(name)


# Their data


def download(arena: Arena, voter_id: str) -> list[dict[str, Any]]:
    """Every vote of the voter as plain JSON, in their order; `arena rate` reads the file.

    `counts`: whether the vote is on a board; `excluded`: why not.
    """
    names = {contestant.id: contestant.name for contestant in arena.store.contestants()}
    return [
        {
            "model_a": names[vote.left_id], "model_b": names[vote.right_id], "winner": WRITTEN[vote.outcome],
            "prompt": vote.prompt, "category": vote.category, "timestamp": vote.at.isoformat(),
            "decision_seconds": vote.seconds, "counts": vote.board == PEOPLE,
            "excluded": _why_not(vote),
        }
        for vote in Personal(arena.store).votes(voter_id)
    ]  # fmt: skip


def _why_not(vote: OwnVote) -> str | None:
    if vote.board == ASIDE:
        return "kept aside: it counts on your own board alone"
    return None if vote.counts else vote.excluded


COLUMNS = (
    "model_a", "model_b", "winner", "prompt", "category", "timestamp", "decision_seconds", "counts", "excluded",
)  # fmt: skip


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(list(rows), ensure_ascii=False, indent=1)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each vote. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def delete(arena: Arena, voter_id: str) -> Erased:
    """Take the voter's votes off every board, remove what they typed and its pictures, and close their id for good."""
    erased = Personal(arena.store).erase(voter_id, DELETED)
    remove_pictures(arena, erased.images)
    return erased


def remove_pictures(arena: Arena, images: Iterable[str]) -> None:
    """Delete images by their sha256 for good, and what was made of them to be shown."""
    for sha256 in images:
        arena.blobs.remove(sha256)
        for renditions in arena.settings.cache_dir.glob("display@*"):
            Renditions(renditions).path(sha256).unlink(missing_ok=True)
