"""The state of a watch in the prediction log."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from infrastructure.storage.prediction_log import SqlPredictionLog
from infrastructure.storage.watch_log import WatchLog


def test_each_model_and_environment_has_a_state(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with (
        closing(WatchLog(url, "a", environment="staging")) as first,
        closing(WatchLog(url, "a", environment="production")) as second,
        closing(WatchLog(url, "b", environment="staging")) as third,
        closing(SqlPredictionLog(url, "a", version="2", environment="staging")) as service,
    ):
        assert first.watch_state() is None and service.retraining_failed() is False
        assert first.save_watch_state(None, "x", False)
        assert service.retraining_failed() is False
        assert first.save_watch_state("x", "y", True)
        for previous in ("x", None):  # another watch was faster
            assert not first.save_watch_state(previous, "z", False)
        assert first.watch_state() == "y" and service.retraining_failed() is True
        assert second.watch_state() is third.watch_state() is None
        assert second.retraining_failed() is False
