"""What counts as an answer. Strict: what is not clearly one of the allowed answers is unscored, never a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from arena.questions import LEVELS, NOT_APPLICABLE
from evaluators.judge.base import Level, Token

EXCERPT = 120


class Parsed(NamedTuple):
    """An allowed word with what was said besides, or None and the reason why not."""

    word: str | None
    reason: str = ""
    unscored: str | None = None


class ParsedLevels(NamedTuple):
    levels: Mapping[str, Level]
    unscored: str | None = None


def first_line(text: str, answers: Sequence[str]) -> Parsed:
    """The one allowed word that makes up the first line, whatever its case, with the lines below as the reason.

    Quotation marks, brackets and markup around the word, "Answer:" and "Image" before it are understood, and so is a
    reason on the same line behind a full stop, a colon or a dash. Anything else is unscored.
    """
    head, _, rest = text.strip().partition("\n")
    words = {answer.casefold(): answer for answer in answers}
    choice = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    found = re.fullmatch(
        rf"{_MARKUP}*(?:answer(?::|=|{_MARKUP})+)?(?:image\s+)?({choice}){_MARKUP}*(?:[.:–—-]\s+(.*)|[.!]?{_MARKUP}*)",
        head,
        re.IGNORECASE,
    )
    if found is None or _names_another(found[2], choice):
        return Parsed(None, unscored=complaint(text))
    said = [part.strip() for part in (found[2] or "", rest) if part.strip()]
    return Parsed(words[found[1].casefold()], " ".join(said))


def answered(text: str, tokens: Sequence[Token] | None) -> tuple[str, Sequence[Token] | None]:
    """The text behind the thinking that it begins with, and the tokens of that part, None where they are not known."""
    thinking = _THINKING.match(text)
    if thinking is None:
        return text, tokens
    rest = text[thinking.end() :]
    written = "".join(token.text for token in tokens or ())
    _, end, behind = written.partition(_END)
    start = len(written) - len(behind.lstrip())
    if not end or not rest.strip() or not written[start:].startswith(rest.rstrip()):
        return rest, None
    return rest, [*_from(start, tokens or ())]


def thinks(text: str) -> bool:
    """Whether a text begins with thinking."""
    return text.lstrip().startswith(_BEGIN)


def still_thinking(text: str) -> bool:
    """Whether a text is thinking to its end."""
    return thinks(text) and _END not in text


def _from(start: int, tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens from this character on; one that began before it loses what came before."""
    position = 0
    for token in tokens:
        before = max(0, start - position)
        position += len(token.text)
        if position > start:
            yield Token(token.text[before:], token.alternatives)


def levels(text: str, criteria: Sequence[str], tokens: Sequence[Token] | None) -> ParsedLevels:
    """The levels in a reply that is one JSON object with exactly these criteria, bare or in a code fence."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    try:
        found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return ParsedLevels({}, complaint(text))
    if (wrong := _breaks_schema(found, criteria)) is not None:
        return ParsedLevels({}, f"{wrong}: {excerpt(text)}")
    return ParsedLevels({name: _level(name, found[name], text, tokens) for name in criteria})


def answer_shares(alternatives: Mapping[str, float], answers: Sequence[str]) -> dict[str, float]:
    """The probability of each allowed answer, summed over the tokens that can only begin this one.

    A token is read without spaces, quotation marks and case; "t" begins "tie" if no other answer starts so.
    """
    totals = dict.fromkeys(answers, 0.0)
    for text, logprob in alternatives.items():
        if (answer := begins(text, answers)) is not None:
            totals[answer] += math.exp(logprob)
    return totals


def begins(text: str, answers: Sequence[str]) -> str | None:
    """The one allowed answer that a token can begin, if there is exactly one."""
    bare = text.strip(" \t\r\n\"'`*_Ġ▁").casefold()
    if not bare:
        return None
    begun = [answer for answer in answers if answer.casefold().startswith(bare)]
    exact = [answer for answer in begun if answer.casefold() == bare]
    return (exact or begun)[0] if len(exact or begun) == 1 else None


def normalised(shares: Mapping[str, float]) -> dict[str, float] | None:
    """Shares that add up to 1, or None if there is nothing to share."""
    total = sum(shares.values())
    return {word: share / total for word, share in shares.items()} if total > 0 else None


def complaint(text: str) -> str:
    """Why a text is no answer: it is empty, declines, or says something else."""
    if not text.strip():
        return "an empty answer"
    kind = "refused" if _REFUSAL.match(text) else "unparsable"
    return f"{kind}: {excerpt(text)}"


def excerpt(text: str) -> str:
    """The beginning of a text on one line, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…")


_BEGIN, _END = "<think>", "</think>"
_THINKING = re.compile(rf"\s*{_BEGIN}.*?{_END}\s*", re.DOTALL)
_MARKUP = r"[\s*_`\"'#()\[\]]"
_REFUSAL = re.compile(
    r"\W*(i'?m sorry|i am sorry|sorry|i can(no|')t|i can not|i won't|i'?m (not able|unable)|i am (not able|unable)"
    r"|unable to|as an ai)",
    re.IGNORECASE,
)


def _names_another(reason: str | None, choice: str) -> bool:
    """Whether what follows the word is itself an answer, as in "A - B"."""
    return reason is not None and re.fullmatch(rf"{_MARKUP}*({choice})[\W_]*", reason, re.IGNORECASE) is not None


def _breaks_schema(found: object, criteria: Sequence[str]) -> str | None:
    if not isinstance(found, dict):
        return "not a JSON object"
    if set(found) != set(criteria):
        return f"criteria {sorted(found)} instead of {sorted(criteria)}"
    strange = [value for value in found.values() if value not in (*LEVELS, NOT_APPLICABLE)]
    return f"unknown level {strange[0]!r}" if strange else None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a criterion is named twice")
    return dict(pairs)


def _level(name: str, word: str, text: str, tokens: Sequence[Token] | None) -> Level:
    if word == NOT_APPLICABLE:
        return Level(word, None, expected=False)
    token = _token_at(text, name, tokens) if tokens else None
    shares = normalised(answer_shares(token.alternatives, LEVELS)) if token else None
    if shares is None:
        return Level(word, float(LEVELS.index(word) + 1), expected=False)
    return Level(word, sum((i + 1) * shares[level] for i, level in enumerate(LEVELS)), expected=True)


def _token_at(text: str, name: str, tokens: Sequence[Token]) -> Token | None:
    """The token in which the level of a criterion begins, if the tokens are those of the text."""
    found = re.search(rf'"{re.escape(name)}"\s*:\s*"(?=\w)', text)
    position = 0
    for token in tokens:
        if found and position <= found.end() < position + len(token.text):
            return token if begins(token.text[found.end() - position :], LEVELS) else None
        position += len(token.text)
    return None
