"""Atomic replacement of files, and the lock of the process that writes in a folder."""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What a file system says that has no locks, as some network drives do."""

WITHOUT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What one says that cannot sync a folder."""


class Locked(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it takes the place of `path`, on failure it is removed.

    The new content is on the disk before it takes the place of the old, so that a power cut leaves
    one of the two.

    Raises:
      OSError: it cannot be written; the error names `path`.
    """
    with naming(path):
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner can read
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def remove_temporaries(path: Path) -> None:
    """Remove what `replacing(path)` left behind in processes that were killed within it."""
    for left in path.parent.glob(f".{path.stem}-????????{path.suffix}"):
        left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in WITHOUT_SYNC):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to a system error that lacks it, as that of a full disk does.

    Raises:
      OSError: the same error, with `path` where it had none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock of a file; yield its descriptor, for child processes that must hold it too.

    The system takes the lock away when the process ends, however it ends, and the last child that
    inherited it. The file stays, and says which process had it last.

    Raises:
      Locked: another process holds it; the message names that process.
    """
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise Locked(f"{path.parent} is in use by {holder}") from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            print(
                f"warning: {path} cannot be locked ({error.strerror}): make sure that no other "
                "process uses the folder",
                file=sys.stderr,
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield lock.fileno()
