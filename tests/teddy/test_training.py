"""One step of every trainer on tiny data, through the code of the real recipes, and resuming to the bit."""

import json
import random

import numpy as np
import pytest
import torch

from arena.teddy.attributes import AttributeNetwork
from arena.teddy.scenes import caption, is_held_out, sample_scenes
from arena.teddy.training import flow, turbo, unet, vae
from arena.teddy.training.attributes import AttributeTask
from arena.teddy.training.dataset import draw, load_or_draw
from arena.teddy.training.loop import Schedule, Trainer, run
from arena.teddy.training.text import LENGTH, make_tokenizer, tokens, with_dropped

# torch's arrays do not know numpy 2's `copy` argument yet; the scheduler's set_timesteps makes numpy say so.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SCENES = sample_scenes(6, random.Random(0), held_out=False)
CAPTIONS = [caption(scene) for scene in SCENES]
PICTURES = draw(SCENES, seed=0)
SCHEDULE = Schedule(steps=4, rate=1e-3, warmup=2)


def tiny_flow() -> flow.FlowNetwork:
    return flow.FlowNetwork(len(make_tokenizer()), heads=1, layers=1, text_layers=1)


def tiny_latents(*shape: int) -> torch.Tensor:
    return torch.randn((len(SCENES), *shape, vae.CHANNELS, 16, 16), generator=torch.Generator().manual_seed(0))


def vae_task():
    return vae.AutoencoderTask(PICTURES.images, vae.make_autoencoder((16, 16), (1, 1), (1, 1)), batch=2)


def decoder_task():
    network = vae.make_autoencoder((16, 16), (1, 1), (1, 1))
    guess = flow.denoiser(tiny_flow(), CAPTIONS)
    return vae.DecoderTask(PICTURES.images, tiny_latents(), network, guess, batch=2)


def flow_task():
    return flow.FlowTask(tiny_latents(), CAPTIONS, tiny_flow(), batch=2)


def turbo_task():
    return turbo.TurboTask(tiny_latents(turbo.STEPS + 1), CAPTIONS, tiny_flow(), batch=2)


def unet_task():
    network = unet.UnetNetwork(len(make_tokenizer()), (8, 8, 16, 16))
    return unet.UnetTask(PICTURES.images, CAPTIONS, network, batch=2)


def attribute_task():
    return AttributeTask(PICTURES, AttributeNetwork(width=4), batch=2)


TASKS = {
    "vae": vae_task,
    "decoder": decoder_task,
    "flow": flow_task,
    "turbo": turbo_task,
    "unet": unet_task,
    "attributes": attribute_task,
}


def trainer(name: str) -> Trainer:
    torch.manual_seed(0)
    return Trainer(TASKS[name](), SCHEDULE, seed=1)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    other_state = other.state_dict()
    return all(torch.equal(value, other_state[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("name", [*TASKS])
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(name, tmp_path):
    whole, first, second = trainer(name), trainer(name), trainer(name)
    losses = [whole.advance() for _ in range(3)]
    before = first.averaged()
    first.advance()
    assert not equal(before, first.averaged())
    first.save(tmp_path / "half.pt")
    second.restore(tmp_path / "half.pt")
    assert [second.advance() for _ in range(2)] == losses[1:]
    assert equal(second.task.network, whole.task.network)
    assert equal(second.averaged(), whole.averaged())
    assert all(np.isfinite(losses))


def test_training_brings_the_loss_down():
    torch.manual_seed(0)
    task = AttributeTask(PICTURES, AttributeNetwork(width=4), batch=6)
    learner = Trainer(task, Schedule(steps=40, rate=3e-3, warmup=5), seed=0)
    losses = [learner.advance() for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_run_logs_stops_at_the_schedule_and_leaves_a_checkpoint(tmp_path):
    said: list[str] = []
    learner = trainer("attributes")
    run(learner, tmp_path / "attributes.pt", minutes=1, say=said.append, every=2)
    assert learner.step == 4 and len(said) == 2 and said[0].startswith("attributes step 2/4 loss ")
    again = trainer("attributes")
    again.restore(tmp_path / "attributes.pt")
    assert again.step == 4


def test_run_stops_when_the_minutes_are_over(tmp_path):
    learner = trainer("attributes")
    run(learner, tmp_path / "attributes.pt", minutes=0, say=print)
    assert learner.step == 0


def test_the_rate_warms_up_and_falls_along_a_cosine():
    schedule = Schedule(steps=100, rate=1.0, warmup=10)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(10) == pytest.approx(1.0)
    assert schedule.rate_at(55) == pytest.approx(0.51)
    assert schedule.rate_at(100) == pytest.approx(0.02)


def test_every_word_of_the_grammar_is_a_token_and_every_caption_fits():
    ids, mask = tokens(make_tokenizer(), CAPTIONS, LENGTH)
    assert ids.shape == mask.shape == (6, LENGTH)
    assert (ids != make_tokenizer().unk_token_id).all()
    longest = max(len(make_tokenizer()(text).input_ids) for text in CAPTIONS)
    assert longest <= flow.TRAIN_LENGTH
    assert make_tokenizer()("teddy zeppelin").input_ids[1] == make_tokenizer().unk_token_id


def test_a_dropped_caption_is_the_empty_prompt():
    ids, mask = tokens(make_tokenizer(), CAPTIONS, LENGTH)
    empty = tokens(make_tokenizer(), [""], LENGTH)
    dropped = with_dropped(ids, mask, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(dropped[0], empty[0].expand(6, -1)) and torch.equal(dropped[1], empty[1].expand(6, -1))


def test_trajectories_start_with_noise_and_the_students_times_are_the_pipelines():
    trajectories = turbo.draw_trajectories(tiny_flow(), CAPTIONS[:2], guidance=2.0, seed=0)
    assert trajectories.shape == (2, turbo.STEPS + 1, vae.CHANNELS, 16, 16)
    noise = torch.randn((2, vae.CHANNELS, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(trajectories[:, 0], noise)


def test_pictures_depend_on_seed_and_index_only():
    assert np.array_equal(draw(SCENES[:3], seed=0).images, PICTURES.images[:3])
    assert not any(map(is_held_out, SCENES))


def test_pictures_are_read_back_as_they_were_drawn(tmp_path):
    texts = json.dumps(CAPTIONS[:2])
    (tmp_path / "pictures-2-0.json").write_text(texts)
    np.save(tmp_path / "pictures-2-0.npy", PICTURES.images[:2])
    found = load_or_draw(tmp_path, 2, seed=0)
    assert found.scenes == SCENES[:2] and np.array_equal(found.images, PICTURES.images[:2])
