"""Replace files atomically, and lock a folder for the process that writes in it."""

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
"""Error codes of file systems without locks, such as some network drives."""

WITHOUT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""Error codes of file systems that cannot sync a folder."""


class Locked(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it replaces `path` on success and is removed on failure.

    The new content is on the disk before it replaces the old, so that a power cut leaves one of
    the two intact.

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
    """Remove temporary files left by processes that were killed inside `replacing(path)`."""
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
    """Add the path to a system error that lacks one, such as the error of a full disk.

    Raises:
      OSError: the same error, with `path` if it had no path.
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

    The system releases the lock when the process and all children that inherited it have ended,
    even if they crashed. The file stays, and names the process that last held the lock.

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
        if not _is_still(path, lock.fileno()):
            raise Locked(f"{path.parent} was removed by another process just now")
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield lock.fileno()


def _is_still(path: Path, handle: int) -> bool:
    """Return whether an open file is the one at a path: a run that is refused removes its lock."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
