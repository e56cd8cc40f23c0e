"""Nothing leaks between threads, tasks and contexts; generators share the context of their consumer."""

import asyncio
import contextvars
import gc
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from sequifier.params import empty, frozen, frozen_scope, keys, param_scope


def in_a_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(function).result()


def read() -> Any:
    return param_scope.x | 0


@pytest.fixture(autouse=True)
def _thaw() -> Iterator[None]:
    yield
    with empty():
        frozen()
    assert in_a_thread(keys) == []
    assert keys() == []


def test_threads_begin_with_what_was_frozen() -> None:
    with param_scope(x=1, y={"z": 2}):
        assert in_a_thread(read) == 0, "a scope alone is not for other threads"
        frozen()
        param_scope.x = 3
        assert in_a_thread(lambda: param_scope.as_dict()) == {"x": 1, "y.z": 2}
    assert read() == 0, "its own thread goes back to where it was"
    assert in_a_thread(read) == 1, "after the scope too"
    with param_scope(y=4):
        param_scope.frozen()
    assert in_a_thread(lambda: param_scope.as_dict()) == {"y": 4}, "a second call replaces the first"


def test_threads_that_were_there_before_keep_what_they_began_with() -> None:
    go, answers = threading.Event(), {}

    def wait(name: str) -> None:
        go.wait()
        answers[name] = read()

    threads = []
    for value in (1, 2, 3):
        threads.append(threading.Thread(target=wait, args=(f"before {value}",)))
        threads[-1].start()
        with param_scope(x=value):
            frozen()
    go.set()
    for thread in threads:
        thread.join()
    assert answers == {"before 1": 0, "before 2": 1, "before 3": 2}
    assert in_a_thread(read) == 3


def test_threads_change_nothing_for_others() -> None:
    with param_scope(x=1) as ps:
        frozen()
        barrier = threading.Barrier(8)

        def work(number: int) -> list[Any]:
            seen = [read()]
            param_scope.x = number
            barrier.wait(10)
            seen.append(read())
            with param_scope(x=-number):
                barrier.wait(10)
                seen.append(read())
            with ps:  # one scope in many threads
                ps.x = number * 10
                barrier.wait(10)
                seen.append(read())
            barrier.wait(10)
            return [*seen, read()]

        with ThreadPoolExecutor(max_workers=8) as executor:
            results = list(executor.map(work, range(8)))
        assert results == [[1, n, -n, n * 10, n] for n in range(8)]
        assert read() == 1


def test_a_frozen_scope_is_for_the_threads_that_start_inside_it() -> None:
    with param_scope(x=1):
        frozen()
    with frozen_scope(x=2) as ps:
        assert (ps.x | 0, read(), in_a_thread(read)) == (2, 2, 2)
        with param_scope(x=3):
            frozen()
            assert in_a_thread(read) == 3
    assert (read(), in_a_thread(read)) == (0, 1)


def test_frozen_scopes_may_be_left_in_any_order() -> None:
    """As those of two trainings that run in threads of one program."""
    first, second = frozen_scope(x=1), frozen_scope(x=2)
    with ExitStack() as later:
        with first:
            later.enter_context(second)
            assert in_a_thread(read) == 2
        assert in_a_thread(read) == 2
    assert in_a_thread(read) == 0


async def task(number: int, n_changes: int) -> None:
    assert keys() == ["thread"]
    thread = param_scope.thread()
    with param_scope(**{"task": number, f"own.{number}": number}):
        for change in range(n_changes):
            await asyncio.sleep(0)
            assert (param_scope.task(), param_scope.thread()) == (number, thread)
            assert param_scope.own[number]() == number
            with param_scope(task=-change):
                await asyncio.sleep(0)
                assert param_scope.task() == -change
                param_scope.more = change
            assert "more" not in param_scope
            param_scope.written = number * change
            await asyncio.sleep(0)
            assert param_scope.written() == number * change
    assert keys() == ["thread"]
    param_scope.leak = number


def test_ten_thousand_tasks_in_fifty_threads_do_not_see_each_other() -> None:
    done = []

    async def tasks(thread: int) -> None:
        with param_scope(thread=thread):
            await asyncio.gather(*(task(thread * 1000 + number, number % 3) for number in range(200)))
            assert keys() == ["thread"]

    def work(thread: int) -> None:
        asyncio.run(tasks(thread))
        assert keys() == []
        done.append(thread)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(50))


