"""The board as it is published: plain JSON throughout, so that a page, a file and a snapshot hold the same numbers.

answers (services.deriving) + automatic scores + what images took > Table > page, CSV, JSON, Parquet, snapshot
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from arena.domain import Contestant, VoteFilter
from arena.errors import DataError
from arena.rating.board import BoardRow
from arena.services import benchmarks, deriving
from arena.services.board_view import EVERYTHING, View
from arena.services.costs import costs
from arena.services.deriving import Answer, Question
from arena.services.leaderboard import Rated
from db.pictures import newest_generation
from db.verdicts import Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.benchmarks import Column

FORMAT = 1
"""Of the JSON of a table."""
METRICS = {"fid": "FID", "kid": "KID", "clipscore": "CLIPScore"}
"""Automatic scores beside the rating: how their metrics begin, and what the page calls them."""
TITLES = {
    **METRICS, "judge": "Judge", "seconds": "s / image", "cost": "$ / megapixel", "images_per_usd": "Images / USD",
}  # fmt: skip
"""Every further column there may be, in the order of the page."""
SHORT = 8
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One further column: a figure of one protocol only. `values`: by contestant, value with its 95% interval, None
    where unknown; who has no value is not in it."""

    key: str
    title: str
    about: str
    higher_is_better: bool
    values: Mapping[str, tuple[float, float | None, float | None]]
    protocol: str = ""
    fingerprint: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`about`: what it was made from. `figures`: the further columns, without their values. `rows`: best first, those
    that cannot be rated last; see `_row`."""

    about: Mapping[str, Any]
    figures: tuple[Mapping[str, Any], ...]
    rows: tuple[Mapping[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "about": dict(self.about), "figures": [*self.figures], "rows": [*self.rows]}

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> Table:
        return cls(plain["about"], tuple(plain["figures"]), tuple(plain["rows"]))


@dataclass(frozen=True, slots=True)
class Published:
    """A table with what does not fit in it. `rated` is None in a snapshot. `behind`: votes that came since."""

    table: Table
    rated: Rated | None
    behind: int = 0


def published(arena: Arena, view: View, today: date | None = None) -> Published | None:
    """The board of this view as of now or, where votes are many, of a moment ago; None until the first one is made.

    Raises DataError where style cannot be taken out.
    """
    votes = view.votes(today or datetime.now(UTC).date())
    found = deriving.answer(arena, "board", votes, view.controlled)
    deriving.prepare(arena, _likely_next(arena, votes))
    if found is None:
        return None
    rated = valued(found)
    table = Table(
        _about(arena, view, votes, rated), *_with_rows(arena, _plain_rows(arena, view, votes, rated), figures(arena))
    )
    return Published(table, rated, max(0, arena.store.newest()[0] - rated.last_ballot))


def valued(found: Answer) -> Any:
    """The answer's value. Raises DataError for the trouble that stands in its way."""
    if found.trouble:
        raise DataError(found.trouble)
    return found.value


def _likely_next(arena: Arena, votes: VoteFilter) -> list[Question]:
    """What a visitor of this board will ask for next: every category, and all of them."""
    parts = [None, *arena.store.categories()]
    return [Question("board", (replace(votes, category=part), False)) for part in parts]


def _about(arena: Arena, view: View, votes: VoteFilter, rated: Rated) -> dict[str, Any]:
    return {
        "votes": rated.board.n_votes,
        "voters": rated.voters,
        "last_vote_id": rated.last_ballot,
        "view": view.query(),
        "since": votes.since and votes.since.isoformat(),
        "until": votes.until and votes.until.isoformat(),
        "system": rated.board.system,
        "parameters": dict(rated.board.parameters),
        "warnings": list(rated.board.warnings),
        "reason": rated.reason,
        "effects": [asdict(effect) for effect in rated.effects],
        "k_factor": arena.settings.k_factor,
        "provisional_below": arena.settings.provisional_below,
    }


def _plain_rows(arena: Arena, view: View, votes: VoteFilter, rated: Rated) -> list[dict[str, Any]]:
    whole = votes == VoteFilter() and not view.controlled
    of_category = votes == VoteFilter(category=votes.category) and votes.category is not None and not view.controlled
    live = _value_or(deriving.answer(arena, "elo"), {}) if whole else {}
    pooled = _value_or(deriving.answer(arena, "pooled"), {}).get(votes.category, {}) if of_category else {}
    known = {contestant.name: contestant for contestant in arena.store.contestants()}
    rows = {row.model: row for row in rated.board.board}
    below = arena.settings.provisional_below
    return [
        _row(known[name], row, row.votes < below, live.get(known[name].id) if whole else None, pooled.get(name, {}))
        for name, row in rows.items()
        if name in known
    ]


