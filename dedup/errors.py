"""The error tree: what was wrong, where, and what would be right.

Every error keeps its facts as attributes, so that the command can print them
and the service can answer with them.
"""

import reprlib


class DedupError(Exception):
    """Root of every error this package raises on purpose."""


class OptionsError(DedupError):
    """An option has a value that cannot be used.

    Attributes
    ----------
    option
        Name of the option.
    value
        What was given.
    expected
        What would be right.
    """

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__(f"option {option}: got {_shown(value)}, expected {expected}")
        self.option = option
        self.value = value
        self.expected = expected


class InputError(DedupError):
    """A document cannot be read or used.

    Attributes
    ----------
    source
        File, document id or request field the trouble is in.
    reason
        What is wrong there.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class TextError(InputError):
    """A text holds something that is no Unicode text: a lone surrogate.

    Attributes
    ----------
    offset
        Where it stands, in code points from the start of the text.
    """

    def __init__(self, source: str, reason: str, offset: int) -> None:
        super().__init__(source, f"{reason} at code point {offset}")
        self.offset = offset


class EncodingError(InputError):
    """A file is not text in any character encoding that was tried.

    Attributes
    ----------
    byte
        Offset of the first byte that is not UTF-8.
    """

    def __init__(self, source: str, reason: str, byte: int) -> None:
        super().__init__(source, f"{reason} at byte {byte}")
        self.byte = byte


class MapError(DedupError):
    """A duplicate map does not parse, or does not belong to the text given.

    Attributes
    ----------
    source
        The map's file, or what stands for it.
    line
        Line in it, from 1, or 0 when the trouble is with the whole.
    """

    def __init__(self, source: str, reason: str, line: int = 0) -> None:
        place = f"{source}, line {line}" if line else source
        super().__init__(f"{place}: {reason}")
        self.source = source
        self.reason = reason
        self.line = line


class OutputError(DedupError):
    """Output cannot be written, or would overwrite what must stay.

    Attributes
    ----------
    target
        Where the output was to go.
    """

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target
        self.reason = reason


def _shown(value: object) -> str:
    """Show a value in a line, however large or deep it is."""
    return reprlib.repr(value)
