"""What requests and answers look like: the schemas and examples of the OpenAPI description.

These models describe and are never run: requests are read by
`service.requests`, answers are written from `dedup.results`. The tests hold
both against this page: real answers fit the models, the examples are posted
and answered as they stand here, the ranges are those of `Options`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from dedup.options import Options

_DEFAULTS = Options()

# Longest id of a document: it stands in every row of the map, twice.
DOCUMENT_ID_CHARS = 256


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CleanOptions(_Model):
    """What counts as a duplicate. What is left out has its default."""

    unit: Literal["sentence", "paragraph", "document"] = Field(
        default=_DEFAULTS.unit, description="What is compared."
    )
    threshold: float = Field(
        default=_DEFAULTS.threshold,
        gt=0,
        le=1,
        description="Least score (exact Jaccard of the shingle sets).",
    )
    keep: Literal["first", "longest", "last", "newest", "priority"] = Field(
        default=_DEFAULTS.keep,
        description="Which copy stays. In one text, newest and priority mean the first.",
    )
    scope: Literal["corpus", "document"] = Field(
        default=_DEFAULTS.scope,
        description="Where repeats are looked for; the same for one text.",
    )
    numbers: bool = Field(
        default=_DEFAULTS.numbers,
        description="Whether units whose runs of digits differ are never duplicates.",
    )
    stretches: bool = Field(
        default=_DEFAULTS.stretches,
        description="Whether units are held against text that is cut elsewhere, too.",
    )
    min_chars: int = Field(
        default=_DEFAULTS.min_chars,
        ge=1,
        le=1_000_000,
        description="Least length of a unit that is compared, once folded.",
    )
    min_chars_unspaced: int = Field(
        default=_DEFAULTS.min_chars_unspaced,
        ge=1,
        le=1_000_000,
        description="The same for scripts that write without spaces.",
    )
    shingle_chars: int = Field(
        default=_DEFAULTS.shingle_chars, ge=2, le=8, description="Code points in a shingle."
    )
    shingle_chars_han: int = Field(
        default=_DEFAULTS.shingle_chars_han,
        ge=1,
        le=8,
        description="The same for Han, Kana and their like.",
    )
    shingle_chars_thai: int = Field(
        default=_DEFAULTS.shingle_chars_thai,
        ge=1,
        le=8,
        description="The same for Thai, Lao, Khmer, Myanmar and their like.",
    )
    num_perm: int = Field(
        default=_DEFAULTS.num_perm,
        ge=1,
        le=4096,
        description="Slots of a signature; a low threshold needs more of them (422 says how many).",
    )
    bucket_cap: int = Field(
        default=_DEFAULTS.bucket_cap,
        ge=1,
        le=1_000_000,
        description="Staying units that one band bucket holds.",
    )


class CleanRequest(_Model):
    """A text to clean."""

    text: str = Field(description="Any Unicode text; it may be empty.")
    options: CleanOptions = CleanOptions()
    document: str = Field(
        default="text",
        min_length=1,
        max_length=DOCUMENT_ID_CHARS,
        description="What the map calls the text.",
    )


class Span(_Model):
    """A half-open span of the original text, in Unicode code points."""

    document: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class Duplicate(_Model):
    """A unit that stands somewhere else too. Offsets are code points of the original text."""

    document: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    canonical: Span = Field(description="The copy that stays.")
    kind: Literal["exact", "folded", "near"] = Field(
        description="`exact`: the same text; `folded`: the same once folded; `near`: by score."
    )
    score: float = Field(ge=0, le=1, description="Exact Jaccard of the shingle sets.")
    containment: float = Field(ge=0, le=1, description="Shared shingles over the smaller set.")
    passage: int = Field(
        ge=0,
        description="Consecutive duplicates whose canonicals are consecutive have the same number.",
    )
    removed: bool = Field(description="Whether it was taken out.")


class Stats(_Model):
    """Figures of the run; lengths in code points."""

    chars: int = Field(ge=0)
    removed_chars: int = Field(ge=0)
    duplicate_chars: int = Field(ge=0)
    share: float = Field(ge=0, le=1, description="Share of duplicated text.")
    units: int = Field(ge=0)
    compared_units: int = Field(ge=0)
    short_units: int = Field(ge=0, description="Units too short to be compared.")
    duplicates: int = Field(ge=0)
    capped_buckets: int = Field(
        ge=0, description="Buckets that filled, so that some pairs went unseen."
    )
    recall: float = Field(
        ge=0, le=1, description="Chance that a pair exactly at the threshold was compared."
    )


class CleanAnswer(_Model):
    """The cleaned text and its map."""

    document: str
    text: str = Field(description="The cleaned text.")
    duplicates: list[Duplicate] = Field(description="In reading order.")
    kept: list[tuple[int, int, int]] = Field(
        description="`[start, stop, cleaned_start]` of each segment that stays, in code points."
    )
    stats: Stats


class Liveness(_Model):
    """The process answers."""

    status: Literal["ok"]


class Fault(_Model):
    """One thing that is wrong with a request."""

    field: str = Field(
        description="Path in the body (`options.threshold`), `query.` and the parameter, "
        "the header's name, or `body` for the whole."
    )
    reason: str = Field(description="What is wrong there, and what would be right.")


class Problem(_Model):
    """An error as of RFC 9457."""

    type: str = Field(description="`about:blank` where the status says all.")
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str = Field(description="Of this occurrence; the log names it too.")
    errors: list[Fault]


_MODELS = (CleanRequest, CleanAnswer, Liveness, Problem)

CLEAN_REQUEST: dict[str, Any] = {
    "text": (
        "The ferry leaves at noon from the old pier, and nobody knew it then. "
        "The harbour was still. "
        "At noon the ferry leaves from the old pier, and nobody knew it then."
    ),
    "options": {"threshold": 0.7, "num_perm": 128},
    "document": "harbour.txt",
}
CLEAN_ANSWER: dict[str, Any] = {
    "document": "harbour.txt",
    "text": (
        "The ferry leaves at noon from the old pier, and nobody knew it then. "
        "The harbour was still."
    ),
    "duplicates": [
        {
            "document": "harbour.txt",
            "start": 92,
            "stop": 160,
            "canonical": {"document": "harbour.txt", "start": 0, "stop": 68},
            "kind": "near",
            "score": 0.808824,
            "containment": 0.901639,
            "passage": 0,
            "removed": True,
        }
    ],
    "kept": [[0, 91, 0]],
    "stats": {
        "chars": 160,
        "removed_chars": 69,
        "duplicate_chars": 68,
        "share": 0.425,
        "units": 3,
        "compared_units": 2,
        "short_units": 1,
        "duplicates": 1,
        "capped_buckets": 0,
        "recall": 0.990606,
    },
}
CLEAN_PROBLEM: dict[str, Any] = {
    "type": "urn:dedup:problem:invalid-value",
    "title": "The request holds a value that cannot be used",
    "status": 422,
    "detail": "options.threshold: got 7, expected a number over 0 and up to 1",
    "instance": "urn:uuid:2f1cbe52-6c5a-4c0e-9d1b-6b0f0a3f6c11",
    "errors": [
        {
            "field": "options.threshold",
            "reason": "got 7, expected a number over 0 and up to 1",
        }
    ],
}
PROBLEM_REQUEST: dict[str, Any] = {"text": "Any text.", "options": {"threshold": 7}}


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the reference to a model in the description."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def component_schemas() -> dict[str, Any]:
    """Return the JSON Schemas of all models, by name."""
    _, document = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = document["$defs"]
    return schemas


def clean_operation() -> dict[str, Any]:
    """Return what the description says of a cleaning's parameters and body."""
    properties = CleanOptions.model_json_schema()["properties"]
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": f"{schema.get('description', '')} The body's own value wins.",
                "schema": {k: v for k, v in schema.items() if k not in ("description", "title")},
            }
            for name, schema in {
                **properties,
                "document": CleanRequest.model_json_schema()["properties"]["document"],
            }.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema_of(CleanRequest), "example": CLEAN_REQUEST},
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": CLEAN_REQUEST["text"],
                },
            },
        },
    }


