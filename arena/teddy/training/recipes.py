"""The recipes: which task, how long and how fast, for each model; one literal table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from arena.teddy.attributes import AttributeNetwork, AttributeReader
from arena.teddy.scenes import caption
from arena.teddy.training import export as hub
from arena.teddy.training import flow, judge, turbo, unet, vae
from arena.teddy.training.attributes import AttributeTask
from arena.teddy.training.dataset import Pictures, load_or_draw
from arena.teddy.training.loop import Schedule, Task, Trainer, run
from arena.teddy.training.text import make_tokenizer

PICTURES = 20_000
TRAJECTORIES = 1280
TEACHER_GUIDANCE = 3.0


@dataclass(frozen=True)
class Recipe:
    """How one model is made: `task` gets the checkpoint folder and the seed."""

    task: Callable[[Path, int], Task]
    schedule: Schedule


def train(
    name: str, out: Path, seed: int, minutes: float, steps: int | None, resume: bool, say: Callable[[str], None]
) -> None:
    """Trains model `name` of the table into `out`/`name`.pt. Raises KeyError for an unknown name."""
    recipe = RECIPES[name]
    schedule = replace(recipe.schedule, steps=steps) if steps else recipe.schedule
    torch.manual_seed(seed)
    trainer = Trainer(recipe.task(out, seed), schedule, seed)
    path = out / f"{name}.pt"
    if resume and path.exists():
        trainer.restore(path)
    run(trainer, path, minutes, say)


def trained(name: str, out: Path, network: nn.Module) -> nn.Module:
    """`network` with the averaged weights of checkpoint `out`/`name`.pt, frozen. Raises FileNotFoundError."""
    state = torch.load(out / f"{name}.pt", weights_only=True, mmap=True)
    network.load_state_dict(state["network"])
    names = [key for key, p in network.named_parameters() if p.requires_grad]
    own = dict(network.named_parameters())
    with torch.no_grad():
        for key, value in zip(names, state["average"], strict=True):
            own[key].copy_(value)
    return network.eval().requires_grad_(False)


def pictures(out: Path, seed: int) -> Pictures:
    """The training pictures, drawn at the first call."""
    return load_or_draw(out, PICTURES, seed)


def _vae(out: Path, seed: int) -> Task:
    return vae.AutoencoderTask(pictures(out, seed).images, vae.make_autoencoder())


def _decoder(out: Path, seed: int) -> Task:
    network = trained("vae", out, vae.make_autoencoder()).requires_grad_(True).train()
    guess = flow.denoiser(trained("flow", out, make_flow()), captions(out, seed))
    return vae.DecoderTask(pictures(out, seed).images, latents(out, seed), network, guess)


def _attributes(out: Path, seed: int) -> Task:
    return AttributeTask(pictures(out, seed), AttributeNetwork())


def latents(out: Path, seed: int) -> Tensor:
    """Latents of the training pictures by the trained autoencoder, float32 (n, 4, 16, 16), encoded once."""
    step = torch.load(out / "vae.pt", weights_only=True, mmap=True)["step"]
    path = out / f"latents-{PICTURES}-{seed}-vae{step}.pt"
    if not path.exists():
        network = trained("vae", out, vae.make_autoencoder())
        torch.save(vae.encode_all(network, pictures(out, seed).images), path)
    return torch.load(path, weights_only=True)


def captions(out: Path, seed: int) -> list[str]:
    """The captions of the training pictures."""
    return [caption(scene) for scene in pictures(out, seed).scenes]


def _flow(out: Path, seed: int) -> Task:
    return flow.FlowTask(latents(out, seed), captions(out, seed), make_flow())


def make_flow() -> flow.FlowNetwork:
    """The untrained network of `flow` and `turbo`."""
    return flow.FlowNetwork(len(make_tokenizer()))


def _unet(out: Path, seed: int) -> Task:
    return unet.UnetTask(pictures(out, seed).images, captions(out, seed), make_unet())


def make_unet() -> unet.UnetNetwork:
    """The untrained network of `unet`."""
    return unet.UnetNetwork(len(make_tokenizer()))


def _turbo(out: Path, seed: int) -> Task:
    teacher = trained("flow", out, make_flow())
    step = torch.load(out / "flow.pt", weights_only=True, mmap=True)["step"]
    path, asked = out / f"trajectories-{TRAJECTORIES}-{seed}-flow{step}.pt", captions(out, seed)[:TRAJECTORIES]
    if not path.exists():
        torch.save(turbo.draw_trajectories(teacher, asked, TEACHER_GUIDANCE, seed, print), path)
    student = teacher.requires_grad_(True).train()
    return turbo.TurboTask(torch.load(path, weights_only=True), asked, student)


def _bank(out: Path, seed: int) -> judge.Bank:
    """The judge's pictures: the rendered ones, and the contestants', which are drawn at the first call."""
    path = out / f"generated-{seed}.pt"
    if not path.exists():
        torch.save(torch.from_numpy(judge.draw_generated(seed, print)), path)
    return judge.make_bank(pictures(out, seed), torch.load(path, weights_only=True).numpy(), AttributeReader.load())


def make_eye() -> judge.EyeNetwork:
    """The untrained network of `judge-eye`."""
    return judge.EyeNetwork(judge.make_judge(judge.make_tokenizer()).model.vision_tower)


def _judge_eye(out: Path, seed: int) -> Task:
    return judge.EyeTask(_bank(out, seed), make_eye().train())


def make_pupil() -> judge.Pupil:
    """The untrained network of `judge-words` and `judge`; its eye is not theirs to train."""
    pupil = judge.Pupil(judge.make_judge(judge.make_tokenizer()))
    pupil.judge.model.vision_tower.requires_grad_(False)
    return pupil


def _judge_words(out: Path, seed: int) -> Task:
    pupil, tokenizer = make_pupil(), judge.make_tokenizer()
    judge.give_eye(pupil.judge, trained("judge-eye", out, make_eye()), tokenizer)
    return judge.JudgeTask(_bank(out, seed), pupil, tokenizer, judge.JudgeTask.WORDS)


def _judge(out: Path, seed: int) -> Task:
    pupil = trained("judge-words", out, make_pupil()).requires_grad_(True)
    return judge.JudgeTask(_bank(out, seed), pupil, judge.make_tokenizer())


RECIPES: dict[str, Recipe] = {
    "vae": Recipe(_vae, Schedule(steps=1400, rate=2e-3, warmup=100, decay=0.995)),
    "flow": Recipe(_flow, Schedule(steps=6500, rate=1.5e-3, warmup=200, decay=0.999)),
    "decoder": Recipe(_decoder, Schedule(steps=700, rate=1e-3, warmup=30, decay=0.995)),
    "attributes": Recipe(_attributes, Schedule(steps=1000, rate=2e-3, warmup=50, decay=0.98)),
    "unet": Recipe(_unet, Schedule(steps=5200, rate=1e-3, warmup=200, decay=0.998)),
    "turbo": Recipe(_turbo, Schedule(steps=600, rate=4e-4, warmup=30, decay=0.99)),
    "judge-eye": Recipe(_judge_eye, Schedule(steps=3000, rate=2e-3, warmup=100, weight_decay=0.05, decay=0.99)),
    "judge-words": Recipe(_judge_words, Schedule(steps=1200, rate=2e-3, warmup=100, weight_decay=0.05, decay=0.99)),
    "judge": Recipe(_judge, Schedule(steps=2700, rate=2e-3, warmup=100, weight_decay=0.05, decay=0.99)),
}
"""Model -> how it is made, in the order in which they need each other."""


def export(out: Path, weights: Path) -> Iterator[str]:
    """Writes every model that has a checkpoint below `weights`, and yields the names written."""
    for name in EXPORTS:
        if (out / f"{name}.pt").exists():
            EXPORTS[name](out, weights)
            yield name


def _export_attributes(out: Path, weights: Path) -> None:
    AttributeReader(trained("attributes", out, AttributeNetwork())).save(weights / "attributes.safetensors")


def _export_flow(out: Path, weights: Path) -> None:
    hub.write_pipeline(flow.make_pipeline(trained("flow", out, make_flow()), _autoencoder(out)), weights / "flow")


def _export_turbo(out: Path, weights: Path) -> None:
    network = make_flow()
    network.text_encoder.requires_grad_(False)
    network = trained("turbo", out, network)
    hub.write_pipeline(flow.make_pipeline(network, _autoencoder(out), solver_order=1), weights / "turbo")


def _export_unet(out: Path, weights: Path) -> None:
    network = trained("unet", out, make_unet())
    hub.write_pipeline(unet.make_pipeline(network), weights / "unet")


def _export_judge(out: Path, weights: Path) -> None:
    pupil = trained("judge", out, make_pupil())
    judge.write_judge(pupil.judge, judge.make_tokenizer(), weights / "judge")


def _autoencoder(out: Path) -> AutoencoderDC:
    network = vae.make_autoencoder()
    if not (out / "decoder.pt").exists():
        return trained("vae", out, network)
    network.encoder.requires_grad_(False)
    return trained("decoder", out, network)


EXPORTS: dict[str, Callable[[Path, Path], None]] = {
    "attributes": _export_attributes,
    "flow": _export_flow,
    "unet": _export_unet,
    "turbo": _export_turbo,
    "judge": _export_judge,
}
"""Model -> how its checkpoint becomes files of the hub's format."""
