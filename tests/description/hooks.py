"""How bodies that are no JSON are made of what is generated."""

import schemathesis


@schemathesis.serializer(
    "application/zip", "application/x-tar", "application/gzip", "application/x-ndjson"
)
def send_bytes(context: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
