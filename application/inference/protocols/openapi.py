"""Parts of an OpenAPI document, in the dialect of OpenAPI 3.0."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]
JSON = "application/json"
TEXT: Schema = {"type": "string"}
ENDPOINTS, OPERATIONS = "Endpoints", "Operations"
"""What the paths of a service are listed under that belong to no other protocol."""

_TAGS = {"Service APIs": ENDPOINTS, "Infrastructure": OPERATIONS}  # as BentoML calls them
_PROBES = {
    "/healthz": "Whether the process answers",
    "/livez": "Whether the process answers",
    "/readyz": "Whether the model is loaded and answers the golden requests right",
    "/metrics": "Metrics for Prometheus",
}
REFUSALS: Mapping[int, str] = {
    400: "the body is none of its kind",
    413: "the body is too large, or has too many rows",
    415: "the body is of a kind that is not taken",
    422: "the request breaks the contract; the error says where",
    500: "an unexpected fault",
    503: "too many requests wait, or the model is not ready; Retry-After says when to come again",
    504: "the answer took too long",
}
"""Why requests are refused, by the HTTP status."""

LENIENT = {status: why for status, why in REFUSALS.items() if status != 422} | {
    400: "the request is malformed or breaks the contract; the error says where"
}
"""The same in protocols that do not know 422."""


def list_of(items: Schema) -> Schema:
    """One of these or more."""
    return {"type": "array", "items": items, "minItems": 1}


def object_of(properties: dict[str, Schema], required: Sequence[str] | None = None) -> Schema:
    """An object that has these properties and no others.

    Args:
        required: names of those that must be there; None for all.
    """
    names = list(properties) if required is None else list(required)
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": names} if names else schema  # an empty list is not allowed


ERROR = object_of({"error": TEXT, "request_id": TEXT})
"""The form of a refusal where a protocol has none of its own."""


def operation(  # pylint: disable=too-many-arguments  # they are named
    tag: str,
    summary: str,
    *,
    bodies: Mapping[str, Schema] | None = None,
    answers: Mapping[str, Schema] | None = None,
    error: Schema = ERROR,
    refusals: Mapping[int, str] | None = None,
) -> Schema:
    """What one method of a path does, in OpenAPI's terms.

    Args:
        tag: what it is listed under.
        bodies: what it takes, by content type; None where it takes nothing.
        answers: what it answers, by content type; None where nothing is said of it.
        error: the form of a refusal.
        refusals: the reasons for one, by their HTTP status.
    """
    told: Schema = {
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": {"description": "answered", **_contents(answers)},
            **{
                str(status): {"description": why, **_contents({JSON: error})}
                for status, why in (refusals or {}).items()
            },
        },
    }
    if bodies:
        told["requestBody"] = {"required": True, **_contents(bodies)}
    return told


def _contents(schemas: Mapping[str, Schema] | None) -> Schema:
    found = {kind: {"schema": schema} for kind, schema in (schemas or {}).items()}
    return {"content": found} if found else {}


def in_own_words(document: Schema) -> Schema:
    """BentoML's OpenAPI document with a summary for each operation, and without its maker."""
    info = {key: told for key, told in document["info"].items() if key != "contact"}
    tags = [
        {"name": ENDPOINTS, "description": "Of this model, by its contract"},
        {"name": OPERATIONS, "description": "Probes, metrics and documents"},
    ]
    paths = {
        path: {method: _in_own_words(path, does) for method, does in item.items()}
        for path, item in document["paths"].items()
    }
    return {**document, "info": info, "tags": tags, "paths": paths}


def _in_own_words(path: str, does: Schema) -> Schema:
    """An operation whose summary is the first line of its description, or that of a probe."""
    kept = {key: told for key, told in does.items() if key not in ("summary", "description")}
    first, _, rest = does.get("description", "").replace("`", "").partition("\n")
    summary = _PROBES.get(path) or does.get("summary") or first.strip().removesuffix(".")
    more = {"description": rest.strip()} if rest.strip() and path not in _PROBES else {}
    tags = [_TAGS.get(tag, tag) for tag in does.get("tags", ())]
    return {**kept, "tags": tags, "summary": summary, **more}


def with_refusals(
    document: Schema, statuses: Mapping[str, Mapping[int, str]], bodiless: Collection[str]
) -> Schema:
    """An OpenAPI document that says how requests are refused, and that they need a body.

    Args:
        statuses: for each path, the reasons by their HTTP status; others are left as they are.
        bodiless: paths that need none.
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
    """An OpenAPI document with a path that takes no body, by GET as well as by POST."""
    post = {
        key: told for key, told in document["paths"][path]["post"].items() if key != "requestBody"
    }
    get = {**post, "operationId": f"get_{post['operationId']}"} if "operationId" in post else post
    paths = {**document["paths"], path: {**document["paths"][path], "get": get, "post": post}}
    return {**document, "paths": paths}


def with_keys(document: Schema) -> Schema:
    """An OpenAPI document that says that requests carry a key; its page asks for it."""
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    components = {**document.get("components", {}), **schemes}
    return {**document, "components": components, "security": [{"key": []}]}