def clean_answers() -> dict[int | str, dict[str, Any]]:
    """Return what the description says of a cleaning's answers."""
    problems = {
        400: "The body is not JSON, or not text in its character set; the place is named.",
        406: "Neither JSON nor plain text would be accepted.",
        413: "The body is over the limit.",
        415: "The body is neither JSON nor plain text, or is compressed.",
        422: "A field, an option or a parameter is unknown or has a value that cannot be used.",
    }
    return {
        200: {
            "description": "The cleaned text and its map; the cleaned text alone as plain text.",
            "content": {
                "application/json": {"schema": schema_of(CleanAnswer), "example": CLEAN_ANSWER},
                "text/plain": {"schema": {"type": "string"}, "example": CLEAN_ANSWER["text"]},
            },
        },
        **{status: problem_answer(description) for status, description in problems.items()},
        "default": problem_answer("Any other error."),
    }


def life_answers() -> dict[int | str, dict[str, Any]]:
    """Return what the description says of the health check's answers."""
    content = {"schema": schema_of(Liveness), "example": {"status": "ok"}}
    return {
        200: {"description": "The process lives.", "content": {"application/json": content}},
        "default": problem_answer("Any error."),
    }


def problem_answer(description: str) -> dict[str, Any]:
    """Return what the description says of an error."""
    return {
        "description": description,
        "content": {
            "application/problem+json": {"schema": schema_of(Problem), "example": CLEAN_PROBLEM}
        },
    }
