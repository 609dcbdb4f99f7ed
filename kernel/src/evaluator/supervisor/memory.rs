//! How much memory the learner's process may have: less than the machine, or the container, has to give, so that it is ended with a word and not by the
//! system, which may take the kernel, or the browser, instead.

use nix::unistd::Pid;

/// Sets the limit: bytes, or with K, M, G behind them. 0: none.
pub const LIMIT: &str = "THREADBOOK_MEMORY_LIMIT";

/// The limit in bytes; `None` for none.
pub fn limit() -> Option<u64> {
    if let Some(bytes) = std::env::var(LIMIT).ok().and_then(|text| parse(&text)) {
        return (bytes > 0).then_some(bytes);
    }
    let there = [cgroup_limit(), machine_total()];
    there.into_iter().flatten().min().map(|bytes| bytes / 4 * 3)
}

/// How much of it a process has now, in bytes. 0 when it is gone, or where that cannot be known.
pub fn used(pid: Pid) -> u64 {
    let resident = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    // SAFETY: asks the system for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    resident.unwrap_or(0) * u64::try_from(page).unwrap_or(4096)
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// The smallest limit of the control groups that this process is in: cgroup v2, or the memory controller of v1.
fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut smallest = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the group may be its own root: then only that is to be seen.
        let below = std::path::Path::new(path.trim_start_matches('/'));
        for group in below.ancestors() {
            let path = std::path::Path::new(root).join(group).join(file);
            let limit = std::fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            smallest = [smallest, limit].into_iter().flatten().min();
        }
    }
    smallest
}

fn machine_total() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_people_write_it() {
        for (text, want) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            (" 512M ", Some(512 << 20)),
            ("2g", Some(2 << 30)),
            ("3 K", Some(3072)),
            ("", None),
            ("M", None),
            ("much", None),
            ("-1", None),
            ("99999999999999G", None),
        ] {
            assert_eq!(parse(text), want, "{text:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_some_and_less_than_there_is() {
        let used = used(Pid::this());
        assert!(used > 1 << 20, "{used}");
        assert!(used < machine_total().expect("on Linux"));
    }
}
