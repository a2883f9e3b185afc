//! One measured stretch of a server, and one of its floor.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use segue_bench::load::leg::Identity;
use segue_bench::load::publish::{Publishers, Sent};
use segue_bench::load::receive::{Counts, Receivers, Sink, Waiting};
use segue_bench::load::schedule::Programme;
use segue_bench::load::stats::{Delays, median};
use serde::Serialize;

use crate::call::{Call, Shape};
use crate::floor::{self, Plan};

/// Before what is measured: queues, caches and branch predictors get warm, every receiver gets a keyframe.
const WARM_UP: Duration = Duration::from_secs(1);

/// Of a stretch's packets so many may leave late: beyond it the pace is not what it is called, and the stretch is measured again.
const LATE_SHARE: f64 = 0.01;

/// After it: what is on its way arrives.
const DRAIN: Duration = Duration::from_millis(300);

/// Longest stretch that is measured.
const MAX_SECONDS: f64 = 3_600.0;

/// Most stretches whose figures are put together.
const MAX_ROUNDS: usize = 1_000;

/// Reads the length of a stretch.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.5..=MAX_SECONDS).contains(seconds));
    seconds.ok_or_else(|| format!("a stretch lasts 0.5 to {MAX_SECONDS} seconds"))
}

/// Reads how many stretches there are.
pub fn rounds(text: &str) -> Result<usize, String> {
    let rounds = text.parse().ok().filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
    rounds.ok_or_else(|| format!("there are 1 to {MAX_ROUNDS} stretches"))
}

/// A call whose media flows.
pub struct Flow {
    pub call: Call,
    pub receivers: Receivers,
    pub publishers: Publishers,
}

/// One stretch of a server.
pub struct Stretch {
    /// Microseconds of CPU a packet that arrived.
    pub cost: f64,
    pub sent: Sent,
    pub counts: Counts,
    pub expected: u64,
}

/// One stretch of bare sends.
pub struct Bare {
    /// Microseconds of CPU a packet.
    pub cost: f64,
    pub delays: Delays,
}

/// Stretches of one kind, in turns with nothing else.
pub struct Rounds {
    pub stretches: Vec<Stretch>,
    pub floors: Vec<Bare>,
    /// Cores the generator kept busy.
    pub generator: f64,
    /// Stretches left out because the generator was late.
    pub unfit: usize,
}

impl Flow {
    /// Gives the legs of a call to threads that send and receive.
    pub fn start(identity: &Arc<Identity>, mut call: Call, waiting: Waiting) -> Result<Self, String> {
        let legs = std::mem::take(&mut call.players);
        let sinks = legs.into_iter().map(|leg| Sink::Leg(Box::new(leg))).collect();
        let receivers = Receivers::start(identity.clone(), sinks, waiting)?;
        let publishers = Publishers::new(identity.clone(), std::mem::take(&mut call.publishers));
        Ok(Self { call, receivers, publishers })
    }

    /// Measures a server for so long.
    pub fn measure(
        &mut self,
        programme: Programme,
        warm_up: Duration,
        stretch: Duration,
        receivers: usize,
    ) -> Result<Stretch, String> {
        self.publishers.run(programme, warm_up, false);
        let _ = self.receivers.take();
        let before = self.call.usage()?.unwrap_or_default();
        let sent = self.publishers.run(programme, stretch, true);
        std::thread::sleep(DRAIN);
        let after = self.call.usage()?.unwrap_or_default();
        let counts = self.receivers.take();
        let expected = sent.packets.iter().sum::<u64>() * receivers as u64;
        let received = counts.measured.iter().sum::<u64>().max(1);
        let cost = (after.cpu.saturating_sub(before.cpu)).as_secs_f64() * 1e6 / received as f64;
        Ok(Stretch { cost, sent, counts, expected })
    }
}

impl Stretch {
    /// The generator kept its pace.
    fn is_fit(&self) -> bool {
        self.sent.late as f64 <= LATE_SHARE * self.sent.packets.iter().sum::<u64>() as f64
    }
}

