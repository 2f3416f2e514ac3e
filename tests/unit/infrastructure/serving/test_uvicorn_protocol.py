"""That uvicorn takes the limited protocol, and still is what this builds on.

What it does with slow clients is in tests/integration/test_slow_clients.py.
"""

from __future__ import annotations

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from infrastructure.serving.uvicorn_protocol import LimitedProtocol, install


@pytest.fixture(name="uninstalled", autouse=True)
def _uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what `install` changes for the whole process."""
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    monkeypatch.setattr(LimitedProtocol, "head_seconds", LimitedProtocol.head_seconds)


def test_a_server_that_is_configured_as_bentoml_does_it_takes_the_limited_protocol() -> None:
    install(head_seconds=7.0)
    config = uvicorn.Config(app=lambda scope: None, log_config=None, timeout_keep_alive=5)
    config.load()
    assert config.http_protocol_class is LimitedProtocol
    assert config.http_protocol_class.head_seconds == 7.0


def test_uvicorn_still_makes_a_scope_when_a_head_begins_and_a_cycle_when_it_is_whole() -> None:
    begins = inspect.getsource(HttpToolsProtocol.on_message_begin)
    whole = inspect.getsource(HttpToolsProtocol.on_headers_complete)
    assert "self.scope = {" in begins
    assert "self.cycle = RequestResponseCycle(" in whole
    assert "scope=self.scope" in whole
    assert "self.response_complete" in inspect.getsource(RequestResponseCycle.__init__)
