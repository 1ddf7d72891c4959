"""Reading requests: what is asked for, in which form, and what is wrong with it.

Bodies are parsed with orjson only: the standard library's parser takes lone
surrogates and NaN. Everything that is wrong with a request is said at once
where it can be. Nothing is cleaned here.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from encodings.aliases import aliases
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from fastapi import Request

from dedup.errors import OptionsError
from dedup.index.index import MOST_TTL
from dedup.options import Options
from service.problems import Fault, ProblemError, shorten, show_value
from service.schemas import DOCUMENT_ID_CHARS, JSON, LINES

PLAIN = "text/plain"

# Other names of the same.
_LINES = (LINES, "application/jsonl", "application/x-jsonlines", "application/ndjson")

# Character sets a plain text may be in. Named one by one: Python's other codecs
# are no character sets (`rot13`), nobody's (`unicode_escape`) or slow on purpose-made
# input (`idna`, `utf_7`), and a look-up of unknown names remembers each of them.
_CODECS = (
    "utf_8 utf_16 utf_16_le utf_16_be utf_32 utf_32_le utf_32_be ascii latin_1 "
    "iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 "
    "iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16 tis_620 koi8_r koi8_u cp866 cp874 "
    "cp932 cp949 cp950 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 mac_roman "
    "mac_cyrillic gb2312 gbk gb18030 big5 big5hkscs shift_jis euc_jp iso2022_jp euc_kr"
).split()
_CODEC_OF = {codec: codec for codec in _CODECS} | {
    alias: codec for alias, codec in aliases.items() if codec in _CODECS
}

_DEFAULT_OPTIONS = Options()
_OPTION_TYPES = {name: type(value) for name, value in _DEFAULT_OPTIONS.to_mapping().items()}
_BODY_FIELDS = ("text", "options", "document")
_DEFAULT_DOCUMENT = "text"

# Up to here a number of JSON is what it says.
_EXACT = 2**53
_COLLECTION_FIELDS = ("options", "ttl")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Cleaning(NamedTuple):
    """What a request asks to be cleaned."""

    text: str
    options: Options
    document: str


class BodyForm(NamedTuple):
    """How a body is written.

    Attributes
    ----------
    media_type
        `JSON`, `PLAIN` or `LINES`.
    codec
        Python's name of the character set.
    """

    media_type: str
    codec: str


def choose_answer_type(accept: str) -> str:
    """Choose between JSON and plain text by the Accept header; see `choose_media_type`.

    Raises
    ------
    ProblemError
        406 when neither is acceptable.

    Examples
    --------
    >>> choose_answer_type("text/html, */*;q=0.8")
    'application/json'
    >>> choose_answer_type("text/plain, */*")
    'text/plain'
    """
    return choose_media_type(accept, (JSON, PLAIN))


def choose_media_type(accept: str, offers: Sequence[str]) -> str:
    """Choose what is answered by the Accept header.

    The higher quality wins, then the range that is more specific, then what is offered
    first.

    Raises
    ------
    ProblemError
        406 when none is acceptable.
    """
    if not accept.strip():
        return offers[0]
    ranges = [_parse_media_range(part) for part in accept.split(",")]
    best = (0.0, 0)
    chosen = None
    for offered in offers:
        family = offered.split("/", maxsplit=1)[0] + "/*"
        specificities = {offered: 3, family: 2, "*/*": 1}
        matches = [
            (specificities[name], quality) for name, quality in ranges if name in specificities
        ]
        if matches:
            specificity, quality = max(matches)
            if quality > 0 and (quality, specificity) > best:
                best = (quality, specificity)
                chosen = offered
    if chosen is None:
        reason = f"got {shorten(accept)}, can answer in " + " or ".join(offers)
        raise ProblemError(406, Fault("Accept", reason))
    return chosen


def read_body_form(request: Request, offered: Sequence[str] = (JSON, PLAIN)) -> BodyForm:
    """Tell how the body is written, from its headers.

    Parameters
    ----------
    offered
        The media types that are read.

    Raises
    ------
    ProblemError
        415 for what cannot be read.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        fault = Fault("Content-Encoding", f"got {shorten(coding)}, expected an uncompressed body")
        raise ProblemError(415, fault, headers={"Accept-Encoding": "identity"})
    header = request.headers.get("content-type", "")
    media_type, parameters = _parse_media_type(header)
    label = parameters.get("charset", "utf-8")
    codec = _CODEC_OF.get(re.sub("[-_. ]+", "_", label.lower()))
    media_type = LINES if media_type in _LINES else media_type
    if media_type not in offered:
        reason = f"got {shorten(header) or 'none'}, expected " + " or ".join(offered)
    elif codec is None:
        reason = f"the charset {shorten(label)} is not known here; utf-8 always is"
    elif media_type != PLAIN and codec not in ("utf_8", "ascii"):
        reason = f"JSON is UTF-8, not {shorten(label)}"
    else:
        return BodyForm(media_type, codec)
    accepted = {"Accept": ", ".join(offered)}
    raise ProblemError(415, Fault("Content-Type", reason), headers=accepted)


