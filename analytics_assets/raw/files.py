"""Pages out of files: JSON or JSON lines, plain or gzipped, read as a stream."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MAX_PAGE_BYTES = 256 * 1024 * 1024


class FileError(OSError):
    """A file that cannot be read; the message names it."""


@dataclass(frozen=True)
class Chunk:
    """The bytes of one page, and where they stood. line counts from 1; complete is False for a cut-off rest."""

    content: bytes
    line: int
    complete: bool = True


class _Counting(io.RawIOBase):
    """Tells how many bytes of the file itself, compressed or not, have been read."""

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._stream, self._on_bytes = stream, on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._on_bytes(count)
        return cast(int, count)


def _is_document(head: bytes) -> bool:
    """Whether the file is one JSON text over several lines: its first line alone closes none of what it opens."""
    first = head.lstrip().split(b"\n", 1)[0].strip()
    return first in (b"[", b"{", b"[{") or (first.endswith((b"[", b"{", b",")) and b"\n" in head)


def read_chunks(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Chunk]:
    """The pages of a file, one a line, or the whole file where it is one JSON text laid out over several lines.

    A gzip stream that breaks off yields what could be read, then a chunk that is not complete. Raises FileError.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            counted = io.BufferedReader(_Counting(cast(BinaryIO, file), on_bytes), 1 << 20)
            if magic == b"\x1f\x8b":
                stream: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=counted))
            else:
                stream = cast(BinaryIO, counted)
            yield from _chunks(io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _chunks(stream: io.BufferedReader) -> Iterator[Chunk]:
    line = 0
    rest = b""
    try:
        if _is_document(stream.peek(65_536)):
            rest = stream.read(MAX_PAGE_BYTES + 1)
            yield Chunk(rest, 1, complete=len(rest) <= MAX_PAGE_BYTES)
            return
        while rest := stream.readline(MAX_PAGE_BYTES + 1):
            line += 1
            if rest.strip():
                yield Chunk(rest.strip(b"\r\n"), line, complete=len(rest) <= MAX_PAGE_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Chunk(f"{type(error).__name__}: {error}".encode(), line + 1, complete=False)
