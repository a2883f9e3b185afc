//! Instructions of the relay's path for one packet: the difference of two runs of this program under valgrind, where that is installed.

use std::env;
use std::process::Command;

use super::room::Shape;

/// Packets of the shorter run; the longer one has three times as many.
const PACKETS: u64 = 12_000;

/// Instructions of a packet; `None` without valgrind.
pub fn per_packet(shape: Shape) -> Option<u64> {
    let (short, long) = (count(shape, PACKETS)?, count(shape, 3 * PACKETS)?);
    Some(long.saturating_sub(short) / (2 * PACKETS))
}

fn count(shape: Shape, packets: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .args(["forward-mem", "--once", "--packets", &packets.to_string()])
        .args(["--legs", &shape.legs.to_string(), "--batch", &shape.batch.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}
