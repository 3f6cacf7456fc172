"""A folder of files that are expensive to make, which nobody else can have written.

Each file is kept under a key, with a checksum beside it. Several processes may use the folder at once, and each may be
killed at any time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from sateen.sim.errors import SimulationError

__all__ = ["Cache"]

SUM = ".sha256"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
REMEDY = "set XDG_CACHE_HOME to a folder of your own on a disk with room"


class Cache:
    """A folder of the user's cache.

    Parameters
    ----------
    name : str
        The folder's, made if it is missing.

    Raises
    ------
    SimulationError
        If it cannot be written, or somebody else can write it: its files are code that is loaded.
    """

    def __init__(self, name: str):
        self.folder = user_cache_path("sateen") / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.folder.parent, self.folder):
                self._check(folder)
        except OSError as error:
            raise self._unusable(error) from error

    def get(self, key: str, name: str, make: Callable[[Path], Path]) -> Path:
        """A file, from the cache or made now.

        Parameters
        ----------
        key
            Names all that it depends on.
        name
            The file's name, in a folder named after the key.
        make
            Makes the file in an empty folder, and returns its path there. The folder is removed afterwards.

        Raises
        ------
        SimulationError
            If it cannot be written. What ``make`` raises is left as it is, but for errors of the disk.
        """
        path = self.folder / key / name
        try:
            if self._is_intact(path):
                return path
            with FileLock(self.folder / f"{key}.lock"):
                if not self._is_intact(path):
                    self._make(key, path, make)
        except OSError as error:
            raise self._unusable(error) from error
        return path

    def _make(self, key: str, path: Path, make: Callable[[Path], Path]) -> None:
        # Builds of this key that were killed: while the lock is held, none is under way.
        for abandoned in self.folder.glob(f"building-{key}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f"building-{key}-") as work:
            (build := Path(work) / "build").mkdir()
            (finished := Path(work) / "finished").mkdir()
            shutil.move(make(build), finished / path.name)
            (finished / f"{path.name}{SUM}").write_bytes(_checksum(finished / path.name))
            shutil.rmtree(path.parent, ignore_errors=True)
            finished.rename(path.parent)

    def _is_intact(self, path: Path) -> bool:
        """Whether the file is there, as it was written, by this user."""
        checksum = path.with_name(f"{path.name}{SUM}")
        if not path.is_file() or not checksum.is_file():
            return False
        for each in (path.parent, path, checksum):
            self._check(each)
        return checksum.read_bytes() == _checksum(path)

    def _check(self, path: Path) -> None:
        """A library is code: whoever can write it can do anything in this process's name."""
        found = path.stat()
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & OTHERS_WRITE:
            raise SimulationError(f"{path} can be written by other users, so that its libraries are not safe; {REMEDY}")

    def _unusable(self, error: OSError) -> SimulationError:
        return SimulationError(f"cannot use the cache {self.folder} ({error.strerror or error}); {REMEDY}")


def _checksum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()
