//! CPU time and memory of the process under test.

use std::fs;
use std::time::Duration;

/// The server's process; every figure is None when it is not there (a server on another machine is measured there).
#[derive(Clone, Copy, Debug)]
pub struct ServerProcess {
    pid: Option<u32>,
}

impl ServerProcess {
    pub fn new(pid: Option<u32>) -> Self {
        Self { pid }
    }

    /// User and system time of all its threads.
    pub fn cpu_time(self) -> Option<Duration> {
        tallylight_udp::process_cpu_time_of(self.pid?)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(self) -> Option<u64> {
        resident_bytes(&fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?)
    }
}

/// `VmRSS` of a `/proc/<pid>/status`; the kernel counts it in KiB (proc(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn a_live_process_has_figures_and_a_missing_one_has_none() {
        let own = ServerProcess::new(Some(std::process::id()));
        assert!(own.cpu_time().is_some() && own.resident_bytes().is_some_and(|bytes| bytes > 0));
        let missing = ServerProcess::new(None);
        assert_eq!((missing.cpu_time(), missing.resident_bytes()), (None, None));
    }
}