def _value_or(found: Answer | None, otherwise: Any) -> Any:
    return otherwise if found is None or found.value is None else found.value


def _row(
    contestant: Contestant, row: BoardRow, provisional: bool, live: float | None, pooled: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "name": contestant.name,
        "rank": row.rank, "rank_low": row.rank_low, "rank_high": row.rank_high,
        "rating": row.rating, "low": row.low, "high": row.high,
        "p_best": row.p_best, "p_top3": row.p_top3,
        "votes": row.votes, "wins": row.wins, "losses": row.losses, "ties": row.ties, "both_bad": row.both_bad,
        "both_bad_rate": row.both_bad_rate, "status": row.status, "provisional": provisional, "reason": row.reason,
        "elo": live,
        "pooled": pooled.get("pooled"), "pooled_low": pooled.get("pooled_low"),
        "pooled_high": pooled.get("pooled_high"), "borrowed": pooled.get("borrowed"),
        "organisation": organisation(contestant), "licence": licence(contestant), "weights": weights(contestant),
        "backend": contestant.backend,
    }  # fmt: skip


# What a card says


def organisation(contestant: Contestant) -> str | None:
    return _said(contestant, "organisation", "organization", "maker")


def licence(contestant: Contestant) -> str | None:
    return _said(contestant, "licence", "license")


def _said(contestant: Contestant, *names: str) -> str | None:
    """The first of these that the card names."""
    return next((str(contestant.card[name]) for name in names if contestant.card.get(name)), None)


def weights(contestant: Contestant) -> str:
    """ "open", "closed" or "unknown": what the card says, or open where they are loaded here."""
    said = contestant.card.get("open_weights")
    if isinstance(said, bool):
        return "open" if said else "closed"
    return "open" if contestant.backend == "diffusers" else "unknown"


# Further columns


def figures(arena: Arena) -> list[Figure]:
    """What stands beside the rating; a figure that no contestant has is left out.

    What scores and images say is looked up once a minute, and at once where a score or an attempt was added.
    """
    key, state = str(arena.store.engine.url), (arena.store.newest_score(), newest_generation(arena.store))
    known = _figures.get(key)
    if known is None or known[0] != state or time.monotonic() - known[1] > SECONDS:
        _figures[key] = known = (state, time.monotonic(), [*_scores(arena), *_efforts(arena)])
    found = [*known[2], *_judges(arena)]
    return sorted((figure for figure in found if figure.values), key=lambda figure: [*TITLES].index(figure.key))


_figures: dict[str, tuple[tuple[int, int], float, list[Figure]]] = {}


def _scores(arena: Arena) -> Iterable[Figure]:
    """Of each automatic score the column that most contestants have; of equal ones the latest."""
    columns = benchmarks.columns(arena)
    for key, title in METRICS.items():
        fitting = [column for column in columns if column.metric.startswith(key)]
        if fitting:
            yield of_column(key, title, max(fitting, key=lambda column: len(column.scores)))


def of_column(key: str, title: str, column: Column) -> Figure:
    """Comparable scores of whole models as a figure."""
    values = {
        score.subject: (benchmarks.best_guess(score), score.details.get("low"), score.details.get("high"))
        for score in column.scores
    }
    where = f" against {column.reference}" if column.reference else ""
    better = "Larger is better" if column.higher_is_better else "Smaller is closer to the real images"
    about = f"{column.protocol.id}, fingerprint {column.protocol.fingerprint[:SHORT]}{where}. {better}."
    return Figure(
        key, title, about, column.higher_is_better, values, column.protocol.id, column.protocol.fingerprint,
        column.reference,
    )  # fmt: skip


def _judges(arena: Arena) -> Iterable[Figure]:
    """The board of the judge that came last among those that voted, alone and unchecked."""
    voted = {*arena.store.judges()}
    for card in reversed(Verdicts(arena.store).judges()):
        if card.id in voted:
            rated = _value_or(deriving.answer(arena, "board", VoteFilter(board=card.id), False), None)
            rows = rated.board.board if rated else ()
            values = {row.model: (row.rating, row.low, row.high) for row in rows if row.rating is not None}
            name = short_judge(card.id)
            about = f"Rating by the judge {name} alone; it may be biased, and its intervals do not say so."
            yield Figure("judge", "Judge", about, True, values, name, card.fingerprint)  # type: ignore[arg-type]
            return


def short_judge(judge_id: str) -> str:
    name, _, mark = judge_id.removeprefix("judge:").rpartition("@")
    return f"{name} · {mark[:6]}"


