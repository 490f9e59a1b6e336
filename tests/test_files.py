"""What is written: whole or not at all, with the rights of new files, and nothing that is not ours is touched."""

import os
import stat
from pathlib import Path

import pytest
from fedtwin.core.files import PART, file_name, remove_parts, write_atomically


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kept"
    write_atomically(target, "old")

    def fail(*arguments: object) -> None:
        raise OSError("no space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(OSError, match="no space"):
                write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_obey_the_umask(mask: int, rights: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == rights


def test_only_our_unfinished_files_are_removed(tmp_path: Path) -> None:
    for name in ("precious.tmp", ".tmp", PART.format("0123"), "model.part.zip"):
        (tmp_path / name).write_text("content")
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp", "model.part.zip", "precious.tmp"]


def test_names_of_files_stay_in_their_folder_and_tell_texts_apart() -> None:
    assert file_name("swap_matching") == "swap_matching"
    texts = ["d3qn:../../x/w.safetensors", "d3qn:.._.._x_w.safetensors", "..", ".", "a/b", "a\\b", "a\0b", "ä", ""]
    texts.append("x" * 300)
    names = [file_name(text) for text in texts]
    assert len(set(names)) == len(names)
    for name in names:
        assert name == Path(name).name
        assert name not in ("", ".", "..")
        assert not name.startswith(".")
        assert len(name.encode()) < 200
