"""A trade file as blocks of whole lines: plain or gzip, in bounded memory whatever it holds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pipeline.errors import InputFileError

BLOCK_BYTES: Final = 4 * 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
"""A longer line is no trade. Its head is kept to be shown, the rest is passed over unread."""
_HEAD_BYTES: Final = 4_000
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Block(NamedTuple):
    """``data`` is whole lines, each ending in a newline; ``line`` and ``last`` are their numbers.

    ``end`` is the offset behind them in the unpacked file.
    """

    line: int
    last: int
    end: int
    data: bytes


class Unreadable(NamedTuple):
    """A line that is not handed out, or the place where a damaged file ends."""

    line: int
    reason: str
    head: bytes


class LineFile:
    """One input file, read once from start to end. Use as a context manager, and read the header first.

    Lines end with a newline byte, nothing else: line numbers are those of an editor, also in gzip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = 1
        self._offset = 0
        self._rest = b""
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise InputFileError(f"{path}: {error.strerror}") from None
        self.size = path.stat().st_size
        self._reader: BinaryIO = self._raw
        if self._raw.read(2) == _GZIP_MAGIC:
            self._reader = gzip.GzipFile(fileobj=self._raw)  # type: ignore[assignment]
        self._raw.seek(0)

    def __enter__(self) -> LineFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def tell(self) -> int:
        """Bytes of the file, as it lies on the disk, that were read."""
        return self._raw.tell()

    def skip_to(self, offset: int, line: int) -> None:
        """Go on at ``offset`` (a block's ``end``), where line number ``line`` begins."""
        try:
            self._reader.seek(offset)
        except (OSError, EOFError, zlib.error) as error:
            raise InputFileError(f"{self.path}: is not the file it was: {error}") from None
        self._line, self._offset, self._rest = line, offset, b""

    def header(self) -> str:
        """The first line. InputFileError if there is none, or it cannot be read."""
        try:
            line = self._reader.readline(MAX_LINE_BYTES)
            text = line.decode("utf-8-sig").strip("\r\n")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise InputFileError(f"{self.path}: the header cannot be read: {error}") from None
        if not text:
            raise InputFileError(f"{self.path}: is empty, or its first line is: there is no header")
        self._line = 2
        self._offset = len(line)
        return text

    def blocks(self) -> Iterator[Block | Unreadable]:
        """Everything after the header, in order."""
        while True:
            try:
                chunk = self._reader.read(BLOCK_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                yield Unreadable(self._line, "file is damaged or cut off", str(error).encode())
                return
            if not chunk:
                break
            yield from self._cut(self._rest + chunk)
        if self._rest:
            yield from self._cut(self._rest + b"\n")

    def _cut(self, data: bytes) -> Iterator[Block | Unreadable]:
        end = data.rfind(b"\n") + 1
        if end:
            first = self._line
            self._line += data.count(b"\n")
            self._offset += end
            yield Block(first, self._line - 1, self._offset, data[:end])
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE_BYTES:
            yield from self._pass_over()

    def _pass_over(self) -> Iterator[Unreadable]:
        """Skip the rest of an endless line."""
        self._offset += len(self._rest)
        head, self._rest = self._rest[:_HEAD_BYTES], b""
        yield Unreadable(self._line, TOO_LONG, head)
        self._line += 1
        while chunk := self._reader.readline(BLOCK_BYTES):
            self._offset += len(chunk)
            if chunk.endswith(b"\n"):
                return


TOO_LONG: Final = f"line is longer than {MAX_LINE_BYTES} bytes"
