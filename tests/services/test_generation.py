"""Generation fills what is missing, once, and a failure is a row with its reason."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from arena.backends.base import create_backend
from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, RunState
from arena.errors import GenerationError, UnknownName, UsageError
from arena.services import generation, prompt_sets


def add(arena: Arena, name: str = "A", **settings: object) -> Contestant:
    return arena.store.add_contestant(Contestant(name, "swatch", settings))


def prompts(arena: Arena, n: int = 6) -> list[Prompt]:
    return arena.store.add_prompts(Prompt(f"card {k}") for k in range(n))


def fill(arena: Arena, **options: object) -> generation.Report:
    return generation.fill(arena, generation.plan(arena, **options), create_backend)  # type: ignore[arg-type]


def test_every_missing_cell_is_made_once(any_arena: Arena) -> None:
    prompts(any_arena)
    contestant = add(any_arena)
    seen: list[generation.Progress] = []
    report = generation.fill(any_arena, generation.plan(any_arena, images_per_prompt=2), create_backend, seen.append)
    assert (report.made, report.failed) == (12, [])
    assert [p.done for p in seen] == [4, 8, 12] and all(p.total == 12 and p.contestant == "A" for p in seen)
    attempts = any_arena.store.generations(contestant.id or 0)
    assert len({(a.prompt_id, a.seed) for a in attempts}) == 12
    assert all(a.seconds is not None for a in attempts)
    assert fill(any_arena, images_per_prompt=2).made == 0
    assert any_arena.store.generations(contestant.id or 0) == attempts


def test_contestants_share_a_prompts_seed_and_prompts_differ(arena: Arena) -> None:
    prompts(arena)
    one, two = add(arena, "A", tint="a"), add(arena, "B", tint="b")
    fill(arena)
    seeds = [{a.prompt_id: a.seed for a in arena.store.generations(c.id or 0)} for c in (one, two)]
    assert seeds[0] == seeds[1] and len(set(seeds[0].values())) == 6


def test_a_failure_is_a_row_with_its_reason_and_spares_its_batch(any_arena: Arena) -> None:
    prompts(any_arena)
    contestant = add(any_arena, fails_on="card 2")
    report = fill(any_arena)
    assert report.made == 5 and report.failed == ["A, 'card 2': the swatch refuses prompts with 'card 2'"]
    [failure] = [a for a in any_arena.store.generations(contestant.id or 0) if a.image is None]
    assert failure.failure == "the swatch refuses prompts with 'card 2'"
    assert fill(any_arena).made == 0, "a failure is not tried again unasked"
    assert len(fill(any_arena, retry_failed=True).failed) == 1
    assert len(any_arena.store.generations(contestant.id or 0)) == 6


def test_a_retry_that_works_replaces_the_failure_and_never_an_image(any_arena: Arena) -> None:
    prompts(any_arena)
    contestant = add(any_arena)

    class Flaky:
        broken = True

        def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
            if self.broken and any("3" in text for text in texts):
                raise GenerationError("out of memory")
            return [Image.new("RGB", (8, 8), (seed % 256, 0, 0)) for seed in seeds]

    backend = Flaky()
    generation.fill(any_arena, generation.plan(any_arena), lambda _: backend)
    images = {a.id: a.image for a in any_arena.store.generations(contestant.id or 0, images_only=True)}
    backend.broken = False
    assert generation.fill(any_arena, generation.plan(any_arena, retry_failed=True), lambda _: backend).made == 1
    after = any_arena.store.generations(contestant.id or 0)
    assert len(after) == 6 and all(a.failure is None for a in after)
    assert images.items() <= {a.id: a.image for a in after}.items()


def test_a_contestant_that_does_not_load_leaves_no_rows_and_the_others_go_on(any_arena: Arena) -> None:
    prompts(any_arena)
    broken = add(any_arena, "Broken", steps=3)
    add(any_arena, "Works")
    report = fill(any_arena)
    assert report.made == 6 and list(report.unavailable) == ["Broken"]
    assert "'Broken' do not fit the backend 'swatch'" in report.unavailable["Broken"]
    assert any_arena.store.generations(broken.id or 0) == []


class Bad:
    """Raises where it is told to: a backend of somebody's own, or a driver, may raise anything."""

    def __init__(self, when: str):
        if when == "made":
            raise RuntimeError("CUDA error: invalid device ordinal\nCompile with TORCH_USE_CUDA_DSA.")

    def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
        return [Image.new("RGB", (8, 8), (seed % 250 + 1, 0, 0)) for seed in seeds]

    def close(self) -> None:
        raise OSError("the device went away")


