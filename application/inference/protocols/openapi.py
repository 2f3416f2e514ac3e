"""Parts of an OpenAPI document, in the dialect of OpenAPI 3.0."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]
JSON = "application/json"
TEXT: Schema = {"type": "string"}
ENDPOINTS, OPERATIONS = "Endpoints", "Operations"
"""Tags for paths that belong to no other protocol."""

_TAGS = {"Service APIs": ENDPOINTS, "Infrastructure": OPERATIONS}  # as BentoML calls them
_PROBES = {
    "/healthz": "Whether the process is alive",
    "/livez": "Whether the process is alive",
    "/readyz": "Whether the model is loaded and reproduced the golden requests",
    "/metrics": "Metrics for Prometheus",
}
REFUSALS: Mapping[int, str] = {
    400: "the body is malformed",
    413: "the body is too large, or has too many rows",
    415: "the content type is not supported",
    422: "the request breaks the contract; the error says where",
    500: "internal error",
    503: "too many requests are waiting, or the model or the prediction log is not ready; "
    "Retry-After says when to retry",
    504: "the request took too long",
}
"""Why a request is refused, by HTTP status."""

LENIENT = {status: why for status, why in REFUSALS.items() if status != 422} | {
    400: "the request is malformed or breaks the contract; the error says where"
}
"""The same for protocols that do not use status 422."""


def list_of(items: Schema) -> Schema:
    """A list with at least one item."""
    return {"type": "array", "items": items, "minItems": 1}


def object_of(properties: dict[str, Schema], required: Sequence[str] | None = None) -> Schema:
    """An object with these properties and no others.

    Args:
        required: names of the required properties; None for all.
    """
    names = list(properties) if required is None else list(required)
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": names} if names else schema  # OpenAPI forbids an empty list


ERROR = object_of({"error": TEXT, "request_id": TEXT})
"""The error format, for protocols without one of their own."""


def operation(  # pylint: disable=too-many-arguments  # they are named
    tag: str,
    summary: str,
    *,
    bodies: Mapping[str, Schema] | None = None,
    responses: Mapping[str, Schema] | None = None,
    error: Schema = ERROR,
    refusals: Mapping[int, str] | None = None,
) -> Schema:
    """An OpenAPI operation: one method of a path.

    Args:
        tag: the group under which the page lists it.
        bodies: schemas of the request body, by content type; None if there is no body.
        responses: schemas of a successful response, by content type; None if not described.
        error: schema of an error.
        refusals: the reasons for an error, by HTTP status.
    """
    described: Schema = {
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": {"description": "success", **_contents(responses)},
            **{
                str(status): {"description": why, **_contents({JSON: error})}
                for status, why in (refusals or {}).items()
            },
        },
    }
    if bodies:
        described["requestBody"] = {"required": True, **_contents(bodies)}
    return described


def _contents(schemas: Mapping[str, Schema] | None) -> Schema:
    contents = {kind: {"schema": schema} for kind, schema in (schemas or {}).items()}
    return {"content": contents} if contents else {}


def with_summaries(document: Schema) -> Schema:
    """BentoML's OpenAPI document with a summary for each operation, and without its contact."""
    info = {key: value for key, value in document["info"].items() if key != "contact"}
    tags = [
        {"name": ENDPOINTS, "description": "Endpoints of this model, derived from its contract"},
        {"name": OPERATIONS, "description": "Probes, metrics and documents"},
    ]
    paths = {
        path: {method: _with_summary(path, item) for method, item in methods.items()}
        for path, methods in document["paths"].items()
    }
    return {**document, "info": info, "tags": tags, "paths": paths}


def _with_summary(path: str, item: Schema) -> Schema:
    """An operation whose summary is the first line of its description, or that of a probe."""
    kept = {key: value for key, value in item.items() if key not in ("summary", "description")}
    first, _, rest = item.get("description", "").replace("`", "").partition("\n")
    summary = _PROBES.get(path) or item.get("summary") or first.strip().removesuffix(".")
    more = {"description": rest.strip()} if rest.strip() and path not in _PROBES else {}
    tags = [_TAGS.get(tag, tag) for tag in item.get("tags", ())]
    return {**kept, "tags": tags, "summary": summary, **more}


def with_refusals(
    document: Schema, statuses: Mapping[str, Mapping[int, str]], bodiless: Collection[str]
) -> Schema:
    """An OpenAPI document with the error responses, and with request bodies as required.

    Args:
        statuses: for each path the reasons for an error, by HTTP status; other paths stay as they
            are.
        bodiless: paths that need no body.
    """
    body = _contents({JSON: ERROR})
    paths = dict(document["paths"])
    for path, reasons in statuses.items():
        post = paths[path]["post"]
        refusals = {code: {"description": why, **body} for code, why in reasons.items()}
        post = {**post, "responses": post["responses"] | refusals}
        if path not in bodiless:
            post["requestBody"] = {**post.get("requestBody", {}), "required": True}
        paths[path] = {**paths[path], "post": post}
    return {**document, "paths": paths}


def with_query(document: Schema, path: str) -> Schema:
    """An OpenAPI document in which a path without a body has GET as well as POST."""
    described = document["paths"][path]["post"]
    post = {key: value for key, value in described.items() if key != "requestBody"}
    get = {**post, "operationId": f"get_{post['operationId']}"} if "operationId" in post else post
    paths = {**document["paths"], path: {**document["paths"][path], "get": get, "post": post}}
    return {**document, "paths": paths}


def with_keys(document: Schema) -> Schema:
    """An OpenAPI document in which requests need an API key; the page asks for it."""
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    components = {**document.get("components", {}), **schemes}
    return {**document, "components": components, "security": [{"key": []}]}
