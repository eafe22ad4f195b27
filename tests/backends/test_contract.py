"""What every backend of the table keeps to: one list of small settings, the same checks for all."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from arena.backends import BACKENDS
from arena.backends.base import BadSetting, Drawn, backend_class, create_backend, split_settings
from arena.domain import Contestant
from arena.errors import GenerationError, UsageError
from arena.services.teddies import teddy_contestants
from tests.backends.conftest import ImageServer, answered, encoded, png

PROMPTS, SEEDS = ["a pink teddy bear", "a brown teddy bear", "a pink teddy bear"], [3, 4, 5]


@dataclass
class Case:
    settings: dict[str, Any]
    tolerance: int = 0


def case(name: str, server: ImageServer) -> Case:
    """A backend's smallest real settings. A new backend gets a line here."""
    plain = {"concurrency": 4, "attempts": 1}
    turbo = next(one for one in teddy_contestants() if one.name == "Teddy Turbo")
    return {
        # Sums in another order may round a pixel the other way.
        "diffusers": lambda: Case({**turbo.settings, "device": "cpu"}, tolerance=2),
        "openai": lambda: Case({"model": "painter", "base_url": server.url, **plain}),
        "inference-providers": lambda: Case({"base_url": server.url, "key_variable": "LAB_KEY", **plain}),
        "swatch": lambda: Case({"size": 16}),
    }[name]()


@pytest.fixture(params=BACKENDS)
def contestant(request: pytest.FixtureRequest, server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> Contestant:
    monkeypatch.setenv("LAB_KEY", "lab-key-123456")

    def answer(body: Any, _: Any) -> Any:
        seed = body["seed"] if "seed" in body else body["parameters"]["seed"]
        picture = png(seed)
        return answered(encoded(picture)) if "model" in body else (200, {"content-type": "image/png"}, picture)

    server.answer = answer
    kind = backend_class(request.param)
    settings, running = split_settings(kind, case(request.param, server).settings)
    return Contestant("A", request.param, settings, running=running)


@pytest.fixture
def backend(contestant: Contestant) -> Iterator[Any]:
    made = create_backend(contestant)
    yield made
    getattr(made, "close", lambda: None)()


def images(results: Any) -> list[Image.Image]:
    return [result.image if isinstance(result, Drawn) else result for result in results]


def test_one_rgb_image_for_each_prompt_in_order_and_the_same_again(backend, contestant, server) -> None:
    first, again = (images(backend.generate(PROMPTS, SEEDS)) for _ in range(2))
    [second] = images(backend.generate(PROMPTS[1:2], SEEDS[1:2]))
    tolerance = case(contestant.backend, server).tolerance
    assert len(first) == 3 and all(image.mode == "RGB" and image.width >= 8 for image in first)
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert all(abs(a - b) <= tolerance for a, b in zip(first[1].tobytes(), second.tobytes(), strict=True))
    assert first[0].tobytes() != first[2].tobytes(), "the same prompt with another seed is another image"


def test_settings_and_running_are_apart_and_together_make_the_backend(contestant: Contestant) -> None:
    kind = backend_class(contestant.backend)
    parameters = inspect.signature(kind).parameters
    assert parameters.keys() >= kind.RUNNING and not kind.RUNNING & contestant.settings.keys()
    again = Contestant("A", contestant.backend, contestant.settings)
    assert again.fingerprint == contestant.fingerprint, "how it is run is no part of who it is"


def test_a_setting_that_there_is_not_is_named_before_anything_is_loaded(contestant: Contestant) -> None:
    with pytest.raises(BadSetting) as told:
        split_settings(backend_class(contestant.backend), {**contestant.settings, "no_such": 1})
    assert told.value.name == "no_such" and "this backend takes" in told.value.reason
    with pytest.raises(UsageError, match="do not fit the backend"):
        create_backend(Contestant("A", contestant.backend, {**contestant.settings, "no_such": 1}))


def test_every_setting_has_a_type_that_is_checked(contestant: Contestant) -> None:
    for name in inspect.signature(backend_class(contestant.backend)).parameters:
        with pytest.raises(BadSetting) as told:
            split_settings(backend_class(contestant.backend), {**contestant.settings, name: object()})
        assert told.value.name == name


def test_failures_are_values_or_generation_errors(backend, contestant, server) -> None:
    if contestant.backend in ("openai", "inference-providers"):
        server.answer = lambda *_: (500, {}, b"broken")
        results = backend.generate(PROMPTS[:1], SEEDS[:1])
        assert all(isinstance(result, GenerationError) and "HTTP 500" in str(result) for result in results)
        return
    broken = {"diffusers": {"height": 63}, "swatch": {"fails_on": "teddy"}}[contestant.backend]
    made = create_backend(Contestant("A", contestant.backend, {**contestant.settings, **broken}))
    with pytest.raises(GenerationError):
        made.generate(PROMPTS[:1], SEEDS[:1])
