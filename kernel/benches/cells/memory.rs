//! How much memory a kernel and all that it started have, each page counted to those that share it.

/// Megabytes of `process` and its descendants; `None` where the system does not tell.
pub fn of_all(process: u32) -> Option<f64> {
    let mut all = vec![process];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok();
        for task in tasks.into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    let kilobytes: Vec<f64> = all.into_iter().filter_map(proportional).collect();
    (!kilobytes.is_empty()).then(|| kilobytes.iter().sum::<f64>() / 1000.0 * 1.024)
}

/// The proportional set size of a process in kilobytes of 1,024 bytes.
fn proportional(process: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
