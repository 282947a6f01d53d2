//! Thin checked forms of the system calls more than one module needs.

use std::io;
use std::os::fd::RawFd;

/// Turns the -1 of a system call into the error in errno.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets an integer socket option.
pub(crate) fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value pointer is to a live c_int and the length is its size; the kernel only reads it. A wrong fd is an error, not UB.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) }).map(drop)
}

/// Reads an integer socket option.
pub(crate) fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live variables of the types the call expects; the kernel writes at most `length` bytes to `value`.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// Waits for `events` on one descriptor; true when any came. An interrupted wait counts as nothing.
pub(crate) fn poll_one(fd: RawFd, events: libc::c_short, timeout_ms: libc::c_int) -> bool {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one live pollfd and a count of 1.
    unsafe { libc::poll(&raw mut entry, 1, timeout_ms) > 0 }
}
