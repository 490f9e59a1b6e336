"""Files written whole or not at all, and read only up to a limit."""

import hashlib
import os
import re
import secrets
from pathlib import Path

PART = ".fedtwin-{}.tmp"
"""What an unfinished file is called; nothing else is ever removed from a folder."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    It has the rights that the process gives new files. Where writing fails, the old content stays and nothing is left.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    part = path.parent / PART.format(secrets.token_hex(8))
    try:
        with part.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a folder."""
    for part in folder.glob(PART.format("*")):
        part.unlink(missing_ok=True)


def file_name(text: str) -> str:
    """Return the name of a file or folder for any text: the text where that is safe, else told apart by a digest."""
    safe = re.sub(r"[^A-Za-z0-9_.=+-]", "_", text).lstrip(".")[:100]
    return text if text and safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_limited(path: Path, most: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has more than `most` bytes.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise ValueError(f"{path} has {size} bytes, must have at most {most}")
        return stream.read(size)
