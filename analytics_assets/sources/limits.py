"""How many calls may be under way at once: by account, by host, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Slots:
    """The slots of one key, and how many hold or await one."""

    __slots__ = ("semaphore", "users")

    def __init__(self, most: int) -> None:
        self.semaphore = asyncio.Semaphore(most)
        self.users = 0


class Limit:
    """At most ``most`` at once of each key, first come, first served. A key that nobody uses takes no memory."""

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"a limit of {most} lets nobody pass; expected 1 or more")
        self.most = most
        self._slots: dict[str, _Slots] = {}

    def __len__(self) -> int:
        """Number of keys in use."""
        return len(self._slots)

    async def acquire(self, key: str) -> None:
        """Waits for a slot of the key; one that is cancelled meanwhile holds none."""
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = _Slots(self.most)
        slots.users += 1
        try:
            await slots.semaphore.acquire()
        except BaseException:
            self._leave(key, slots)
            raise

    def release(self, key: str) -> None:
        """Gives the slot to whoever has waited longest."""
        slots = self._slots[key]
        slots.semaphore.release()
        self._leave(key, slots)

    def _leave(self, key: str, slots: _Slots) -> None:
        slots.users -= 1
        if not slots.users:
            del self._slots[key]


class Limits:
    """The limits of a call. They are waited for in one order, the narrowest first: so nobody waits in a circle."""

    def __init__(self, account_limit: int, host_limit: int, total: int) -> None:
        self.accounts, self.hosts, self.all = Limit(account_limit), Limit(host_limit), Limit(total)

    @asynccontextmanager
    async def slot(self, account: str, host: str) -> AsyncIterator[None]:
        """Holds a slot of each for as long as the block runs."""
        await self.accounts.acquire(account)
        try:
            await self.hosts.acquire(host)
            try:
                await self.all.acquire("")
                try:
                    yield
                finally:
                    self.all.release("")
            finally:
                self.hosts.release(host)
        finally:
            self.accounts.release(account)