@pytest.mark.parametrize(
    ("when", "made", "reason"),
    [
        ("made", 6, "RuntimeError: CUDA error: invalid device ordinal"),
        ("closed", 12, "it does not close: OSError: the device went away"),
    ],
)
def test_whatever_a_contestant_raises_the_others_go_on(any_arena: Arena, when: str, made: int, reason: str) -> None:
    prompts(any_arena)
    add(any_arena, "Bad")
    add(any_arena, "Works", tint="b")
    report = generation.fill(
        any_arena, generation.plan(any_arena), lambda one: Bad(when) if one.name == "Bad" else create_backend(one)
    )
    assert report.made == made and report.unavailable == {"Bad": reason} and report.failed == []
    run = any_arena.store.runs()[0]
    assert run.state is RunState.DONE and f"Bad stays out: {reason}" in run.message


def test_one_set_of_prompts_only(arena: Arena, tmp_path: Path) -> None:
    prompts(arena, 2)
    add(arena)
    (tmp_path / "bears.csv").write_text("prompt\na bear\ncard 1\n")
    first = prompt_sets.import_prompts(arena, tmp_path / "bears.csv").set
    (tmp_path / "bears.csv").write_text("prompt\na bear\na bear in a boat\ntwo bears\n")
    prompt_sets.import_prompts(arena, tmp_path / "bears.csv")

    def texts(prompt_set: str) -> list[str]:
        [cells] = generation.plan(arena, prompt_set=prompt_set).values()
        return [cell.prompt.text for cell in cells]

    assert texts("bears") == ["a bear", "a bear in a boat", "two bears"], "the newest version"
    assert sorted(texts(first.version)) == ["a bear", "card 1"]
    assert len(texts("")) == 5
    with pytest.raises(UnknownName, match=f"Unknown prompt set 'bear': .*{first.version}"):
        texts("bear")


def test_a_backend_that_returns_too_few_images_has_failed(arena: Arena) -> None:
    prompts(arena, 2)
    add(arena)

    class Lazy:
        def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
            return []

    report = generation.fill(arena, generation.plan(arena), lambda _: Lazy())
    assert report.made == 0 and len(report.failed) == 2 and "returned 0 images for 1 prompts" in report.failed[0]


def test_stored_images_carry_no_metadata() -> None:
    image = Image.new("RGBA", (4, 4), (1, 2, 3, 255))
    image.info = {"parameters": "made by A", "icc_profile": b"x" * 40}
    note = PngInfo()
    note.add_text("parameters", "made by A")
    with Image.open(io.BytesIO(generation.png_bytes(image))) as stored:
        assert stored.info == {} and stored.mode == "RGB" and stored.getpixel((0, 0)) == (1, 2, 3)


def test_an_interrupted_run_is_marked_and_resumed(any_arena: Arena) -> None:
    prompts(any_arena)
    contestant = add(any_arena)

    def interrupt(progress: generation.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generation.fill(any_arena, generation.plan(any_arena), create_backend, interrupt)
    assert any_arena.store.runs()[0].state is RunState.CANCELLED
    kept = len(any_arena.store.generations(contestant.id or 0))
    assert kept in (4, 6), "the first batch of four was stored, and the second if it was drawn by then"
    assert fill(any_arena).made == 6 - kept


def test_kill_9_in_the_middle_loses_one_batch_at_most_and_doubles_nothing(arena: Arena) -> None:
    prompts(arena, 40)
    contestant = add(arena, pause=0.02)
    child = subprocess.Popen(
        [sys.executable, "-m", "arena.cli", "generate"],
        env={**os.environ, **arena.settings.as_environment()},
        stdout=subprocess.DEVNULL,
    )
    while not arena.store.generations(contestant.id or 0):
        assert child.poll() is None
    child.kill()
    child.wait()
    before = {(a.prompt_id, a.seed): a.image for a in arena.store.generations(contestant.id or 0)}
    assert 0 < len(before) < 40
    assert fill(arena).made == 40 - len(before)
    after = arena.store.generations(contestant.id or 0)
    assert len(after) == 40 and before.items() <= {(a.prompt_id, a.seed): a.image for a in after}.items()
    for attempt in after:
        assert attempt.image is not None and arena.blobs.get(attempt.image.sha256).startswith(b"\x89PNG")


def test_wrong_requests_are_said(arena: Arena) -> None:
    add(arena)
    with pytest.raises(UnknownName, match="did you mean 'A'"):
        generation.plan(arena, ["a"])
    with pytest.raises(UsageError, match="at least 1, got 0"):
        generation.plan(arena, images_per_prompt=0)
    with pytest.raises(UsageError, match="exists with other settings"):
        add(arena, tint="other")