def test_tasks_inherit_and_do_not_leak_back() -> None:
    async def child(value: int) -> int:
        before = read()
        param_scope.x = value
        await asyncio.sleep(0)
        assert read() == value
        return int(before)

    async def parent() -> None:
        with param_scope(x=1):
            first = asyncio.create_task(child(2))
            param_scope.x = 3
            second = asyncio.create_task(child(4))
            assert (await first, await second, read()) == (1, 3, 3)
            assert await asyncio.to_thread(read) == 3, "asyncio gives it a copy of the context"
        assert read() == 0

    asyncio.run(parent())


def test_a_copied_context_keeps_what_it_was_copied_with() -> None:
    with param_scope(x=1) as ps:
        copied = contextvars.copy_context()
        param_scope.x = 2
    assert copied.run(read) == 1
    copied.run(ps.__exit__, None, None, None)
    assert copied.run(read) == 0
    ps.__exit__(None, None, None)
    assert contextvars.Context().run(read) == 0


def numbers(value: int, n: int = 3) -> Iterator[tuple[int, int]]:
    with param_scope(x=value):
        for number in range(n):
            yield read(), number
            param_scope.y = number
    assert read() != value


def test_a_generator_shares_the_context_of_its_consumer() -> None:
    """The documented limit, as of `decimal.localcontext`: a scope that is open at a `yield` holds in the consumer."""
    steps = numbers(1, n=1)
    assert next(steps) == (1, 0)
    assert read() == 1
    assert next(steps, None) is None
    assert read() == 0
    assert keys() == []


def test_a_generator_that_yields_outside_its_scope_leaks_nothing() -> None:
    def outside(value: int) -> Iterator[int]:
        for number in range(3):
            with param_scope(x=value):
                found = read() + number
            yield found

    assert [(x, read()) for x in outside(1)] == [(1, 0), (2, 0), (3, 0)]


def test_generators_in_contexts_of_their_own_each_have_their_own_scope() -> None:
    draw = random.Random(0)
    open_ones = {value: (contextvars.copy_context(), numbers(value, n=20)) for value in range(1, 7)}
    while open_ones:
        value = draw.choice(list(open_ones))
        context, steps = open_ones[value]
        with param_scope(x=-value):
            step = context.run(next, steps, None)  # type: ignore[call-arg, arg-type, func-returns-value]
            assert read() == -value
        if step is None:
            del open_ones[value]
        else:
            assert step[0] == value
        assert read() == 0


def test_generators_that_end_in_any_order_leave_nothing() -> None:
    for seed in range(20):
        steps = [numbers(value) for value in range(1, 6)]
        for step in steps:
            next(step)
        random.Random(seed).shuffle(steps)
        for step in steps:
            step.close()  # type: ignore[attr-defined]
        assert keys() == []


def test_an_abandoned_generator_leaves_nothing() -> None:
    for _ in range(3):
        next(numbers(1))
        gc.collect()
        assert keys() == []


def test_a_scope_of_another_context_is_left_without_effect() -> None:
    with param_scope(x=1):
        steps = numbers(2)
        context = contextvars.Context()
        context.run(next, steps)
        steps.close()  # type: ignore[attr-defined]
        assert read() == 1
        in_a_thread(lambda: param_scope(x=3).__exit__(None, None, None))
    assert keys() == []


def test_async_context_managers_lend_their_scope_to_their_task_alone() -> None:
    @asynccontextmanager
    async def lent(value: int) -> AsyncIterator[None]:
        with param_scope(x=value):
            yield

    async def consume(value: int) -> None:
        async with lent(value):
            await asyncio.sleep(0)
            assert read() == value
            assert await asyncio.create_task(later()) == value, "a task inherits what is current"
            async with lent(-value), asyncio.timeout(10):
                await asyncio.sleep(0)
                assert read() == -value
            assert read() == value
        assert keys() == []

    async def later() -> Any:
        return read()

    async def all_of_them() -> None:
        await asyncio.gather(*map(consume, range(1, 20)))

    asyncio.run(all_of_them())
