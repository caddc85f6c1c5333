"""Pages out of files: JSON or JSON lines, plain or gzipped, read as a stream."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MAX_PAGE_BYTES = 256 * 1024 * 1024
_TOO_LONG = "a page is longer than can be kept"


class FileError(OSError):
    """A file that cannot be read; the message names it."""


@dataclass(frozen=True)
class Chunk:
    """The bytes of one page, and where they stood. line counts from 1; problem says why it is cut off, if it is."""

    content: bytes
    line: int
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether these are all bytes of the page."""
        return not self.problem


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


class _UntilBroken(io.RawIOBase):
    """Ends where the compressed stream below breaks off, and remembers why; what came before can be read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.problem = stream, ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.problem:
            return 0
        try:
            # One read at a time: readinto() would throw away what it had when the stream breaks off.
            content = cast(bytes, self._stream.read1(len(buffer)))  # type: ignore[attr-defined]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.problem = str(error)
            return 0
        buffer[: len(content)] = content
        return len(content)


def _may_be_document(head: bytes) -> bool:
    """Whether the file may be one JSON text over several lines: its first line alone closes none of what it opens."""
    first, _, rest = head.lstrip().partition(b"\n")
    return first.strip().endswith((b"[", b"{", b",")) and bool(rest.strip())


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_chunks(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Chunk]:
    """The pages of a file, one a line, or the whole file where it is one JSON text laid out over several lines.

    A gzip stream that breaks off yields what could be read, then a chunk that says so. Raises FileError.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            counted = io.BufferedReader(_Counting(cast(BinaryIO, file), on_bytes), 1 << 20)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=counted) if magic == b"\x1f\x8b" else counted)
            yield from _chunks(_UntilBroken(stream))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _chunks(source: _UntilBroken) -> Iterator[Chunk]:
    stream = io.BufferedReader(cast(io.RawIOBase, source), 1 << 20)
    if _may_be_document(stream.peek(65_536)):
        document = stream.read(MAX_PAGE_BYTES + 1)
        # JSON lines of which the first is cut off look the same: lines that are JSON by themselves tell them apart.
        lines = [line for line in document.splitlines() if line.lstrip()[:1] in (b"[", b"{")]
        if len(document) > MAX_PAGE_BYTES or _is_json(document) or not any(map(_is_json, lines)):
            too_long = _TOO_LONG if len(document) > MAX_PAGE_BYTES else ""
            yield Chunk(document[:MAX_PAGE_BYTES], 1, source.problem or too_long)
            return
        stream = io.BufferedReader(cast(io.RawIOBase, io.BytesIO(document)))
    line = 0
    while content := stream.readline(MAX_PAGE_BYTES + 1):
        line += 1
        problem = ""
        if len(content) > MAX_PAGE_BYTES and not content.endswith(b"\n"):
            problem = _TOO_LONG
            while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
        elif source.problem and not content.endswith(b"\n") and not stream.peek(1):
            problem = source.problem
        if content.strip():
            yield Chunk(content[:MAX_PAGE_BYTES].strip(b"\r\n"), line, problem)
        if problem and source.problem:
            return
    if source.problem:
        yield Chunk(b"", line + 1, source.problem)
