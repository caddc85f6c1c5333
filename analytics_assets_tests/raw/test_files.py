"""Pages out of files: where each one begins, and what a file that breaks off gives."""

import gzip
import json
from pathlib import Path

import pytest

from analytics_assets.raw import files
from analytics_assets.raw.files import FileError, read_chunks

ONE, TWO = b'[{"id": 1}]', b'[{"id": 2}]'


def chunks(folder: Path, content: bytes, name: str = "pages.jsonl") -> list[tuple[bytes, int, bool]]:
    path = folder / name
    path.write_bytes(content)
    return [(chunk.content, chunk.line, chunk.complete) for chunk in read_chunks(path)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n \r\n\n", []),
        (ONE, [(ONE, 1)]),
        (ONE + b"\n" + TWO, [(ONE, 1), (TWO, 2)]),
        (ONE + b"\r\n" + TWO + b"\r\n", [(ONE, 1), (TWO, 2)]),
        (b"\n\n" + ONE + b"\n\t\n" + TWO + b"\n\n", [(ONE, 3), (TWO, 5)]),
        (b"\xef\xbb\xbf" + ONE + b"\n" + TWO, [(b"\xef\xbb\xbf" + ONE, 1), (TWO, 2)]),
        (b"[]\n[\n", [(b"[]", 1), (b"[", 2)]),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_page_a_line_with_its_number(
    tmp_path: Path, content: bytes, expected: list[tuple[bytes, int]], compressed: bool
) -> None:
    found = chunks(tmp_path, gzip.compress(content) if compressed else content)
    assert found == [(page, line, True) for page, line in expected]


@pytest.mark.parametrize(
    "document",
    [
        json.dumps([{"id": 1, "lines": [{"q": 1}]}, {"id": 2}], indent=2).encode(),
        json.dumps({"id": 1, "lines": []}, indent="\t").replace("\n", "\r\n").encode(),
        b'\xef\xbb\xbf[\n{"id": 1},\n{"id": 2}\n]\n',
        b'[{"id": 1},\n {"id": 2}]',
        b'\n\n[\n{"id": 1}\n]',
    ],
)
def test_one_json_text_over_many_lines_is_one_page(tmp_path: Path, document: bytes) -> None:
    assert chunks(tmp_path, document) == [(document, 1, True)]
    assert chunks(tmp_path, gzip.compress(document), "pages.json.gz") == [(document, 1, True)]


@pytest.mark.parametrize("broken", [b'[{"id": 1, "lines": [', b'[{"id": 1},', b'[{"id": 1, "x": {', b"["])
def test_cut_off_first_line_does_not_take_the_pages_after_it_along(tmp_path: Path, broken: bytes) -> None:
    found = chunks(tmp_path, broken + b"\n" + ONE + b"\n\n" + TWO + b"\n")
    assert found == [(broken, 1, True), (ONE, 2, True), (TWO, 4, True)]


def test_cut_off_document_is_one_broken_page(tmp_path: Path) -> None:
    document = json.dumps([{"id": 1, "lines": [{"q": 1}]}], indent=2).encode()[:-4]
    assert chunks(tmp_path, document) == [(document, 1, True)]


def test_gzip_that_breaks_off_gives_what_could_be_read(tmp_path: Path) -> None:
    lines = [json.dumps([{"id": i, "noise": [(i * j * 7919) % 10_007 for j in range(200)]}]).encode() for i in range(1, 400)]
    packed = gzip.compress(b"\n".join(lines))
    *whole, last = chunks(tmp_path, packed[: len(packed) // 2], "half.jsonl.gz")
    assert 10 < len(whole) < 390
    assert whole == [(line, number, True) for number, line in enumerate(lines[: len(whole)], 1)]
    assert last[1:] == (len(whole) + 1, False)
    assert lines[len(whole)].startswith(last[0]) and last[0]


def test_gzip_without_its_end_says_so_after_the_last_line(tmp_path: Path) -> None:
    *whole, last = list(_read(tmp_path / "a.gz", gzip.compress(ONE + b"\n" + TWO + b"\n")[:-8]))
    assert [(c.content, c.line, c.complete) for c in whole] == [(ONE, 1, True), (TWO, 2, True)]
    assert (last.line, last.complete) == (3, False)
    assert "end-of-stream" in last.problem


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(ONE + b"\n" + TWO + b"\n"))
    packed[-8] ^= 0xFF
    damaged = list(_read(tmp_path / "a.gz", bytes(packed)))
    assert not damaged[-1].complete and "CRC" in damaged[-1].problem
    noise = list(_read(tmp_path / "b.gz", b"\x1f\x8b no gzip at all"))
    assert [(c.line, c.complete) for c in noise] == [(1, False)]


def _read(path: Path, content: bytes) -> list[files.Chunk]:
    path.write_bytes(content)
    return list(read_chunks(path))


def test_overlong_line_is_one_incomplete_page_and_the_next_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_PAGE_BYTES", 20)
    found = chunks(tmp_path, ONE + b"\n" + b"x" * 95 + b"\n" + TWO + b"\n")
    assert found == [(ONE, 1, True), (b"x" * 20, 2, False), (TWO, 3, True)]


def test_bytes_read_add_up_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join([ONE] * 1_000)))
    counts: list[int] = []
    assert len(list(read_chunks(path, counts.append))) == 1_000
    assert sum(counts) == path.stat().st_size


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=str(tmp_path / name)):
        list(read_chunks(tmp_path / name))
