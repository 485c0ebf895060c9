"""What is read from disk while a test runs."""

import pytest

from dynaclr.data.pixels.chunk_files import ChunkFiles


def opened_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Folder of the array, and index in its grid, of every chunk that is opened from now on."""
    opened, original = [], ChunkFiles.open

    def counting(self, array, layout, index):
        opened.append((self._paths[array], index))
        return original(self, array, layout, index)

    monkeypatch.setattr(ChunkFiles, "open", counting)
    return opened
