"""Settings of the service: limits and workers, and nothing that decides a result."""

import os
from dataclasses import dataclass, field


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much the service takes, and how much it does at a time."""

    body_limit_bytes: int = 32 * 2**20
    """Largest body of a request that is read."""

    threads: int = field(default_factory=_count_cores)
    """Texts that are cleaned at the same time."""

    large_body_bytes: int = 2**18
    """A body over this size is large: large ones together leave one thread to the small."""

    access_log: bool = False
    """Whether each request is logged; costs a quarter of the requests (914 for 1,245 a second)."""

    def __post_init__(self) -> None:
        for name in ("body_limit_bytes", "threads", "large_body_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
