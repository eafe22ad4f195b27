"""A judge's scores of single images: P(yes) and the rubric over a contestant's images, kept image by image.

    images without a value > judge > values and reasons > Score > beside people's votes, as CLIPScore

An image that this judge has scored before is not shown to it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from arena.domain import Contestant, Generation, ImageValue, Prompt, Run, Score
from arena.errors import ArenaError, WeightsError
from arena.services import judges, runs
from arena.services.judge_work import HOPELESS, storable
from db.image_values import Key, image_values
from evaluators.images import decode
from evaluators.judge.openai_chat import NOT_ASKED
from evaluators.judge.pointwise import ImageScore, JudgeRecipe, Pointwise, as_score

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from evaluators.judge.modes import Judge


def check(arena: Arena) -> None:
    """Raises WeightsError where the judge of the settings cannot score images here; opens and asks nothing."""
    from evaluators.judge.local import EMBEDDED

    source, options = arena.settings.judge, arena.settings.judge_options
    name, _ = judges.parts(source)
    if name not in judges.known():
        raise WeightsError(f"There is no judge {source!r}: known: {', '.join(judges.known())}.")
    if name == "scripted":
        raise WeightsError(f"The judge {source!r} compares two images and scores none alone; choose another judge.")
    if name == "teddy" and not (EMBEDDED / "config.json").is_file():
        raise WeightsError(f"The embedded judge's files are missing in {str(EMBEDDED)!r}; choose another judge.")
    if name == judges.ENDPOINT and options.get("limit_usd") is None:
        raise WeightsError(
            f"The judge {source!r} is asked about every image and may cost money: give judge_options a limit_usd and "
            "prices; a server of your own has prices of 0."
        )


def score(
    arena: Arena,
    run: Run,
    recipe: JudgeRecipe,
    contestant: Contestant,
    prompts: Sequence[Prompt],
    generations: Sequence[Generation],
    report: runs.Report,
) -> Score:
    """The judge's score of a contestant's images, each made for the prompt in its place.

    Where the judge takes no more questions the Score is unscored with its reason, and what was said until then stays.
    """
    started = time.perf_counter()
    evaluator = Pointwise(recipe.name, _judge(arena, run))
    keys = [(one.image.sha256, prompt.id or 0) for one, prompt in zip(generations, prompts, strict=True) if one.image]
    texts = {prompt.id or 0: prompt.text for prompt in prompts}
    known = image_values(arena.store, recipe.name, evaluator.protocol.fingerprint).of
    found = {key: ImageScore(known[key].value, parts=known[key].parts) for key in keys if _scored(known, key)}
    stage = f"{contestant.name}: {recipe.title}"
    stopped = _ask(arena, evaluator, keys, texts, found, lambda done: report(stage, done, len(keys)))
    kept = [key for key in keys if key in found]
    return as_score(
        contestant.name,
        evaluator.protocol,
        [found[key] for key in kept],
        [texts[prompt_id] for _, prompt_id in kept],
        unscored=stopped,
        details={"judge": evaluator.judge.voter_id, "seconds": time.perf_counter() - started},
        contestant_id=contestant.id,
        run_id=run.id,
        images=tuple(ImageValue(*key, one.value, one.unscored, one.parts) for key, one in found.items()),
    )


def _scored(known: Mapping[Key, ImageValue], key: Key) -> bool:
    return key in known and known[key].value is not None


def _ask(
    arena: Arena,
    evaluator: Pointwise,
    keys: Sequence[Key],
    texts: Mapping[int, str],
    found: dict[Key, ImageScore],
    told: Callable[[int], None],
) -> str | None:
    """Adds what the judge says of the images that are not in `found`; returns why it had to stop, if it had."""
    missing = iter([key for key in dict.fromkeys(keys) if key not in found])
    size = max(2 * arena.settings.judge_batch, 2 * getattr(evaluator.judge.model, "concurrency", 1))
    hopeless = 0
    while part := [*islice(missing, size)]:
        told(len(found))
        for key, one in _said(arena, evaluator, part, texts).items():
            if (one.unscored or "").startswith(NOT_ASKED):
                return one.unscored
            found[key] = one
            hopeless = 0 if one.value is not None else hopeless + 1
            if hopeless >= HOPELESS:
                return f"the judge answered none of the last {hopeless} images, at last because: {one.unscored}"
    told(len(found))
    return None


def _said(arena: Arena, evaluator: Pointwise, part: Sequence[Key], texts: Mapping[int, str]) -> dict[Key, ImageScore]:
    found: dict[Key, ImageScore] = {}
    images = {}
    for key in part:
        try:
            images[key] = decode(arena.blobs.get(key[0]))
        except ArenaError as error:
            found[key] = ImageScore(unscored=storable(str(error)))
    said = evaluator.values([texts[prompt_id] for _, prompt_id in images], images.values())
    for key, one in zip(images, said, strict=True):
        found[key] = one if one.unscored is None else ImageScore(unscored=storable(one.unscored), parts=one.parts)
    return found


def _judge(arena: Arena, run: Run) -> Judge:
    """One for all contestants and scores of a run."""
    key = (str(arena.store.engine.url), run.id)
    if key not in _open:
        _open.clear()
        settings = arena.settings
        _open[key] = judges.open_judge(settings.judge, settings.judge_options, settings)
    return _open[key]


_open: dict[tuple[str, int | None], Judge] = {}