def _efforts(arena: Arena) -> Iterable[Figure]:
    names = {contestant.id: contestant.name for contestant in arena.store.contestants()}
    known = {names[id]: one for id, one in costs(arena).items() if id in names}
    seconds = {name: one.median_seconds for name, one in known.items()}
    yield _plain_figure("seconds", TITLES["seconds"], "Median time to make one image here, in seconds", seconds)
    usd = {name: one.usd_per_megapixel for name, one in known.items()}
    about = "US dollars per million pixels, over the images whose cost is known"
    yield _plain_figure("cost", TITLES["cost"], about, usd)
    of_a_dollar = {name: one.images_per_usd for name, one in known.items()}
    about = "Images for one US dollar, whatever their size, over the images whose cost is known"
    yield _plain_figure("images_per_usd", TITLES["images_per_usd"], about, of_a_dollar, higher_is_better=True)


def _plain_figure(
    key: str, title: str, about: str, values: Mapping[str, float | None], *, higher_is_better: bool = False
) -> Figure:
    """A figure without an interval."""
    known = {name: (x, None, None) for name, x in values.items() if x is not None}
    return Figure(key, title, about, higher_is_better, known)


def _with_rows(
    arena: Arena, rows: Sequence[dict[str, Any]], found: Sequence[Figure]
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    described = tuple({k: v for k, v in asdict(figure).items() if k != "values"} for figure in found)
    filled = tuple(
        {**row, "figures": {f.key: list(f.values[row["name"]]) for f in found if row["name"] in f.values}}
        for row in rows
    )
    return described, filled


# Which rows, in which order


def chosen(table: Table, view: View) -> list[Mapping[str, Any]]:
    """The rows that the view asks for, in its order; what has no value comes last either way."""
    kept = [row for row in table.rows if _fits(row, view)]
    key, downwards = view.sort.lstrip("-"), view.sort.startswith("-")
    known = [row for row in kept if value(row, key) is not None]
    known.sort(key=lambda row: value(row, key), reverse=downwards)  # type: ignore[arg-type, return-value]
    return [*known, *(row for row in kept if value(row, key) is None)]


def _fits(row: Mapping[str, Any], view: View) -> bool:
    asked = (("licence", view.licence), ("weights", view.weights), ("backend", view.backend))
    return (
        all(word in (EVERYTHING, row[name]) for name, word in asked)
        and view.search.casefold().strip() in row["name"].casefold()
    )


def value(row: Mapping[str, Any], key: str) -> Any:
    """What a row holds under a column's key, None where nothing is known; names without regard to case."""
    if key in row:
        return row[key].casefold() if isinstance(row[key], str) else row[key]
    found = row["figures"].get(key)
    return found[0] if found else None


# Files


def as_records(table: Table, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One flat record a row: every column of the table, figures with their interval; None where nothing is known."""
    return [
        {
            **{name: cell for name, cell in row.items() if name != "figures"},
            **{
                f"{figure['key']}{end}": cell
                for figure in table.figures
                for end, cell in zip(("", "_low", "_high"), row["figures"].get(figure["key"], [None] * 3), strict=True)
            },
        }
        for row in rows
    ]


def as_csv(table: Table, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """UTF-8, a header, empty where nothing is known. Numbers as Python writes them: read back they are the same."""
    records = as_records(table, rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if records else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(replace(table, rows=tuple(rows)).as_json(), ensure_ascii=False, indent=1).encode()


def as_parquet(table: Table, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The records, with what they were made from as JSON in the schema's metadata, under `arena`."""
    import pyarrow as pa
    from pyarrow import parquet

    found = pa.Table.from_pylist(as_records(table, rows))
    about = json.dumps({"format": FORMAT, "about": dict(table.about), "figures": [*table.figures]})
    sink = io.BytesIO()
    parquet.write_table(found.replace_schema_metadata({"arena": about}), sink)
    return sink.getvalue()


FILES = {
    "CSV": (as_csv, "text/csv", "csv"),
    "Parquet": (as_parquet, "application/vnd.apache.parquet", "parquet"),
    "JSON": (as_json, "application/json", "json"),
}
"""Name of a format -> what writes it, its media type and its extension."""
SORTS = {
    "rank": "Rank", "name": "Name", "votes": "Votes", "p_best": "Chance of first place", "both_bad_rate": "Both bad",
    "fid": "FID", "kid": "KID", "clipscore": "CLIPScore", "judge": "Judge", "seconds": "Seconds per image",
    "cost": "Cost per megapixel", "images_per_usd": "Images per dollar",
}  # fmt: skip
"""What rows may be sorted by, in an address and on the page."""
