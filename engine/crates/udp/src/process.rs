//! CPU clocks, CPU affinity and the file limit: what the bench and the start of the engine need from the system.

use crate::system::check;
use std::io;
use std::time::Duration;

/// CPU time all threads of this process have used, user and system.
pub fn process_cpu_time() -> Duration {
    cpu_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time the calling thread has used, user and system.
pub fn thread_cpu_time() -> Duration {
    cpu_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of another process have used, ended threads included; None when there is no such process.
///
/// Nanosecond resolution, where `/proc/<pid>/stat` counts hundredths of a second and `/proc/<pid>/schedstat` only the main thread.
pub fn process_cpu_time_of(pid: u32) -> Option<Duration> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a live clockid_t the call fills; it returns an error number instead of setting errno.
    let result = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    (result == 0).then(|| cpu_clock(clock))
}

fn cpu_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec. The call fails only when another process has just ended; zero is left then.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Lets the calling thread, and threads it starts later, run on this CPU only.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is a plain bit set for which all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: pointer and size describe the live set, which is only read; pid 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit the kernel fills.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live rlimit the kernel reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_clocks_advance_with_work() {
        let (process, thread) = (process_cpu_time(), thread_cpu_time());
        while thread_cpu_time() < thread + Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert!(process_cpu_time() >= process + Duration::from_millis(2));
    }

    #[test]
    fn another_process_is_measured_by_its_id() {
        let own = process_cpu_time_of(std::process::id()).expect("own process");
        assert!(own > Duration::ZERO && own <= process_cpu_time());
        assert_eq!(process_cpu_time_of(u32::MAX), None);
    }

    #[test]
    fn pinning_takes_existing_cpus_only() {
        // In its own thread, as the affinity outlives the call.
        let results = std::thread::spawn(|| (0..4096).map(pin_to_cpu).collect::<Vec<_>>()).join().expect("thread");
        assert!(results.iter().any(Result::is_ok));
        assert!(results.last().is_some_and(Result::is_err));
    }

    #[test]
    fn the_file_limit_is_the_hard_one() {
        let first = raise_file_limit().expect("limit");
        assert_eq!(raise_file_limit().expect("limit"), first);
    }
}
