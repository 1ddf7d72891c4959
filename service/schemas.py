"""What requests and answers look like: the schemas and examples of the OpenAPI description.

These models describe and are never run: requests are read by
`service.requests`, answers are written from `dedup.results`. The tests hold
both against this page: real answers fit the models, the examples are posted
and answered as they stand here, the ranges are those of `Options`.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from dedup.index.index import MOST_TTL
from dedup.options import Options

_DEFAULTS = Options()

JSON = "application/json"
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"

# Longest id of a document of a collection: PostgreSQL has no index over 2,700 bytes.
ID_BYTES = 1024

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


class CollectionOptions(CleanOptions):
    """What counts as a duplicate in a collection: what was acknowledged stays."""

    keep: Literal["first"] = Field(default="first", description="Which copy stays.")
    scope: Literal["corpus"] = Field(default="corpus", description="All documents together.")


class CollectionRequest(_Model):
    """What a collection is made with; fixed from then on."""

    options: CollectionOptions = CollectionOptions()
    ttl: Annotated[float, Field(gt=0, le=MOST_TTL)] | None = Field(
        default=None,
        description="Seconds after which a unit that was not seen again is forgotten; null: never.",
    )


class CollectionAnswer(_Model):
    """How a collection was made, and how much is in it."""

    name: str
    options: CollectionOptions
    ttl: float | None
    documents: int = Field(ge=0)
    units: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    chars: int = Field(ge=0)


class CollectionName(_Model):
    """One of those that there are."""

    name: str


class CollectionList(_Model):
    """The collections that the key may see."""

    collections: list[CollectionName]


class Document(BaseModel):
    """A document to put in; other fields are let alone."""

    model_config = ConfigDict(strict=True)

    id: str = Field(
        min_length=1,
        max_length=ID_BYTES,
        pattern=r"^[^\u0000]+$",
        description=f"Its name: 1 to {ID_BYTES} bytes of UTF-8, no U+0000.",
    )
    text: str = Field(description="Any Unicode text; it may be empty.")


class DocumentAnswer(_Model):
    """What is new in a document, and its map."""

    status: Literal[200]
    document: str
    text: str | None = Field(default=None, description="The cleaned text; not with `text=false`.")
    duplicates: list[Duplicate] = Field(description="In reading order.")
    kept: list[tuple[int, int, int]] = Field(
        description="`[start, stop, cleaned_start]` of each segment that stays, in code points."
    )
    stats: Stats


class Repeats(_Model):
    """Whom a document repeats, and who repeats it."""

    document: str
    repeats: list[Duplicate]
    repeated_by: list[Duplicate]


class CollectionStats(_Model):
    """Figures of a collection."""

    documents: int = Field(ge=0)
    units: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    chars: int = Field(ge=0)
    postings: int = Field(ge=0, description="Keys of units that can be found.")
    bands: int = Field(ge=0)
    bytes: int = Field(ge=0, description="On this machine's disk.")
    ttl: float | None


class Snapshot(_Model):
    """A copy of a collection."""

    snapshot: str = Field(description="Name of its folder in `snapshots` of the data folder.")


class Job(_Model):
    """A corpus that is cleaned beside the requests."""

    id: str
    kind: Literal["zip", "tar", "tar.gz", "jsonl"] = Field(description="How it was packed.")
    bytes: int = Field(ge=0, description="Of the upload.")
    options: CleanOptions
    created: float = Field(description="Seconds since 1970.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    started: float | None
    finished: float | None
    reason: str | None = Field(description="Why it failed.")
    stage: str | None = Field(description="What is being done.")
    done: int | None = Field(ge=0, description="How much of this stage.")
    total: int | None = Field(ge=0, description="Of how much; 0 where that is not known.")
    unit: str | None = Field(description="Of what.")
    summary: dict[str, Any] | None = Field(description="Figures of a job that is done.")
    failures: list[dict[str, Any]] | None = Field(description="What could not be read.")
    notes: list[str] | None = Field(description="What is to be known of files that were read.")


class JobList(_Model):
    """The jobs that the key may see."""

    jobs: list[Job]


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


class RowRefusal(_Model):
    """A document of many that was not taken."""

    status: Annotated[int, Field(ge=400, le=599)]
    document: str | None
    line: int | None = Field(default=None, ge=1, description="In a stream of lines.")
    errors: list[Fault]


class Problem(_Model):
    """An error as of RFC 9457."""

    type: str = Field(description="`about:blank` where the status says all.")
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str = Field(description="Of this occurrence; the log names it too.")
    errors: list[Fault]


_MODELS = (
    *(CleanRequest, CleanAnswer, CollectionRequest, CollectionAnswer, CollectionList),
    *(Document, DocumentAnswer, RowRefusal, Repeats, CollectionStats, Snapshot),
    *(Job, JobList, Liveness, Problem),
)

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

_FERRY = "The ferry leaves at noon from the old pier, and nobody knew it then."
_AGAIN = "At noon the ferry leaves from the old pier, and nobody knew it then."
_HARBOUR = "The harbour master kept a list of every ship since the war."

COLLECTION_REQUEST: dict[str, Any] = {"options": {"threshold": 0.7}, "ttl": 2_592_000}
COLLECTION_ANSWER: dict[str, Any] = {
    "name": "news",
    "options": _DEFAULTS.to_mapping(),
    "ttl": 2_592_000,
    "documents": 0,
    "units": 0,
    "duplicates": 0,
    "chars": 0,
}
DOCUMENT: dict[str, Any] = {"id": "monday/1.txt", "text": f"{_FERRY} {_HARBOUR}"}
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "tuesday/1.txt", "text": f"It rained all day. {_AGAIN}"},
    {"id": "tuesday/2.txt"},
]
_ROW: dict[str, Any] = {
    "document": "tuesday/1.txt",
    "start": 19,
    "stop": 87,
    "canonical": {"document": "monday/1.txt", "start": 0, "stop": 68},
    "kind": "near",
    "score": 0.808824,
    "containment": 0.901639,
    "passage": 0,
    "removed": True,
}
DOCUMENT_ANSWER: dict[str, Any] = {
    "status": 200,
    "document": "monday/1.txt",
    "text": DOCUMENT["text"],
    "duplicates": [],
    "kept": [[0, 128, 0]],
    "stats": {
        "chars": 128,
        "removed_chars": 0,
        "duplicate_chars": 0,
        "share": 0.0,
        "units": 2,
        "compared_units": 2,
        "short_units": 0,
        "duplicates": 0,
        "capped_buckets": 0,
        "recall": 0.990606,
    },
}
DOCUMENTS_ANSWER: list[dict[str, Any]] = [
    {
        "status": 200,
        "document": "tuesday/1.txt",
        "text": "It rained all day.",
        "duplicates": [_ROW],
        "kept": [[0, 18, 0]],
        "stats": {
            "chars": 87,
            "removed_chars": 69,
            "duplicate_chars": 68,
            "share": 0.781609,
            "units": 2,
            "compared_units": 1,
            "short_units": 1,
            "duplicates": 1,
            "capped_buckets": 0,
            "recall": 0.990606,
        },
    },
    {
        "status": 422,
        "document": "tuesday/2.txt",
        "errors": [{"field": "text", "reason": "missing"}],
    },
]
REPEATS_ANSWER: dict[str, Any] = {
    "document": "monday/1.txt",
    "repeats": [],
    "repeated_by": [_ROW],
}
STATS_ANSWER: dict[str, Any] = {
    "documents": 2,
    "units": 4,
    "duplicates": 1,
    "chars": 215,
    "postings": 46,
    "bands": 17,
    "bytes": 139264,
    "ttl": 2_592_000,
}


JOB_UPLOAD = "".join(
    f'{{"id": "{one["id"]}", "text": "{one["text"]}"}}\n' for one in (DOCUMENT, DOCUMENTS[0])
)
JOB_ANSWER: dict[str, Any] = {
    "id": "1f2e3d4c5b6a79880716253443526170",
    "kind": "jsonl",
    "bytes": len(JOB_UPLOAD),
    "options": _DEFAULTS.to_mapping(),
    "created": 1893456000.5,
    "state": "queued",
    **dict.fromkeys(["started", "finished", "reason", "stage", "done", "total", "unit"]),
    **dict.fromkeys(["summary", "failures", "notes"]),
}


_PACKED = ("application/zip", "application/x-tar", "application/gzip")


class Operation(NamedTuple):
    """A method at a path.

    Attributes
    ----------
    name
        Of the operation, and of what answers it.
    responses, extra
        What the description says of answers, and of parameters and bodies.
    """

    name: str
    method: str
    path: str
    responses: dict[int | str, dict[str, Any]]
    extra: dict[str, Any]


_PROBLEMS = {
    400: "The body or the path cannot be read: it is not JSON, or not UTF-8; the place is named.",
    401: "There is no key, or it is not known.",
    403: "The key may not do this.",
    404: "There is no such collection or document.",
    406: "Neither JSON nor plain text would be accepted.",
    408: "The body took too long to come.",
    409: "What is there differs: another text has this id, or the collection other options.",
    413: "The body, the batch or a document is over the limit.",
    415: "The body is in no form that is read here, or is compressed.",
    422: "A field, an option or a parameter is unknown or has a value that cannot be used.",
    429: "Too many wait; `Retry-After` says in how many seconds there may be room.",
    503: "The index, its database or its disk cannot be used now; the cause is named.",
}


def operations() -> list[Operation]:
    """Return all that is answered, in the order of the description."""
    collection = "/v1/collections/{name}"
    documents = f"{collection}/documents"
    document = f"{documents}/{{id}}"
    name = _parameter("name", "path", {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$"},
                      "Name of a collection.")  # fmt: skip
    id_ = _parameter("id", "path", {"type": "string", "minLength": 1},
                     "Id of a document, percent-encoded: a slash is `%2F`.")  # fmt: skip
    job = "/v1/jobs/{id}"
    job_id = _parameter("id", "path", {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                        "Of the job.")  # fmt: skip
    flags = [
        _parameter("check", "query", {"type": "boolean", "default": False},
                   "Whether nothing is remembered."),
        _parameter("text", "query", {"type": "boolean", "default": True},
                   "Whether the answer has the cleaned text."),
        _parameter("if_exists", "query",
                   {"type": "string", "enum": ["error", "skip", "replace"], "default": "error"},
                   "What becomes of an id that is there with another text: 409, the answer for "
                   "what is there, or the new text in its place."),
    ]  # fmt: skip
    limit = _parameter("limit", "query", {"type": "integer", "minimum": 0, "maximum": 999_999,
                       "default": 1000}, "Most rows of those that repeat it.")  # fmt: skip
    return [
        Operation("clean_text", "POST", "/v1/clean",
                  _answers(200, "The cleaned text and its map; the cleaned text alone as plain "
                           "text.", CleanAnswer, CLEAN_ANSWER, 400, 406, 408, 413, 415, 422, 429),
                  _clean_operation()),
        Operation("list_collections", "GET", "/v1/collections",
                  _answers(200, "The collections that the key may see.", CollectionList,
                           {"collections": [{"name": "news"}]}, 404, 422, 503), {}),
        Operation("make_collection", "PUT", collection,
                  _answers(201, "It was made.", CollectionAnswer, COLLECTION_ANSWER,
                           400, 404, 408, 409, 413, 422, 429, 503)
                  | _answers(200, "It was there, made so.", CollectionAnswer, COLLECTION_ANSWER),
                  {"parameters": [name], "requestBody": {"required": False, "content": _content(
                      CollectionRequest, COLLECTION_REQUEST)}}),
        Operation("show_collection", "GET", collection,
                  _answers(200, "How it was made, and how much is in it.", CollectionAnswer,
                           COLLECTION_ANSWER, 404, 422, 503), {"parameters": [name]}),
        Operation("delete_collection", "DELETE", collection,
                  _answers(204, "It is gone.", None, None, 404, 422, 429, 503),
                  {"parameters": [name]}),
        Operation("put_documents", "POST", documents,
                  _document_answers(),
                  {"parameters": [name, *flags], "requestBody": _documents_body()}),
        Operation("show_document", "GET", document,
                  _answers(200, "What was said of it.", CleanAnswer,
                           {key: value for key, value in DOCUMENT_ANSWER.items()
                            if key != "status"}, 400, 404, 406, 422, 503),
                  {"parameters": [name, id_]}),
        Operation("remove_document", "DELETE", document,
                  _answers(204, "It is forgotten.", None, None, 400, 404, 422, 503),
                  {"parameters": [name, id_]}),
        Operation("show_repeats", "GET", f"{document}/duplicates",
                  _answers(200, "Rows of its map, and of the maps of those that repeat it.",
                           Repeats, REPEATS_ANSWER, 400, 404, 422, 503),
                  {"parameters": [name, id_, limit]}),
        Operation("show_stats", "GET", f"{collection}/stats",
                  _answers(200, "Figures.", CollectionStats, STATS_ANSWER, 404, 422, 503),
                  {"parameters": [name]}),
        Operation("compact", "POST", f"{collection}/compact",
                  _answers(200, "It is done; figures.", CollectionStats, STATS_ANSWER,
                           404, 422, 429, 503), {"parameters": [name]}),
        Operation("snapshot", "POST", f"{collection}/snapshot",
                  _answers(201, "It is there.", Snapshot,
                           {"snapshot": "news-20300101T120000Z-1f2e3d4c"}, 404, 422, 429, 503),
                  {"parameters": [name]}),
        Operation("submit_job", "POST", "/v1/jobs",
                  _answers(202, "It waits; `Location` says where it is told of.", Job, JOB_ANSWER,
                           400, 404, 408, 413, 415, 422, 429, 503), _job_operation()),
        Operation("list_jobs", "GET", "/v1/jobs",
                  _answers(200, "The oldest first.", JobList, {"jobs": [JOB_ANSWER]}, 404, 422),
                  {}),
        Operation("show_job", "GET", job,
                  _job_answers(), {"parameters": [job_id]}),
        Operation("job_result", "GET", f"{job}/result",
                  _file_answers("The cleaned files, packed as they came.", *_PACKED, LINES),
                  {"parameters": [job_id]}),
        Operation("job_map", "GET", f"{job}/map",
                  _file_answers("The map: JSON Lines.", LINES), {"parameters": [job_id]}),
        Operation("cancel_job", "DELETE", job,
                  _answers(204, "Nothing is left of it.", None, None, 404, 422),
                  {"parameters": [job_id]}),
        Operation("report_life", "GET", "/livez",
                  _answers(200, "The process lives.", Liveness, {"status": "ok"}), {}),
        Operation("report_readiness", "GET", "/readyz",
                  _answers(200, "Documents can be taken.", Liveness, {"status": "ok"}, 503), {}),
        Operation("report_metrics", "GET", "/metrics", _metrics_answers(), {}),
    ]  # fmt: skip


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


def _content(model: type[BaseModel], example: object) -> dict[str, Any]:
    return {JSON: {"schema": schema_of(model), "example": example}}


def _answers(
    status: int, description: str, model: type[BaseModel] | None, example: object, *problems: int
) -> dict[int | str, dict[str, Any]]:
    """Return the good answer, and the problems that there may be beside those of keys."""
    answer: dict[str, Any] = {"description": description}
    if model is not None:
        answer["content"] = _content(model, example)
    if model is CleanAnswer:
        text = CLEAN_ANSWER["text"] if example is CLEAN_ANSWER else DOCUMENT_ANSWER["text"]
        answer["content"]["text/plain"] = {"schema": {"type": "string"}, "example": text}
    kinds = sorted({*problems, *((401, 403) if problems else ())})
    return {
        status: answer,
        **{kind: problem_answer(_PROBLEMS[kind]) for kind in kinds},
        "default": problem_answer("Any other error."),
    }


def _job_operation() -> dict[str, Any]:
    packed: dict[str, Any] = {media_type: {} for media_type in _PACKED}
    lines = {LINES: {"example": JOB_UPLOAD}}
    return {
        "parameters": [one for one in _option_parameters() if one["name"] != "document"],
        "requestBody": {"required": True, "content": {**packed, **lines}},
    }


def _job_answers() -> dict[int | str, dict[str, Any]]:
    found = _answers(200, "How far it is; or events of the same, named `job`, until it has ended.",
                     Job, JOB_ANSWER, 404, 406, 422, 429)  # fmt: skip
    found[200]["content"][EVENTS] = {"schema": {"type": "string"}}
    return found


def _file_answers(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    found = _answers(200, description, None, None, 404, 409, 422)
    found[200]["content"] = {media_type: {} for media_type in media_types}
    return found


def _metrics_answers() -> dict[int | str, dict[str, Any]]:
    found = _answers(200, "Metrics for Prometheus.", None, None, 401)
    found[200]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return found


def _document_answers() -> dict[int | str, dict[str, Any]]:
    found = _answers(200, "A row for each document, in order: of one alone, of an array, or lines.",
                     DocumentAnswer, DOCUMENT_ANSWER,
                     400, 404, 408, 409, 413, 415, 422, 429, 503)  # fmt: skip
    row = {"oneOf": [schema_of(DocumentAnswer), schema_of(RowRefusal)]}
    found[200]["content"] = {
        JSON: {
            "schema": {"oneOf": [schema_of(DocumentAnswer), {"type": "array", "items": row}]},
            "examples": {
                "one": {"value": DOCUMENT_ANSWER},
                "array": {"value": DOCUMENTS_ANSWER},
            },
        },
        LINES: {},
    }
    return found


def _documents_body() -> dict[str, Any]:
    document = schema_of(Document)
    schema = {"oneOf": [document, {"type": "array", "items": {}, "description": "Of documents."}]}
    examples = {"one": {"value": DOCUMENT}, "array": {"value": DOCUMENTS}}
    lines = "".join(f'{{"id": "{one["id"]}", "text": "A line."}}\n' for one in DOCUMENTS)
    content = {JSON: {"schema": schema, "examples": examples}, LINES: {"example": lines}}
    return {"required": True, "content": content}


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


def _clean_operation() -> dict[str, Any]:
    """Return what the description says of a cleaning's parameters and body."""
    return {
        "parameters": _option_parameters(),
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


def _option_parameters() -> list[dict[str, Any]]:
    properties = CleanOptions.model_json_schema()["properties"]
    document = CleanRequest.model_json_schema()["properties"]["document"]
    return [
        _parameter(
            name,
            "query",
            {key: value for key, value in schema.items() if key not in ("description", "title")},
            f"{schema.get('description', '')} The body's own value wins.",
        )
        for name, schema in {**properties, "document": document}.items()
    ]


def problem_answer(description: str) -> dict[str, Any]:
    """Return what the description says of an error."""
    return {
        "description": description,
        "content": {
            "application/problem+json": {"schema": schema_of(Problem), "example": CLEAN_PROBLEM}
        },
    }
