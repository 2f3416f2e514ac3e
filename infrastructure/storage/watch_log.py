"""The prediction log as `make watch` uses it: with the state of the watch."""

from __future__ import annotations

import sqlalchemy as sa

from infrastructure.storage.bulk_labels import BulkLabelLog
from infrastructure.storage.tables import WATCH


class WatchLog(BulkLabelLog):
    """A prediction log that keeps what a watch has seen, for each model and environment."""

    def watch_state(self) -> str | None:
        """The state; None before the first check."""
        query = sa.select(WATCH.c.state).where(*self._key(WATCH))
        with self._engine.connect() as connection:
            found: str | None = connection.execute(query).scalar()
        return found

    def save_watch_state(self, previous: str | None, state: str, retraining_failed: bool) -> bool:
        """Replace the state, unless it is not the previous one any more; returns whether it was."""
        values = {"state": state, "retraining_failed": retraining_failed}
        return self._replace(WATCH.c.state, previous, values)
