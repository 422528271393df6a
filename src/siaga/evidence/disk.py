"""Writing at a place, and taking the space for it beforehand, so that a disk filled by others can't stop it."""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE = 0x01
"""`FALLOC_FL_KEEP_SIZE` of linux/falloc.h: blocks beyond the end, the file as long as before."""

_libc = ctypes.CDLL(None, use_errno=True)


def preallocate(descriptor: int, length_bytes: int) -> bool:
    """Take the blocks of the file's first `length_bytes`, its length unchanged; False where that is not supported.

    OSError when the disk has no space for it. `os.posix_fallocate` would lengthen the file.
    """
    fallocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if fallocate is None:
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while fallocate(descriptor, _KEEP_SIZE, 0, length_bytes) != 0:
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def write_at(descriptor: int, content: bytes, offset: int) -> None:
    """Write all of it there; OSError when the disk takes less."""
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written
