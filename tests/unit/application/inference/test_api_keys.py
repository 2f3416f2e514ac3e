"""API keys: known by their digests, and limited to their scopes."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext

import pytest

from application.inference.api_keys import (
    PREFIX,
    SCOPES,
    ApiKeys,
    authoriser,
    entry_of,
    new_key,
    scope_of,
)
from application.inference.protocols.http import Refusal
from domain.errors import ConfigError

DIGEST = hashlib.sha256(b"some key").hexdigest()


def bearer(key: str) -> dict[bytes, bytes]:
    """The headers of a request with a key."""
    return {b"host": b"here", b"authorization": f"Bearer {key}".encode()}


def test_a_new_key_is_random_and_can_be_found_by_scanners() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert first.startswith(PREFIX)
    assert len(first) - len(PREFIX) == 43  # 32 bytes in base64


def test_an_entry_holds_the_digest_and_not_the_key() -> None:
    key = new_key()
    entry = entry_of("grafana", key, ["metrics", "read"])
    assert entry == f"grafana:{hashlib.sha256(key.encode()).hexdigest()}:metrics,read"
    assert key not in entry


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer %s"},
        {b"authorization": b"bearer  %s"},
        {b"x-api-key": b"%s"},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": b"%s"},
    ],
    ids=["bearer", "scheme in another case", "own header", "own header next to a proxy's"],
)
def test_each_of_several_keys_is_known_by_its_name(headers: dict[bytes, bytes]) -> None:
    keys = {name: new_key() for name in ("first", "second", "third")}
    known = ApiKeys.parse("\n".join(entry_of(name, key) for name, key in keys.items()))
    for name, key in keys.items():
        shown = {header: value.replace(b"%s", key.encode()) for header, value in headers.items()}
        assert known.check(shown, "predict") == name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic dXNlcjpwYXNz"},
        {b"x-api-key": b""},
        {b"x-api-key": b"mlops_unknown"},
        {b"x-api-key": "mlops_ünknown".encode("latin-1")},
        {b"x-api-key": DIGEST.encode()},
    ],
)
def test_without_a_known_key_a_request_is_refused_with_401(headers: dict[bytes, bytes]) -> None:
    known = ApiKeys.parse(f"some:{DIGEST}")
    with pytest.raises(Refusal) as refused:
        known.check(headers, "predict")
    assert (refused.value.status, refused.value.error_type) == (401, "unauthorized")


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_does_what_its_scopes_allow_and_nothing_else(scope: str) -> None:
    key = new_key()
    known = ApiKeys.parse(entry_of("grafana", key, ["metrics"]))
    if scope == "metrics":
        assert known.check(bearer(key), scope) == "grafana"
    else:
        with pytest.raises(Refusal, match=f"grafana lacks the scope {scope}") as refused:
            known.check(bearer(key), scope)
        assert refused.value.status == 403
        assert key not in str(refused.value)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_without_scopes_does_everything(scope: str) -> None:
    key = new_key()
    assert ApiKeys.parse(entry_of("admin", key)).check(bearer(key), scope) == "admin"


def test_a_name_may_have_two_keys_while_callers_change_over() -> None:
    old, new = new_key(), new_key()
    known = ApiKeys.parse(f"{entry_of('shop', old)}  {entry_of('shop', new)}\n")
    assert {known.check(bearer(key), "predict") for key in (old, new)} == {"shop"}


def test_without_entries_there_are_no_keys() -> None:
    assert not ApiKeys.parse(" \n")
    assert ApiKeys.parse(f"some:{DIGEST}")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("grafana", "entry 2 is not name:sha256"),
        ("grafana:secret", "entry 2 is not name:sha256"),
        (f"grafana:{DIGEST[:-1]}", "entry 2 is not name:sha256"),
        (f"grafana:{DIGEST.upper()}", "entry 2 is not name:sha256"),
        (f"grafana:{DIGEST}:read:metrics", "entry 2 is not name:sha256"),
        (f":{DIGEST}", "entry 2: the name must have"),
        (f"gräfana:{DIGEST}", "entry 2: the name must have"),
        (f"{PREFIX}secret:{DIGEST}", "entry 2: the name must have"),
        (f"grafana:{DIGEST}:", "entry 2 \\(grafana\\): unknown scope; the scopes are predict"),
        (f"grafana:{DIGEST}:write", "entry 2 \\(grafana\\): unknown scope; the scopes are"),
        (f"grafana:{hashlib.sha256(b'1').hexdigest()}", "entry 2 \\(grafana\\) repeats the key"),
    ],
)
def test_a_bad_entry_is_named_without_secrets(entry: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        ApiKeys.parse(f"{entry_of('first', '1')} {entry}")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/predict", "predict"),
        ("POST", "/classify_json", "predict"),
        ("POST", "/invocations", "predict"),
        ("POST", "/v2/models/iris/infer", "predict"),
        ("POST", "/feedback", "feedback"),
        ("GET", "/metrics", "metrics"),
        ("HEAD", "/metrics", "metrics"),
        ("GET", "/", "read"),
        ("GET", "/docs.json", "read"),
        ("GET", "/v2/models/iris", "read"),
        ("POST", "/health_check", "read"),
        ("POST", "/get_metrics_summary", "read"),
    ],
)
def test_a_request_needs_the_scope_of_its_path(method: str, path: str, scope: str) -> None:
    assert scope_of(method, path) == scope


def test_without_keys_everybody_may_pass() -> None:
    assert authoriser(ApiKeys.parse(""), "/livez") is None


def test_with_keys_only_open_paths_pass_without_one() -> None:
    key = new_key()
    authorise = authoriser(ApiKeys.parse(entry_of("shop", key, ["predict"])), "/livez /readyz")
    assert authorise is not None
    authorise({}, "GET", "/readyz")
    authorise(bearer(key), "POST", "/predict")
    for headers, path, status in (({}, "/metrics", 401), (bearer(key), "/metrics", 403)):
        with pytest.raises(Refusal) as refused:
            authorise(headers, "GET", path)
        assert refused.value.status == status


def test_whoever_passes_is_known_by_the_name_of_the_key() -> None:
    key = new_key()
    authorise = authoriser(ApiKeys.parse(entry_of("shop", key)), "/livez")
    assert authorise is not None
    assert authorise(bearer(key), "POST", "/predict") == "shop"
    assert authorise({**bearer(key), b"x-synthetic": b"load"}, "POST", "/predict") == "shop"
    assert authorise(bearer(key), "GET", "/livez") is None


def test_only_a_key_of_that_scope_may_mark_requests_as_synthetic() -> None:
    any_scope, predict, both = (new_key() for _ in range(3))
    entries = (
        entry_of("all", any_scope),
        entry_of("shop", predict, ["predict"]),
        entry_of("load", both, ["predict", "synthetic"]),
    )
    authorise = authoriser(ApiKeys.parse(" ".join(entries)), "/livez /vertex/predict")
    assert authorise is not None
    mark = {b"x-synthetic": b"load"}
    for key in (any_scope, both):
        authorise({**bearer(key), **mark}, "POST", "/predict")
    for headers, path, status in (
        (bearer(predict), "/predict", 403),
        ({}, "/predict", 401),
        ({}, "/vertex/predict", 401),  # an open path hides nothing either
    ):
        with pytest.raises(Refusal) as refused:
            authorise({**headers, **mark}, "POST", path)
        assert refused.value.status == status


@pytest.mark.parametrize(("open_paths", "status"), [("/livez", 401), ("/livez /", None)])
def test_scripts_and_styles_of_the_page_are_open_if_the_page_is(
    open_paths: str, status: int | None
) -> None:
    authorise = authoriser(ApiKeys.parse(entry_of("shop", new_key())), open_paths)
    assert authorise
    for path in ("/", "/page/page.css"):
        with pytest.raises(Refusal) if status else nullcontext() as refused:
            authorise({}, "GET", path)
        assert not refused or refused.value.status == status
    with pytest.raises(Refusal):
        authorise({}, "GET", "/docs.json")
