"""Settings of the service: where things are, limits, workers; nothing that decides a result.

Each has a flag of `dedup serve`, a name in the file given by ``--config`` and a variable
of the environment, ``DEDUP_`` and the name in capitals; the flag wins, then the
environment.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dedup.errors import InputError, OptionsError

_PREFIX: Final = "DEDUP_"

# Variables that are no settings.
_OTHERS: Final = ("config", "key", "settings_json", "bench_envs")

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0)]


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """How much the service takes, and how much it does at a time.

    Attributes are documented where they stand; `dedup serve --help` shows them.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    index: str | None = None
    """Folder of the collections, or postgresql://user@host/database; none are kept unless given."""

    index_file: Path | None = None
    """File with the address of the index, which may have a password in it; instead of it."""

    data: Path | None = None
    """Folder of jobs, snapshots and replicas; that of the collections unless given."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one, and the log names it."""

    workers: _Count = 1
    """Processes that answer."""

    keys: Path | None = None
    """File of the API keys, made by `dedup keys`; who has none is refused."""

    threads: _Count = Field(default_factory=_count_cores)
    """Texts that are worked on at the same time."""

    body_limit_bytes: _Count = 32 * 2**20
    """Largest body of a request that is read whole; a stream of lines may be longer."""

    document_limit_bytes: _Count = 8 * 2**20
    """Largest document of a collection, as a line of JSON."""

    batch_limit_documents: _Count = 10_000
    """Most documents in one JSON array; a stream of lines may have more."""

    large_body_bytes: _Count = 2**18
    """A body over this size is large: large ones together leave one thread to the small."""

    queue_requests: _Count = 64
    """Requests that wait for a thread or a commit; one more is answered 429."""

    stream_count: _Count = 16
    """Streams of lines at the same time, and as many of events; one more is answered 429."""

    held_bytes: _Count = 2**29
    """Most bytes of bodies that are held at the same time; over it the answer is 429."""

    open_collections: _Count = 64
    """Collections that are kept open; of more, the one that was used least lately is closed."""

    request_seconds: _Seconds = 60.0
    """Longest that a request waits and is read; work that was begun is ended."""

    job_limit_bytes: _Count = 2**30
    """Largest upload of a job."""

    job_unpacked_bytes: _Count = 8 * 2**30
    """Most bytes that an upload unpacks to."""

    job_ratio: _Count = 200
    """Most bytes that a packed byte of an upload unpacks to, over all of it."""

    job_count: _Count = 32
    """Jobs that wait or run; one more is answered 429."""

    job_keep_seconds: _Seconds = 7 * 86_400.0
    """How long a finished job and its result stay."""

    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 2**28
    """Room on the disk under which the service is not ready and takes no documents."""

    shutdown_seconds: _Seconds = 30.0
    """Longest that what is in flight is waited for when the service is stopped."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least that is logged."""

    log_format: Literal["json", "text"] = "json"
    """How log lines are written."""

    access_log: bool = False
    """Whether each request is logged, and not only the failed."""

    telemetry: bool = False
    """Whether traces and metrics go to the OpenTelemetry collector of OTEL_EXPORTER_OTLP_*."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given alone; `load_settings` reads the environment and the file."""
        return (init_settings,)


def load_settings(config: str | None, flags: Mapping[str, Any]) -> Settings:
    """Read the settings: flags, the environment, and a file, which the first have before.

    Parameters
    ----------
    config
        The file, TOML; that of the variable ``DEDUP_CONFIG`` unless given.
    flags
        What was given at the start; None where it was not.

    Raises
    ------
    InputError
        When the file cannot be read.
    OptionsError
        When a setting is unknown or has a value that cannot be used; it says where it came
        from.
    """
    named = config or os.environ.get(f"{_PREFIX}CONFIG")
    file = Path(named) if named else None
    in_file: dict[str, Any] = {}
    if file is not None:
        try:
            in_file = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise InputError(str(file), (error.strerror or str(error)).lower()) from None
        except ValueError as error:
            raise InputError(str(file), f"is no TOML: {error}") from None
    given = {name: value for name, value in flags.items() if value is not None}
    for name in os.environ:
        short = name.removeprefix(_PREFIX).lower()
        if name.startswith(_PREFIX) and short not in {*Settings.model_fields, *_OTHERS}:
            raise OptionsError(name, os.environ[name], "no such variable; `dedup serve --help`")

    class Loaded(Settings):
        """Settings that come from the environment, too, and from the file."""

        model_config = SettingsConfigDict(env_prefix=_PREFIX)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = [init_settings, env_settings]
            if file is not None:
                sources.append(TomlConfigSettingsSource(settings_cls, file))
            return tuple(sources)

    try:
        found = Loaded(**given)
    except ValidationError as error:
        raise _tell(error, given, in_file) from None
    return _read_index_file(found)


def _read_index_file(settings: Settings) -> Settings:
    """Take the address of the index out of its file."""
    file = settings.index_file
    if file is None:
        return settings
    if settings.index is not None:
        raise OptionsError("index_file", str(file), "nothing beside the index itself")
    try:
        index = file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError(str(file), getattr(error, "strerror", None) or str(error)) from None
    if not index or "\n" in index:
        raise InputError(str(file), "expected one line: the address of an index")
    return settings.model_copy(update={"index": index, "index_file": None})


def _tell(
    error: ValidationError, flags: Mapping[str, Any], file: Mapping[str, Any]
) -> OptionsError:
    """Say which setting is wrong, and where it came from."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    variable = f"{_PREFIX}{name.upper()}"
    place = name
    if name in flags:
        place = f"--{name.replace('_', '-')}"
    elif variable in os.environ:
        place = variable
    elif name in file:
        place = f"{name} of the file"
    reason = str(first["msg"])
    if first["type"] == "extra_forbidden":
        reason = "one of " + ", ".join(Settings.model_fields)
    # An address may have a password in it.
    value = "what was given" if name == "index" else first["input"]
    return OptionsError(place, value, reason[:1].lower() + reason[1:])
