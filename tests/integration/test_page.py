"""The page of a running service, over HTTP and in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import needs_browser

FOREIGN = re.compile(
    rb"googletagmanager|google-analytics|bentoml\.com|readthedocs|shields\.io", re.IGNORECASE
)


def test_the_page_uses_no_other_host_and_no_file_of_bentomls_page(client: httpx.Client) -> None:
    page = client.get("/")
    files = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
    assert len(files) == 4
    for path in ("/", "/card", "/docs.json", *(f"/{name}" for name in files)):
        response = client.get(path)
        assert response.status_code == 200, path
        assert not FOREIGN.search(response.content), path
    for path in ("index.css", "swagger-initializer.js", "marked.min.js", "swagger-ui-bundle.js"):
        assert client.get(f"/static_content/{path}").status_code == 404
    assert client.get("/docs.json").json()["info"].keys() == {"title", "version", "description"}


def test_the_page_and_its_files_have_security_policy_type_and_etag(client: httpx.Client) -> None:
    types = {"/": "html", "/card": "plain", "/page/page.js": "javascript", "/page/page.css": "css"}
    for path, kind in types.items():
        response, head = client.get(path), client.head(path)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ") and "unsafe" not in policy
        assert response.headers["content-type"] == f"text/{kind}; charset=utf-8"
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "content-type", "etag"):
            assert head.headers[name] == response.headers[name]
        again = client.get(path, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_every_operation_in_the_openapi_document_has_a_summary(client: httpx.Client) -> None:
    paths = client.get("/docs.json").json()["paths"]
    summaries = [each.get("summary") for path in paths.values() for each in path.values()]
    assert len(summaries) > 15 and all(summaries)


@pytest.fixture(name="page")
def _page(browser: Browser, service_url: str) -> Iterator[Page]:
    """The rendered page; afterwards, it has sent no foreign request and logged no error."""
    page = browser.new_page()
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(service_url)
    page.locator(".opblock").first.wait_for()
    yield page
    assert not messages
    assert len(requests) > 5
    assert [url for url in requests if not url.startswith((f"{service_url}/", "data:"))] == []
    page.close()


@needs_browser
def test_the_page_shows_the_model_and_every_operation(page: Page, client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    name, version = document["info"]["title"], document["info"]["version"]
    expect(page).to_have_title(f"{name} {version}")
    expect(page.locator("h1").first).to_have_text(name)
    expect(page.locator("#version")).to_have_text(version)
    expect(page.locator("#verdict")).to_contain_text("accepted: accuracy 0.")
    expect(page.locator(".opblock")).to_have_count(sum(map(len, document["paths"].values())))
    summaries = page.locator(".opblock-summary-description").all_text_contents()
    assert len(summaries) > 15 and all(summaries)
    links = page.locator("header a").evaluate_all("each => each.map(one => one.href)")
    shown = [client.get(link).text for link in links]
    for text, part in zip(shown, ("## Intended use", "ml_predictions_total", '"openapi"')):
        assert part in text


@needs_browser
def test_a_prediction_can_be_made_on_the_page(page: Page) -> None:
    row = page.locator(".opblock", has=page.locator('[data-path="/predict"]'))
    row.locator(".opblock-summary-control").click()
    row.locator("button.execute").click()
    response = row.locator(".live-responses-table")
    expect(response.locator(".response-col_status").last).to_contain_text("200")
    expect(response).to_contain_text("setosa")
