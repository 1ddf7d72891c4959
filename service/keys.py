"""API keys: who may do what, kept as hashes in a file.

A key is 256 random bits, so its SHA-256 is kept: nobody finds such a key by trying, and a
slow hash, which protects what people choose, would be paid for with each request.
"""

import hmac
import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

import orjson

from dedup.errors import InputError, OutputError
from dedup.files import write_whole
from service.problems import Fault, ProblemError

_log = logging.getLogger("dedup.service")

# Says in a log or a repository what was left lying there.
_PREFIX: Final = "dedup_"

# A changed file is taken up after so many seconds.
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Key:
    """What a key may do.

    Attributes
    ----------
    name
        What it is called; the log and the jobs name it.
    sha256
        Of the key, in hexadecimal digits.
    read_only
        Whether it changes nothing.
    collections
        Those that it may use; None for all.
    created
        When it was made.
    """

    name: str
    sha256: str
    read_only: bool = False
    collections: tuple[str, ...] | None = None
    created: str = ""

    def check(self, collection: str | None, *, writes: bool) -> None:
        """Refuse what it may not do; the same whether a collection is there or not.

        Parameters
        ----------
        collection
            The one that a request is about; None for none.

        Raises
        ------
        ProblemError
            403.
        """
        if writes and self.read_only:
            raise ProblemError(403, Fault("Authorization", "this key changes nothing"))
        is_bound = self.collections is not None
        if collection is not None and is_bound and collection not in (self.collections or ()):
            raise ProblemError(403, Fault("Authorization", "this key is not for this collection"))

    def to_mapping(self) -> dict[str, Any]:
        """Return it as it goes into the file."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Any, source: str) -> Self:
        """Read it; `InputError` names what is wrong."""
        expected: dict[str, type | tuple[type, ...]] = {
            "name": str,
            "sha256": str,
            "read_only": bool,
            "collections": (list, type(None)),
            "created": str,
        }
        if not isinstance(values, dict) or not {"name", "sha256"} <= values.keys():
            raise InputError(source, "a key has a name and a sha256")
        for name, value in values.items():
            if name not in expected:
                raise InputError(source, f"a key has no {name!r}; it has {', '.join(expected)}")
            if not isinstance(value, expected[name]):
                raise InputError(source, f"{name} of a key cannot be {value!r}")
        digest, bound = values["sha256"], values.get("collections")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise InputError(source, "sha256 of a key has 64 hexadecimal digits, in small letters")
        if bound is not None and not all(isinstance(one, str) for one in bound):
            raise InputError(source, "collections of a key are names")
        return cls(**values | {"collections": None if bound is None else tuple(bound)})


class Keys:
    """The keys of a file, read again when it changes.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        When it cannot be read, or holds no keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        if not self._keys:
            raise InputError(str(path), "there are no keys in it; dedup keys create makes one")
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def find(self, header: str | None) -> Key:
        """Return the key of an Authorization header.

        Raises
        ------
        ProblemError
            401 when there is none, or it is not known.
        """
        self._look()
        scheme, _, value = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise _unknown("expected Bearer and a key")
        digest = find_digest(value.strip())
        found = None
        # All of them are compared, and each in the same time.
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            raise _unknown("this key is not known")
        return found

    def _look(self) -> None:
        """Take up a changed file; a broken one changes nothing, and is logged."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._path), stamp
        except InputError as error:
            _log.error("the keys stay as they were: %s", error)


def make_key() -> str:
    """Make a key nobody has."""
    return _PREFIX + secrets.token_urlsafe(32)


def find_digest(key: str) -> str:
    """Return what is kept of a key."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Read the keys of a file; `InputError` when it holds none."""
    try:
        value = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(str(path), (error.strerror or str(error)).lower()) from None
    except orjson.JSONDecodeError as error:
        raise InputError(str(path), f"is no JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise InputError(str(path), 'expected {"keys": [...]}')
    keys = [Key.from_mapping(one, str(path)) for one in value["keys"]]
    if len({key.name for key in keys}) < len(keys):
        raise InputError(str(path), "two keys have one name")
    return keys


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Write a file of keys, whole, for its owner alone."""
    mappings = [key.to_mapping() for key in keys]
    data = orjson.dumps({"keys": mappings}, option=orjson.OPT_INDENT_2)
    write_whole(str(path), data + b"\n")
    try:
        path.chmod(0o600)
    except OSError as error:
        raise OutputError(str(path), (error.strerror or str(error)).lower()) from None


def create_key(path: Path, name: str, read_only: bool, collections: Iterable[str]) -> str:
    """Put a new key into a file, which may be new too; return the key.

    Raises
    ------
    InputError
        When a key has this name, or the file cannot be read.
    """
    keys = read_keys(path) if path.exists() else []
    if any(key.name == name for key in keys):
        raise InputError(str(path), f"there is a key {name!r} already")
    key = make_key()
    bound = tuple(collections) or None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_keys(path, [*keys, Key(name, find_digest(key), read_only, bound, now)])
    return key


def remove_key(path: Path, name: str) -> None:
    """Take a key out of a file; `InputError` when it is not there."""
    keys = read_keys(path)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise InputError(str(path), f"there is no key {name!r}")
    write_keys(path, left)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _unknown(reason: str) -> ProblemError:
    headers = {"WWW-Authenticate": "Bearer"}
    return ProblemError(401, Fault("Authorization", reason), headers=headers)