async def read_body(
    request: Request, limit_bytes: int, seconds: float, take: Callable[[int], None]
) -> bytearray:
    """Read the body, and stop at the limit whether its length was declared or not.

    Parameters
    ----------
    seconds
        Longest that it may take to come.
    take
        Told of each part before it is held; it may refuse.

    Raises
    ------
    ProblemError
        413 when it is over the limit, 408 when it takes too long.
    """
    over = Fault("body", f"it is over the limit of {limit_bytes} bytes")
    declared = request.headers.get("content-length", "")
    # 18 digits and fewer convert at once; more are over any limit.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit_bytes):
        raise ProblemError(413, over)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit_bytes:
                    raise ProblemError(413, over)
                take(len(chunk))
                body += chunk
    except TimeoutError:
        reason = f"{len(body)} bytes of it came in {seconds:g} s, and not the end"
        raise ProblemError(408, Fault("body", reason), headers={"Connection": "close"}) from None
    return body


def parse_flags(query: bytes, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the parameters of a request that takes a few.

    Parameters
    ----------
    flags
        What there is, and its value unless it is given: a truth value, a whole number, or
        a tuple of words of which the first is that.

    Raises
    ------
    ProblemError
        400 when the query cannot be read at all, 422 for names and values that are not
        among those.
    """
    faults: list[Fault] = []
    values = {name: one[0] if isinstance(one, tuple) else one for name, one in flags.items()}
    for name, value in _split_query(query, faults).items():
        place = f"query.{shorten(name)}"
        known = flags.get(name)
        if name not in flags:
            there_are = ", ".join(flags) or "none"
            faults.append(Fault(place, f"unknown parameter; there are {there_are}"))
        elif isinstance(known, tuple):
            if value not in known:
                faults.append(
                    Fault(place, f"got {show_value(value)}, expected " + ", ".join(known))
                )
            values[name] = value
        elif isinstance(known, bool):
            values[name] = _TRUTH.get(value.lower())
            if values[name] is None:
                faults.append(Fault(place, f"got {show_value(value)}, expected true or false"))
        elif re.fullmatch("[0-9]{1,6}", value):
            values[name] = int(value)
        else:
            faults.append(Fault(place, f"got {show_value(value)}, expected 0 to 999999"))
    if faults:
        raise ProblemError(422, *faults)
    return values


def parse_options(query: bytes) -> Options:
    """Parse a query that is options alone.

    Raises
    ------
    ProblemError
        400 when it cannot be read at all, 422 when values in it cannot be used.
    """
    faults: list[Fault] = []
    values = _split_query(query, faults)
    given = {name: _convert(name, value) for name, value in values.items()}
    options = build_options(given, {}, faults)
    if faults:
        raise ProblemError(422, *faults)
    assert options is not None
    return options


def parse_collection(body: bytes | bytearray) -> tuple[Options, float | None]:
    """Parse what a collection is made with: options, and seconds or None.

    Raises
    ------
    ProblemError
        400 when the body is not JSON, 422 for what cannot be used.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = [
        Fault(shorten(name), "unknown field; there are " + ", ".join(_COLLECTION_FIELDS))
        for name in fields
        if name not in _COLLECTION_FIELDS
    ]
    given = fields.get("options", {})
    if not isinstance(given, dict):
        faults.append(Fault("options", f"got {name_type(given)}, expected an object"))
        given = {}
    options = build_options({}, given, faults)
    ttl = fields.get("ttl")
    is_number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if ttl is not None and not (is_number and 0 < ttl <= MOST_TTL):
        reason = f"got {show_value(ttl)}, expected seconds over 0 and up to {MOST_TTL}, or null"
        faults.append(Fault("ttl", reason))
    if faults:
        raise ProblemError(422, *faults)
    assert options is not None
    return options, ttl


def parse_cleaning(body: bytes | bytearray, form: BodyForm, query: bytes) -> Cleaning:
    """Parse body and query into what is to be cleaned.

    Parameters
    ----------
    query
        Behind the question mark, as it came. Options and document may stand
        there; the body's own win.

    Raises
    ------
    ProblemError
        400 when the body or the query cannot be read at all, 422 when values
        in them cannot be used.
    """
    faults: list[Fault] = []
    query_options, query_document = _parse_query(query, faults)
    fields: Mapping[str, Any] = (
        parse_object(body)
        if form.media_type == JSON
        else {"text": _decode(body, form.codec, "body")}
    )
    faults += [
        Fault(shorten(name), "unknown field; there are " + ", ".join(_BODY_FIELDS))
        for name in fields
        if name not in _BODY_FIELDS
    ]
    text = fields.get("text")
    if not isinstance(text, str):
        reason = f"got {name_type(text)}, expected a string" if "text" in fields else "missing"
        faults.append(Fault("text", reason))
    document = fields.get("document", query_document)
    for place, one in (("query.document", query_document), ("document", document)):
        if not isinstance(one, str) or not 1 <= len(one) <= DOCUMENT_ID_CHARS:
            given = f"{len(one)} of them" if isinstance(one, str) else name_type(one)
            reason = f"got {given}, expected a string of 1 to {DOCUMENT_ID_CHARS} characters"
            faults.append(Fault(place, reason))
            break
    body_options = fields.get("options", {})
    if not isinstance(body_options, dict):
        reason = f"got {name_type(body_options)}, expected an object"
        faults.append(Fault("options", reason))
        body_options = {}
    options = build_options(query_options, body_options, faults)
    if faults:
        raise ProblemError(422, *faults)
    assert isinstance(text, str)
    assert isinstance(document, str)
    assert options is not None
    return Cleaning(text, options, document)


def parse_object(body: bytes | bytearray) -> dict[str, Any]:
    """Parse a body that is a JSON object; `ProblemError` 400 or 422 when it is none."""
    value = parse_json(body, "body")
    if not isinstance(value, dict):
        raise ProblemError(422, Fault("body", f"got {name_type(value)}, expected an object"))
    return value


def parse_json(data: bytes | bytearray, field: str) -> Any:
    """Parse JSON; `ProblemError` 400 with the place when it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not data:
            raise ProblemError(400, Fault(field, "it is empty, expected JSON")) from None
        # orjson gives no place for what is not UTF-8.
        _decode(data, "utf_8", field)
        byte = len(error.doc[: error.pos].encode())
        place = f"line {error.lineno}, column {error.colno} (byte {byte})"
        raise ProblemError(400, Fault(field, f"not JSON: {error.msg} at {place}")) from None


def _decode(data: bytes | bytearray, codec: str, field: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        name = codec.replace("_", "-").upper()
        reason = f"not {name}: {error.reason} at byte {error.start}"
        raise ProblemError(400, Fault(field, reason)) from None


def _parse_query(query: bytes, faults: list[Fault]) -> tuple[dict[str, Any], str]:
    """Return options and document of a query, numbers and truth values converted."""
    values = _split_query(query, faults)
    document = values.pop("document", _DEFAULT_DOCUMENT)
    return {name: _convert(name, value) for name, value in values.items()}, document


def _split_query(query: bytes, faults: list[Fault]) -> dict[str, str]:
    """Return the parameters of a query; what is given twice is a fault."""
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError as error:
        reason = "not UTF-8" if isinstance(error, UnicodeError) else "over 100 parameters"
        raise ProblemError(400, Fault("query", reason)) from None
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        faults += [
            Fault(f"query.{shorten(name)}", "given more than once")
            for name in values
            if names.count(name) > 1
        ]
    return values


def _convert(option: str, value: str) -> object:
    """Convert a parameter to its option's type; what does not convert is refused as it is."""
    kind = _OPTION_TYPES.get(option, str)
    if kind is bool:
        return _TRUTH.get(value.lower(), value)
    if kind is int and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if kind is float and re.fullmatch(r"-?[0-9.]{1,30}(e-?[0-9]{1,3})?", value):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def build_options(
    query: Mapping[str, Any], body: Mapping[str, Any], faults: list[Fault]
) -> Options | None:
    """Build options of which the body's win, or say of each that is wrong what is."""
    if not query and not body:
        return _DEFAULT_OPTIONS
    count = len(faults)
    for prefix, values in (("query", query), ("options", body)):
        for name, value in values.items():
            if isinstance(value, dict | list):
                reason = f"got {name_type(value)}, expected a single value"
                faults.append(Fault(f"{prefix}.{shorten(name)}", reason))
    # To JSON 2.0 is a whole number.
    body = {
        name: int(value)
        if _OPTION_TYPES.get(name) is int
        and isinstance(value, float)
        and value.is_integer()
        and abs(value) < _EXACT
        else value
        for name, value in body.items()
    }
    # What the body's value wins over is held against the options, too.
    for name in query.keys() & body.keys():
        try:
            # The lowest thresholds need more slots; by itself it is right for some.
            Options.from_mapping({"threshold": 1.0, name: query[name]})
        except OptionsError as error:
            if error.option == name:
                faults.append(_option_fault("query", error))
    if len(faults) > count:
        return None
    try:
        return Options.from_mapping({**query, **body})
    except OptionsError as error:
        whole = error
    for prefix, values in (("query", query), ("options", body)):
        for name, value in values.items():
            try:
                Options.from_mapping({name: value})
            except OptionsError as error:
                if error.option == name:
                    faults.append(_option_fault(prefix, error))
    if len(faults) == count:
        # Each is right by itself; they do not go together.
        faults.append(_option_fault("options" if whole.option in body else "query", whole))
    return None


def _option_fault(prefix: str, error: OptionsError) -> Fault:
    reason = f"got {show_value(error.value)}, expected {error.expected}"
    return Fault(f"{prefix}.{shorten(error.option)}", reason)


def _parse_media_type(header: str) -> tuple[str, dict[str, str]]:
    """Split a Content-Type into type and parameters, both in lower case but for values."""
    media_type, *parts = header.split(";")
    parameters = {}
    for part in parts:
        name, _, value = part.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return media_type.strip().lower(), parameters


def _parse_media_range(part: str) -> tuple[str, float]:
    """Split one range of an Accept header into type and quality; 0 for a bad quality."""
    media_type, parameters = _parse_media_type(part)
    quality = parameters.get("q", "1")
    return media_type, float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0


def name_type(value: object) -> str:
    """Name the JSON type of a value."""
    if value is None or isinstance(value, bool):
        return str(orjson.dumps(value), "ascii")
    names = {str: "a string", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "an object")
