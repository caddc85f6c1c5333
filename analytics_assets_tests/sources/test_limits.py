"""Calls at once, counted by the server; nothing is left of a limit that nobody uses."""

import asyncio

import pytest

from analytics_assets.sources.failures import AskForLess, RetryLater
from analytics_assets.sources.http import Http
from analytics_assets.sources.limits import Limit
from analytics_assets_tests.sources.loopback import Loopback, after, against, answer, call, classify


@pytest.mark.parametrize(
    ("account_limit", "host_limit", "accounts", "most"), [(3, 40, 1, 3), (3, 40, 2, 6), (4, 5, 6, 5), (1, 1, 3, 1)]
)
def test_calls_at_once_are_bounded(account_limit: int, host_limit: int, accounts: int, most: int) -> None:
    server = Loopback([after(0.02, answer())])

    async def work(http: Http) -> None:
        calls = [call(server, account=f"a:{number % accounts}") for number in range(24)]
        await asyncio.gather(*(http.send(one, classify) for one in calls))
        assert (len(http._limits.accounts), len(http._limits.hosts)) == (0, 0)

    against(server, work, account_limit=account_limit, host_limit=host_limit)
    assert (server.most_under_way, len(server.asked)) == (most, 24)


def test_calls_of_all_hosts_are_bounded_together() -> None:
    server = Loopback([after(0.02, answer())])

    async def work(http: Http) -> None:
        calls = [call(server, account=f"a:{number}", host=f"h:{number}") for number in range(24)]
        await asyncio.gather(*(http.send(one, classify) for one in calls))
        assert [len(limit) for limit in (http._limits.accounts, http._limits.hosts, http._limits.all)] == [0, 0, 0]

    against(server, work, max_connections=7)
    assert server.most_under_way == 7


def test_cancelled_calls_give_back_what_they_hold() -> None:
    server = Loopback([after(0.2, answer())])

    async def work(http: Http) -> None:
        tasks = [asyncio.create_task(http.send(call(server), classify)) for _ in range(10)]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 5
        assert (len(http._limits.accounts), len(http._limits.hosts)) == (0, 0)

    against(server, work, account_limit=2)
    assert server.most_under_way <= 4


def test_a_failure_gives_back_its_slots() -> None:
    server = Loopback([answer(500)])

    async def work(http: Http) -> None:
        for number in range(5):
            with pytest.raises(RetryLater):
                await http.send(call(server, account=f"a:{number}", attempts=1), classify)
            with pytest.raises(AskForLess):
                await http.send(call(server, account=f"a:{number}", max_bytes=1), classify)
        assert (len(http._limits.accounts), len(http._limits.hosts)) == (0, 0)

    against(server, work, account_limit=1, host_limit=1)


def test_waiting_holds_no_slot() -> None:
    server = Loopback([answer(429, b"", {"Retry-After": "1"}), answer(200, ["second"]), answer(200, ["first"])])

    async def work(http: Http) -> None:
        first = asyncio.create_task(http.send(call(server), classify))
        while not server.asked:
            await asyncio.sleep(0.01)
        second = await http.send(call(server), classify)
        assert (second.json(), first.done()) == (["second"], False)
        assert (await first).json() == ["first"]

    against(server, work, account_limit=1, host_limit=1)


def test_slots_go_to_whoever_has_waited_longest() -> None:
    async def main() -> list[int]:
        limit, order = Limit(1), list[int]()

        async def use(number: int) -> None:
            await limit.acquire("a")
            order.append(number)
            await asyncio.sleep(0)
            limit.release("a")

        await asyncio.gather(*(use(number) for number in range(20)))
        assert len(limit) == 0
        return order

    assert asyncio.run(main()) == list(range(20))


def test_a_limit_lets_somebody_pass() -> None:
    with pytest.raises(ValueError, match="a limit of 0"):
        Limit(0)
