"""Settings: the only reader of the environment and of arena.toml.

Order, strongest first: arguments, environment (`ARENA_…`), `arena.toml` in the working folder, defaults.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from arena.errors import SettingsError

TOML_FILE = "arena.toml"


class Settings(BaseSettings):
    """Everything a host can set. See docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix="ARENA_", toml_file=TOML_FILE, extra="forbid", frozen=True)

    data_dir: Path = Field(default=Path("arena-data"), description="where the database, images and caches live")
    database_url: str = Field(default="", description="SQLAlchemy URL; empty means SQLite in data_dir")
    images_url: str = Field(
        default="", description="where images are kept: a folder or an fsspec URL; empty means images/ in data_dir"
    )
    host: str = Field(default="localhost", description="address the page listens on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=8501, description="port the page listens on")
    k_factor: Annotated[float, Field(gt=0)] = Field(default=32.0, description="K of Elo, rating points")
    provisional_below: Annotated[int, Field(ge=0)] = Field(
        default=30, description="a contestant with fewer votes is marked provisional"
    )
    matchmaking: Literal["adaptive@2", "uniform@1"] = Field(
        default="adaptive@2", description="how pairs are drawn: where a vote tells most, or all alike"
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(default=8, description="images generated at once")
    prices: Path | None = Field(
        default=None, description="a file of prices that stands before the shipped one, see docs/contestants.md"
    )
    gpu_usd_per_hour: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="what an hour of this machine costs, for images that are drawn on it"
    )
    contestants: list[dict[str, Any]] = Field(
        default=[], description="models to register, one [[contestants]] table each, see docs/contestants.md"
    )
    threads: Annotated[int, Field(ge=0)] = Field(default=0, description="CPU threads of torch; 0 leaves its own choice")
    judge: str = Field(
        default="teddy", description="the judge that is asked unless another is named, see docs/judging.md"
    )
    judge_options: dict[str, Any] = Field(default={}, description="its options, such as base_url; never a key")
    judge_batch: Annotated[int, Field(ge=1)] = Field(default=16, description="pairs judged between two commits")
    gate_rating: float | None = Field(
        default=None, description="people vote on a contestant once the judge rates it so high; off when not set"
    )
    gate_top_half: bool = Field(
        default=False, description="people vote on a contestant once its interval reaches the judge's top half"
    )
    own_prompts_per_hour: Annotated[int, Field(ge=0)] = Field(
        default=10, description="prompts of their own that a visitor may have drawn in an hour; 0 takes none"
    )
    own_prompts_count: bool = Field(default=True, description="whether votes on own prompts count on people's board")
    own_prompts_longest: Annotated[int, Field(ge=1)] = Field(default=500, description="characters of an own prompt")
    own_prompts_queue: Annotated[int, Field(ge=1)] = Field(
        default=20, description="own prompts that may wait; further ones are refused"
    )
    own_prompts_idle: Annotated[float, Field(gt=0)] = Field(
        default=120.0, description="seconds without an own prompt after which the process that draws them ends"
    )
    own_prompts_loaded: Annotated[int, Field(ge=1)] = Field(
        default=4, description="models that this process keeps loaded at once"
    )
    own_prompts_usd_per_day: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="USD that own prompts may cost in a day; where not set, no model that costs money draws",
    )
    admin_token: str = Field(
        default="", repr=False, description="what admins log in with; better printed once by `arena admin-token`"
    )
    inception_weights: Path | None = Field(
        default=None, description="file with FID's Inception weights; otherwise found, see `arena doctor`"
    )
    weights: dict[str, Path] = Field(
        default={}, description="files or folders of other networks' weights, by the network's name"
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        default="auto", description="what scores images: auto (cuda where there is one, else cpu), cpu, cuda or cuda:1"
    )
    engine: Literal["torch", "openvino"] = Field(
        default="torch", description="what runs FID's network on a CPU: torch or openvino"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{(self.data_dir / 'arena.sqlite').absolute()}"

    def as_environment(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process."""
        values = {
            **self.model_dump(exclude_none=True, exclude={"contestants"}),
            "data_dir": self.data_dir.absolute(),
            "database_url": self.url,
        }
        return {
            f"ARENA_{name.upper()}": json.dumps(value, default=str) if isinstance(value, dict) else str(value)
            for name, value in values.items()
        }

    @property
    def known_weights(self) -> dict[str, Path]:
        """Where weights lie that the host has named, by network."""
        inception = {"inception-2015-12-05": self.inception_weights} if self.inception_weights else {}
        return {**self.weights, **inception}

    @property
    def images_dir(self) -> Path:
        return self.data_dir / "images"

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"


VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def variable_name(name: str) -> str:
    """The name of the environment variable that holds a key; the key itself stands in no setting.

    Raises SettingsError for what is no such name, without quoting it: it may be the key.
    """
    if not VARIABLE.fullmatch(name):
        raise SettingsError(
            "A key is given by the NAME of its environment variable, in capitals, such as OPENAI_API_KEY; what was "
            "given is something else, and not shown in case it is the key."
        )
    return name


def secret(variable: str) -> str:
    """The key that an environment variable holds. Raises SettingsError where there is none."""
    key = os.environ.get(variable_name(variable), "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise SettingsError(f"The environment variable {variable} holds no usable key; export {variable}=… first.")
    return key


def load_settings(**overrides: object) -> Settings:
    """The settings in force; raises SettingsError that names the setting, its value and what is allowed."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{TOML_FILE} is not valid TOML ({error}); mend that line or remove the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(Settings.model_fields))
        reason = (
            f"there is no such setting; known: {known}" if first["type"] == "extra_forbidden" else first["msg"].lower()
        )
        raise SettingsError(
            f"Setting {name!r} has the value {first['input']!r}: {reason}. "
            f"Change it in {TOML_FILE} or ARENA_{name.upper()}."
        ) from error
