"""The server: processes that answer, until they are told to stop."""

import gc
import ipaddress
import logging
import os
import sys
from tempfile import TemporaryDirectory
from typing import Final

import uvicorn
from fastapi import FastAPI

from dedup.errors import OptionsError
from dedup.index.databases import Address
from service.app import create_app
from service.keys import Keys
from service.logs import set_up_logs
from service.settings import Settings

_log = logging.getLogger("dedup.service")

# What each of several processes reads its settings from.
_SETTINGS: Final = "DEDUP_SETTINGS_JSON"
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"

# A thread that comes out of a kernel waits so long for one that is in Python: with 5 ms, as
# Python has it, a single post beside a stream of batches waits for many of them.
_SWITCH_SECONDS: Final = 0.001


def check_settings(settings: Settings) -> None:
    """Refuse settings that do not go together, before anything is begun.

    Raises
    ------
    OptionsError
        When it would listen to others without keys, or has nowhere to put things.
    InputError
        When the file of keys cannot be used, or an address is none.
    """
    if settings.keys is None and not _is_loopback(settings.host):
        raise OptionsError("host", settings.host, "127.0.0.1, unless there are --keys")
    if settings.keys is not None:
        Keys(settings.keys)
    if settings.index is not None and Address.is_one(settings.index):
        Address(settings.index)
        if settings.data is None:
            raise OptionsError("data", None, "a folder, with an index in PostgreSQL")


def serve(settings: Settings) -> None:
    """Serve until told to stop; what is in flight is answered first.

    Raises
    ------
    OptionsError, InputError
        As of `check_settings`.
    """
    check_settings(settings)
    set_up_logs(settings.log_level, settings.log_format)
    if settings.keys is None:
        _log.info("There are no keys, so it listens to this machine alone; see dedup keys.")
    if settings.index is None:
        _log.info("It keeps no collections: there is no --index.")
    if settings.workers == 1:
        _run(settings, create_app(settings))
        return
    os.environ[_SETTINGS] = settings.model_dump_json()
    with TemporaryDirectory(prefix="dedup-metrics-") as folder:
        os.environ[_METRICS] = folder
        try:
            _run(settings, "service.server:create_worker_app")
        finally:
            del os.environ[_SETTINGS], os.environ[_METRICS]


def create_worker_app() -> FastAPI:
    """Build the application in one of several processes."""
    settings = Settings.model_validate_json(os.environ[_SETTINGS])
    set_up_logs(settings.log_level, settings.log_format)
    _tune()
    return create_app(settings)


def _run(settings: Settings, app: FastAPI | str) -> None:
    _tune()
    uvicorn.run(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        lifespan="on",
        # Logs are ours, and name no query.
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )


def _tune() -> None:
    # The rows of a large map are a million objects without a cycle among them, and a full
    # collection holds every thread: beside a text of 31 MB with a million duplicates the
    # p99 of small ones was 0.36 s with Python's own thresholds, 0.07 s with these.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(_SWITCH_SECONDS)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
