//! Waking a thread that sleeps on its socket.

use crate::UdpSocket;
use crate::system::check;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes the thread in [`wait`]; clones wake the same thread. A wake sent before the wait is kept.
///
/// Put the work into its queue first, then call [`wake`](Self::wake); the woken thread calls [`drain`](Self::drain) first and looks
/// into the queue after that. Many wakes before one drain cost one system call.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    event: File,
    /// Set from the first wake until the drain: the eventfd is readable or about to be.
    pending: AtomicBool,
}

impl Waker {
    /// Opens an eventfd; an error when the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before use.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was just opened, is valid, and nobody else owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { inner: Arc::new(Inner { event: File::from(owned), pending: AtomicBool::new(false) }) })
    }

    /// Makes the current or next [`wait`] return with `waker` set.
    pub fn wake(&self) {
        if !self.inner.pending.swap(true, Ordering::AcqRel) {
            // Adding 1 to an eventfd fails only when its count is near 2^64; it is readable then anyway.
            let _ = (&self.inner.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Forgets the wakes so far. The queue must be read after this, not before.
    pub fn drain(&self) {
        let mut count = [0; 8];
        // WouldBlock when nothing was pending.
        let _ = (&self.inner.event).read(&mut count);
        // A wake between the read and this swap did not write, but its work is in the queue before the swap reads its flag.
        self.inner.pending.swap(false, Ordering::AcqRel);
    }
}

/// Why [`wait`] returned; both false after a timeout or a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The socket can be read (or has an error to report).
    pub socket: bool,
    /// The waker was used since its last drain.
    pub waker: bool,
}

/// Sleeps until `socket` is readable, `waker` is used or `timeout` has passed (nanosecond resolution).
pub fn wait(socket: &UdpSocket, waker: &Waker, timeout: Duration) -> io::Result<Ready> {
    let mut entries = [socket.as_raw_fd(), waker.inner.event.as_raw_fd()].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: two live pollfd entries with a count of 2, a live timespec that is only read, and no signal mask.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) };
    match check(result) {
        Ok(_) => Ok(Ready { socket: entries[0].revents != 0, waker: entries[1].revents != 0 }),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Ready::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0".parse().expect("address")).expect("bind")
    }

    #[test]
    fn a_wait_without_events_times_out() {
        let waker = Waker::new().expect("waker");
        assert_eq!(wait(&socket(), &waker, Duration::from_micros(1)).expect("wait"), Ready::default());
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_wait() {
        let (socket, waker) = (socket(), Waker::new().expect("waker"));
        let remote = waker.clone();
        let thread = std::thread::spawn(move || remote.wake());
        assert_eq!(wait(&socket, &waker, LIMIT).expect("wait"), Ready { socket: false, waker: true });
        thread.join().expect("thread");
    }

    #[test]
    fn wakes_are_kept_until_drained_and_work_again_after() {
        let (socket, waker) = (socket(), Waker::new().expect("waker"));
        for _ in 0..3 {
            waker.wake();
            waker.wake();
            assert!(wait(&socket, &waker, LIMIT).expect("wait").waker);
            assert!(wait(&socket, &waker, LIMIT).expect("wait").waker, "still pending");
            waker.drain();
            assert!(!wait(&socket, &waker, Duration::ZERO).expect("wait").waker, "drained");
        }
    }

    #[test]
    fn every_message_is_seen_under_concurrent_wakes() {
        let (socket, waker) = (socket(), Waker::new().expect("waker"));
        let (sender, receiver) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (sender, waker) = (sender.clone(), waker.clone());
                std::thread::spawn(move || {
                    for number in 0..1000u32 {
                        sender.send(number).expect("receiver lives");
                        waker.wake();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 4000 {
            assert!(wait(&socket, &waker, LIMIT).expect("wait").waker, "a wake was lost after {seen} messages");
            waker.drain();
            seen += receiver.try_iter().count();
        }
        for thread in threads {
            thread.join().expect("thread");
        }
    }
}
