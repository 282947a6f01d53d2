//! What the system knows about this process (proc(5)); Linux only, elsewhere nothing is reported.

use std::fs;
use std::time::Duration;

/// Linux counts CPU time for userland in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Numbers under their dotted names.
pub fn statistics() -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let number = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        all.extend(number("VmRSS:").map(|kibibytes| ("process.rss_bytes", kibibytes * 1024)));
        all.extend(number("Threads:").map(|threads| ("process.threads", threads)));
    }
    // Reading the directory opens one more.
    all.extend(fs::read_dir("/proc/self/fd").ok().map(|fds| ("process.fds", fds.count().saturating_sub(1) as u64)));
    let cpu = cpu_time().and_then(|cpu| u64::try_from(cpu.as_millis()).ok());
    all.extend(cpu.map(|milliseconds| ("process.cpu_ms", milliseconds)));
    all
}

/// CPU time used since the start, all threads together.
pub fn cpu_time() -> Option<Duration> {
    cpu_time_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of `/proc/self/stat`. The second field, the name, may hold spaces and parentheses.
fn cpu_time_of(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_strange_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0";
        assert_eq!(cpu_time_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_time_of(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let all = statistics();
        for name in ["process.rss_bytes", "process.fds", "process.threads"] {
            assert!(all.iter().any(|(known, value)| *known == name && *value > 0), "{name}");
        }
    }
}