/// Measures the bare sends of the same programme to as many receivers, in a process of their own.
pub fn measure_floor(programme: Programme, stretch: Duration, shape: Shape, waiting: Waiting) -> Result<Bare, String> {
    let bind = || UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string());
    let sockets = (0..shape.legs()).map(|_| bind()).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().map(|socket| socket.local_addr().map_err(|error| error.to_string()));
    let addresses = addresses.collect::<Result<Vec<SocketAddr>, _>>()?;
    let receivers = addresses.chunks(shape.receivers).map(<[SocketAddr]>::to_vec).collect();
    for socket in &sockets {
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    }
    let threads = Receivers::start(Arc::new(Identity::generate()?), sockets.into_iter().map(Sink::Plain).collect(), waiting)?;
    let floor = floor::run_child(&Plan { programme, warm_up: WARM_UP, stretch, receivers })?;
    std::thread::sleep(DRAIN);
    let [_, delays] = threads.take().delays;
    drop(threads.stop());
    Ok(Bare { cost: floor.cpu.as_secs_f64() * 1e6 / floor.packets.max(1) as f64, delays })
}

impl Rounds {
    /// So many stretches of the server, and of the floor after it.
    pub fn measure(
        flow: &mut Flow,
        programme: Programme,
        stretch: Duration,
        shape: Shape,
        rounds: usize,
        waiting: Waiting,
    ) -> Result<Self, String> {
        let (own, begin) = (floor::own_usage()?, std::time::Instant::now());
        let rounds = rounds.max(1);
        let (mut stretches, mut unfit) = (Vec::new(), 0);
        while stretches.len() < rounds {
            let measured = flow.measure(programme, WARM_UP, stretch, shape.receivers)?;
            // On a machine that never has time for it, some figure is better than none; the line tells.
            if measured.is_fit() || unfit >= 2 * rounds {
                stretches.push(measured);
            } else {
                unfit += 1;
            }
        }
        let generator = (floor::own_usage()? - own).as_secs_f64() / begin.elapsed().as_secs_f64();
        let floors = (0..rounds).map(|_| measure_floor(programme, stretch, shape, waiting)).collect::<Result<_, _>>()?;
        Ok(Self { stretches, floors, generator, unfit })
    }

    /// Microseconds of CPU a packet, the median of the stretches.
    pub fn cost(&self) -> f64 {
        median(&self.costs())
    }

    /// Of the floor.
    pub fn floor(&self) -> f64 {
        median(&self.floor_costs())
    }

    pub fn costs(&self) -> Vec<f64> {
        self.stretches.iter().map(|stretch| stretch.cost).collect()
    }

    pub fn floor_costs(&self) -> Vec<f64> {
        self.floors.iter().map(|floor| floor.cost).collect()
    }

    /// Packets that arrived, of those that count.
    pub fn received(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.counts.measured.iter().sum::<u64>()).sum()
    }

    /// Packets that did not.
    pub fn lost(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.expected).sum::<u64>().saturating_sub(self.received())
    }

    /// Delays of audio (0) or video (1).
    pub fn delays(&self, kind: usize) -> Delays {
        let mut all = Delays::default();
        self.stretches.iter().for_each(|stretch| all.extend(&stretch.counts.delays[kind]));
        all
    }

    pub fn floor_delays(&self) -> Delays {
        let mut all = Delays::default();
        self.floors.iter().for_each(|floor| all.extend(&floor.delays));
        all
    }

    /// A figure of what was sent, summed up.
    pub fn sent(&self, of: fn(&Sent) -> u64) -> u64 {
        self.stretches.iter().map(|stretch| of(&stretch.sent)).sum()
    }

    /// A figure of what arrived, summed up.
    pub fn arrived(&self, of: fn(&Counts) -> u64) -> u64 {
        self.stretches.iter().map(|stretch| of(&stretch.counts)).sum()
    }
}

/// A JSON line, or the same for people.
pub fn print(line: &impl Serialize, as_json: bool) {
    let json = serde_json::to_string(line).unwrap_or_default();
    if as_json {
        println!("{json}");
    } else {
        println!("{}", json.trim_matches(['{', '}']).replace(",\"", "  \"").replace('"', ""));
    }
}
