//! Recorded links: lines of `start_ms capacity_kbps`, comments with `#`, of which `# duration_ms: N` is read.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::link::Capacity;

/// Name, capacity and length of every trace in a folder, by name.
pub fn read_all(folder: &Path) -> Result<Vec<(String, Capacity, Duration)>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<(String, Capacity, Duration), String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (steps, period) = parse(&text).ok_or_else(|| format!("{}: not a trace", path.display()))?;
    Ok((name, Capacity::repeating(&steps, period), period))
}

fn parse(text: &str) -> Option<(Vec<(u64, u64)>, Duration)> {
    let duration = text.lines().find_map(|line| line.strip_prefix("# duration_ms:"))?.trim().parse().ok()?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let steps: Option<Vec<(u64, u64)>> = lines
        .map(|line| {
            let (at, kbps) = line.split_once(' ')?;
            Some((at.parse().ok()?, kbps.trim().parse().ok()?))
        })
        .collect();
    let steps = steps.filter(|steps| steps.iter().any(|(_, kbps)| *kbps > 0) && duration > 0)?;
    Some((steps, Duration::from_millis(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_give_the_length_and_lines_the_capacity() {
        let trace = parse("# name\n# duration_ms: 1000\n0 100\n500 0\n");
        assert_eq!(trace, Some((vec![(0, 100), (500, 0)], Duration::from_secs(1))));
        assert_eq!(parse("# duration_ms: 1000\n0 x\n"), None);
        assert_eq!(parse("0 100\n"), None);
    }
}
