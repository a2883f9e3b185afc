//! The floor: a process that does nothing but send, at the same schedule, the same sizes, to as many receivers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use segue_bench::load::media::{Story, wallclock};
use segue_bench::load::process::usage;
use segue_bench::load::receive::PLAIN_HEAD;
use segue_bench::load::schedule::{AUDIO_BYTES, Due, Programme, Schedule, VIDEO_BYTES};
use serde::{Deserialize, Serialize};

/// What the child is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub programme: Programme,
    pub warm_up: Duration,
    pub stretch: Duration,
    /// Of each publisher.
    pub receivers: Vec<Vec<SocketAddr>>,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Floor {
    pub packets: u64,
    pub cpu: Duration,
}

/// CPU time of this process.
pub fn own_usage() -> Result<Duration, String> {
    usage(std::process::id()).map(|usage| usage.cpu)
}

/// Runs the plan in a process of its own.
pub fn run_child(plan: &Plan) -> Result<Floor, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program).arg("floor").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let text = serde_json::to_vec(plan).map_err(|error| error.to_string())?;
    // The pipe closes when it is dropped: the child begins then.
    child.stdin.take().ok_or("no pipe")?.write_all(&text).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("the floor's process failed: {error}"))
}

/// The child.
pub fn run() -> Result<(), String> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).map_err(|error| error.to_string())?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(|error| error.to_string())?;
    let sender = Sender { socket, state };
    sender.send_all(&plan, plan.warm_up, false);
    let before = own_usage()?;
    let packets = sender.send_all(&plan, plan.stretch, true);
    let cpu = own_usage()? - before;
    let line = serde_json::to_string(&Floor { packets, cpu }).map_err(|error| error.to_string())?;
    println!("{line}");
    Ok(())
}

struct Sender {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Sender {
    fn send_all(&self, plan: &Plan, stretch: Duration, measured: bool) -> u64 {
        let count = plan.receivers.len();
        let schedule = |index| Schedule::new(plan.programme, index, count);
        let mut schedules: Vec<_> = (0..count).map(schedule).collect();
        let begin = Instant::now();
        let mut packets = 0;
        loop {
            let next = schedules.iter().map(Schedule::next_at).enumerate().min_by_key(|(_, at)| *at);
            let Some((index, at)) = next.filter(|(_, at)| *at < stretch) else { return packets };
            if let Some(wait) = at.checked_sub(begin.elapsed()) {
                std::thread::sleep(wait);
            }
            let (bytes, number) = match schedules[index].pop() {
                Due::Audio => (AUDIO_BYTES, 1),
                Due::Video { from, to, .. } => (VIDEO_BYTES, to - from),
            };
            let run = run_of(bytes, number as usize, Story { sent: wallclock(), measured });
            for &to in &plan.receivers[index] {
                self.send(to, &run, bytes);
            }
            packets += u64::from(number) * plan.receivers[index].len() as u64;
        }
    }

    /// One call: segments of a frame together (UDP GSO), a packet alone as it is.
    fn send(&self, to: SocketAddr, run: &[u8], segment: usize) {
        let segment_size = (run.len() > segment).then_some(segment);
        let transmit = Transmit { destination: to, ecn: None, contents: run, segment_size, src_ip: None };
        // What the kernel does not take is lost.
        let _ = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
    }
}

/// So many packets of so many bytes, each with its story where a receiver looks for it.
fn run_of(bytes: usize, number: usize, story: Story) -> Vec<u8> {
    let mut run = vec![0x5a; bytes * number];
    for packet in run.chunks_exact_mut(bytes) {
        story.write(&mut packet[PLAIN_HEAD..]);
    }
    run
}
