"""Executors for work that leaves the event loop: bounded in what waits, and in time."""

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
    """Threads for work that would block the event loop; their queue and time are bounded.

    Args:
        queue: most jobs that wait.
        deadline: seconds that a job may take, waiting included.
        threads: how many jobs run at a time.
    """

    def __init__(self, name: str, queue: int, deadline: float, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = queue + threads
        self._deadline = deadline
        self._taken = 0
        self._lock = threading.Lock()
        self._seconds = 0.1  # that the last piece took

    async def run(self, work: Callable[[], Done], waits: bool = False) -> Done:
        """The result of a job.

        Args:
            waits: whether it is queued even if the queue is full.

        Raises:
            Refusal: 503 if the queue is full, 504 after the deadline.
        """
        with self._lock:
            if self._taken >= self._places and not waits:
                seconds = self._seconds * self._taken
                raise retry_later(503, "too many requests wait: come again later", "busy", seconds)
            self._taken += 1
        job: Future[Done] = self._pool.submit(self._timed, work)
        job.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._deadline)
        except TimeoutError as error:
            told = f"the answer took longer than {self._deadline:g} seconds"
            raise Refusal(504, told, "deadline") from error

    def _timed(self, work: Callable[[], Done]) -> Done:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds = time.perf_counter() - start

    def _leave(self, _job: Future[Done]) -> None:
        with self._lock:
            self._taken -= 1


class StepExecutor:
    """Runs jobs in steps. First steps do not wait behind later ones; pauses hold no thread.

    Args:
        queue: most jobs that wait for their first step, and for a later one.
        deadline: seconds that a step may take, waiting included.
    """

    def __init__(self, name: str, queue: int, deadline: float) -> None:
        self._first = BoundedExecutor(name, queue, deadline, threads=4)
        self._later = BoundedExecutor(f"{name}-search", queue, deadline)
        self._places = queue + 1
        self._taken = 0

    async def run(self, steps: Steps) -> bytes | Reply:
        """The result of the last step.

        Raises:
            Refusal: 503 if a queue is full, 504 if a step passes the deadline.
        """
        done = await self._first.run(partial(advance, steps))
        if not isinstance(done, float):
            return done
        if self._taken >= self._places:
            told = "too many requests look for predictions that are not in the log"
            raise retry_later(503, f"{told}: come again later", "busy", 1)
        self._taken += 1
        try:
            while isinstance(done, float):
                await asyncio.sleep(done)
                done = await self._later.run(partial(advance, steps), waits=True)
        finally:
            self._taken -= 1
        return done
