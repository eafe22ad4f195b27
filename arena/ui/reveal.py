"""What a voter is told after the vote: who made the pictures, how the ratings moved, and why by that much."""

from __future__ import annotations

from typing import Any

from arena.domain import Outcome, Side
from arena.services.battles import Reveal, RevealedSide
from arena.ui.common import picture_url

VERDICTS = {
    Outcome.LEFT: "You chose A",
    Outcome.RIGHT: "You chose B",
    Outcome.TIE: "You called it a tie",
    Outcome.BOTH_BAD: "You called both bad",
}


def told(reveal: Reveal) -> dict[str, Any]:
    """The reveal as plain text for a page."""
    count = "your first vote" if reveal.voter_votes == 1 else f"{reveal.voter_votes:,} votes from you so far"
    return {
        "token": reveal.token,
        "verdict": f"{VERDICTS[reveal.outcome]} for “{shortened(reveal.prompt)}” · {count}",
        "sides": [side_told(reveal, Side.LEFT), side_told(reveal, Side.RIGHT)],
        "why": why(reveal),
    }


def side_told(reveal: Reveal, side: Side) -> dict[str, str]:
    one = reveal.left if side is Side.LEFT else reveal.right
    return {
        "name": one.name,
        "elo": f"{one.elo_before:.1f} → {one.elo_after:.1f}",
        "gain": signed(one.elo_after - one.elo_before),
        "image": picture_url(reveal.token, side),
    }


def why(reveal: Reveal) -> str:
    """One sentence with this pair's own numbers: the gain is K (S − E)."""
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


def signed(points: float) -> str:
    """+14.8, −14.8 or ±0.0, with a real minus sign."""
    if abs(points) < 0.05:
        return "±0.0"
    return f"{'+' if points > 0 else '−'}{abs(points):.1f}"


def shortened(text: str, longest: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1].rstrip()}…"
