"""Executors refuse jobs beyond their queue and beyond their deadline."""

from __future__ import annotations

import asyncio
import threading

import pytest

from application.inference.protocols.executors import BoundedExecutor
from application.inference.protocols.http import Refusal

PATIENCE = 10.0


def test_a_slot_is_free_again_once_a_late_job_has_ended() -> None:
    executor, let_go, done = BoundedExecutor("test", queue=0, deadline=0.01), threading.Event(), []

    def work() -> None:
        assert let_go.wait(PATIENCE)
        done.append(1)

    async def run() -> str:
        with pytest.raises(Refusal) as late:
            await executor.run(work)
        with pytest.raises(Refusal) as busy:
            await executor.run(work)
        assert (late.value.status, busy.value.status) == (504, 503)
        let_go.set()
        while True:  # until the thread is free again
            try:
                return await executor.run(lambda: "done")
            except Refusal as refusal:
                assert refusal.status in (503, 504)
                await asyncio.sleep(0)

    assert asyncio.run(run()) == "done"
    assert done == [1]


def test_a_job_that_waited_too_long_is_dropped_from_the_queue() -> None:
    executor, begun = BoundedExecutor("test", queue=1, deadline=0.01), []
    running, let_go = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        assert let_go.wait(PATIENCE)

    async def run() -> None:
        blocked = asyncio.create_task(executor.run(block))
        assert await asyncio.to_thread(running.wait, PATIENCE)
        for number in range(5):  # each finds the place of the previous one free
            with pytest.raises(Refusal) as late:
                await executor.run(lambda n=number: begun.append(n))  # type: ignore[misc]
            assert late.value.status == 504
        let_go.set()
        await asyncio.gather(blocked, return_exceptions=True)

    asyncio.run(run())
    assert not begun


def test_one_thread_does_its_jobs_in_order_and_one_at_a_time() -> None:
    executor = BoundedExecutor("test", queue=9, deadline=PATIENCE)
    running, max_running, done = 0, 0, []

    def work(number: int) -> None:
        nonlocal running, max_running
        running += 1
        max_running = max(max_running, running)
        done.append(number)
        running -= 1

    async def run() -> None:
        await asyncio.gather(*[executor.run(lambda n=n: work(n)) for n in range(10)])  # type: ignore[misc]

    asyncio.run(run())
    assert (max_running, done) == (1, list(range(10)))
