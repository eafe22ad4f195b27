"""What a voter is told after the vote: who made the pictures, how the ratings moved, and why by that much."""

from __future__ import annotations

from typing import Any

from arena.domain import Outcome, ReasonTag, Side
from arena.services.battles import Crowd, Reveal, RevealedSide
from arena.services.named import Answered
from arena.ui.common import picture_url, quoted

VERDICTS = {
    Outcome.LEFT: "You chose A",
    Outcome.RIGHT: "You chose B",
    Outcome.TIE: "You called it a tie",
    Outcome.BOTH_BAD: "You called both bad",
}


TAGS = {
    ReasonTag.PROMPT: "Follows the prompt",
    ReasonTag.REALISM: "Realism",
    ReasonTag.AESTHETICS: "Beauty",
    ReasonTag.TEXT: "Text in it",
}
OWN_BOARD_ONLY = "Votes on own prompts count on My board alone here, so no rating moves."
OFF_THE_BOARD = "The names were shown, so this answer is kept, and counts on no leaderboard."


def told(news: Reveal | Answered) -> dict[str, Any]:
    """The reveal as plain text for a page, with the sides as the voter saw them."""
    return told_of_vote(news) if isinstance(news, Reveal) else told_of_answer(news)


def told_of_vote(reveal: Reveal) -> dict[str, Any]:
    count = "your first vote" if reveal.voter_votes == 1 else f"{reveal.voter_votes:,} votes from you so far"
    sides = [side_told(reveal, Side.LEFT), side_told(reveal, Side.RIGHT)]
    return {
        "token": reveal.token,
        "verdict": f"{verdict(reveal.outcome, reveal.swapped)} for {quoted(reveal.prompt)} · {count}",
        "sides": sides[::-1] if reveal.swapped else sides,
        "why": why(reveal),
        "crowd": crowd_told(reveal.crowd),
        "tags": [{"tag": tag.value, "text": text} for tag, text in TAGS.items()],
    }


def told_of_answer(answered: Answered) -> dict[str, Any]:
    """Of a pair with names: no ratings, and no reasons to give."""
    pair = answered.pair
    sides = [
        {"name": name, "elo": "", "gain": "", "image": picture_url(pair.token, side)}
        for name, side in zip(pair.names, Side, strict=True)
    ]
    return {
        "token": pair.token,
        "verdict": f"{verdict(answered.outcome, answered.swapped)} for {quoted(pair.prompt)}",
        "sides": sides[::-1] if answered.swapped else sides,
        "why": OFF_THE_BOARD,
        "crowd": "",
        "tags": [],
    }


def verdict(outcome: Outcome, swapped: bool) -> str:
    """In the letters that the voter saw."""
    return VERDICTS[outcome.mirrored if swapped else outcome]


def crowd_told(crowd: Crowd | None) -> str:
    """How many other people said the same; "" where too few voted on this pair."""
    if crowd is None:
        return ""
    return f"{crowd.same} of {crowd.total} other people ({crowd.same / crowd.total:.0%}) said the same of this pair."


def side_told(reveal: Reveal, side: Side) -> dict[str, str]:
    one = reveal.left if side is Side.LEFT else reveal.right
    return {
        "name": one.name,
        "elo": f"{one.elo_before:.1f} → {one.elo_after:.1f}" if reveal.counts else f"{one.elo_before:.1f}",
        "gain": marked(one.elo_after - one.elo_before) if reveal.counts else "",
        "image": picture_url(reveal.token, side),
    }


def why(reveal: Reveal) -> str:
    """One sentence with this pair's own numbers: the gain is K (S − E)."""
    if not reveal.counts:
        return OWN_BOARD_ONLY
    if reveal.outcome in (Outcome.LEFT, Outcome.RIGHT):
        winner = reveal.left if reveal.outcome is Outcome.LEFT else reveal.right
        return why_won(winner, reveal.k_factor)
    return why_shared(reveal)


def why_won(winner: RevealedSide, k: float) -> str:
    gain = k * (1 - winner.expected)
    told = (
        f"{winner.name} was expected to score {winner.expected:.3f}; it won, so it gains "
        f"{k:g} × (1 − {winner.expected:.3f}) = {gain:.1f}."
    )
    if abs(winner.expected - 0.5) < 0.0005:
        return f"{told} The two were rated equal; beating a stronger one would earn more."
    return (
        f"{told} Had it beaten an equal, it would have gained {k / 2:.1f}: the stronger the beaten, the more it earns."
    )


def why_shared(reveal: Reveal) -> str:
    """A tie and both bad count half a win for each side, so points pass from the one expected to do better."""
    weaker = min(reveal.left, reveal.right, key=lambda side: side.expected)
    half = "It was a tie" if reveal.outcome is Outcome.TIE else "Both bad counts like a tie here, and is counted apart"
    if abs(weaker.expected - 0.5) < 0.0005:
        return f"{half}: each side scores 0.5, which is what was expected of two equals, so nothing moves."
    gain = reveal.k_factor * (0.5 - weaker.expected)
    return (
        f"{half}: each side scores 0.5. {weaker.name} was expected to score only {weaker.expected:.3f}, so it gains "
        f"{reveal.k_factor:g} × (0.5 − {weaker.expected:.3f}) = {gain:.1f}."
    )


def marked(points: float) -> str:
    """The signed points behind a mark that tells up from down without colour."""
    return f"{'▲' if points >= 0.05 else '▼' if points <= -0.05 else '■'} {signed(points)}"


def signed(points: float) -> str:
    """+14.8, −14.8 or ±0.0, with a real minus sign."""
    if abs(points) < 0.05:
        return "±0.0"
    return f"{'+' if points > 0 else '−'}{abs(points):.1f}"
