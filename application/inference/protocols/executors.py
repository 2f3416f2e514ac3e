"""Executors for work off the event loop, with a bounded queue and a deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from application.inference.protocols.http import Refusal, Reply, Steps, advance, retry_later

Done = TypeVar("Done")


class BoundedExecutor:
    """Threads for work that would block the event loop, with a bounded queue and a deadline.

    Args:
        queue: maximum number of waiting jobs.
        deadline: seconds that a job may take, waiting included.
        threads: how many jobs run at a time.
    """

    def __init__(self, name: str, queue: int, deadline: float, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._capacity = queue + threads
        self._deadline = deadline
        self._pending = 0
        self._lock = threading.Lock()
        self._seconds = 0.1  # that the last job took

    async def run(self, work: Callable[[], Done], waits: bool = False) -> Done:
        """Run a job and return its result.

        Args:
            waits: whether to queue the job even if the queue is full.

        Raises:
            Refusal: 503 if the queue is full, 504 after the deadline.
        """
        with self._lock:
            if self._pending >= self._capacity and not waits:
                message, seconds = "too many requests: retry later", self._seconds * self._pending
                raise retry_later(503, message, "busy", seconds)
            self._pending += 1
        job: Future[Done] = self._pool.submit(self._timed, work)
        job.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._deadline)
        except TimeoutError as error:
            message = f"the request took longer than {self._deadline:g} seconds"
            raise Refusal(504, message, "deadline") from error

    def _timed(self, work: Callable[[], Done]) -> Done:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds = time.perf_counter() - start

    def _leave(self, _job: Future[Done]) -> None:
        with self._lock:
            self._pending -= 1


class StepExecutor:
    """Runs jobs in steps. First steps do not wait behind later ones; pauses occupy no thread.

    Args:
        queue: maximum number of jobs waiting for their first step, and for a later one.
        deadline: seconds that a step may take, waiting included.
    """

    def __init__(self, name: str, queue: int, deadline: float) -> None:
        self._first = BoundedExecutor(name, queue, deadline, threads=4)
        self._later = BoundedExecutor(f"{name}-search", queue, deadline)
        self._capacity = queue + 1
        self._pending = 0

    async def run(self, steps: Steps) -> bytes | Reply:
        """Run all steps and return the result of the last one.

        Raises:
            Refusal: 503 if a queue is full, 504 if a step exceeds the deadline.
        """
        done = await self._first.run(partial(advance, steps))
        if not isinstance(done, float):
            return done
        if self._pending >= self._capacity:
            message = "too many requests are searching the prediction log: retry later"
            raise retry_later(503, message, "busy", 1)
        self._pending += 1
        try:
            while isinstance(done, float):
                await asyncio.sleep(done)
                done = await self._later.run(partial(advance, steps), waits=True)
        finally:
            self._pending -= 1
        return done
