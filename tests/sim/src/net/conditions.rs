//! What a path does to packets.

use serde::Deserialize;

use crate::rng::{Rng, mix};

/// Bursts are decided for so much time at once.
pub const SLOT_MS: u64 = 20;

/// Of one direction of one path.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// One way.
    pub delay_ms: f64,
    /// Added to it, even between none and this. Packets still do not overtake.
    pub jitter_ms: f64,
    /// Share of the packets lost, each by itself.
    pub loss: f64,
    /// Losses in bursts besides.
    pub burst: Option<Burst>,
    /// Share of the packets that come twice.
    pub duplicate: f64,
    /// Share of the packets that are held up and overtaken.
    pub reorder: f64,
    /// By how much.
    pub reorder_ms: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { delay_ms: 12.5, jitter_ms: 0.0, loss: 0.0, burst: None, duplicate: 0.0, reorder: 0.0, reorder_ms: 10.0 }
    }
}

/// A Gilbert-Elliott channel, in steps of [`SLOT_MS`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// From good to bad, per step.
    pub enter: f64,
    /// From bad to good, per step.
    pub leave: f64,
    /// Share of the packets lost while it is bad.
    pub loss: f64,
}

impl Conditions {
    /// Share of the packets lost in the long run.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        either(self.loss, self.burst)
    }

    /// Chance has a part in what it does to packets, other than the same in every run.
    #[must_use]
    pub fn is_fickle(&self) -> bool {
        self.loss > 0.0 || self.burst.is_some() || self.jitter_ms > 0.0 || self.reorder > 0.0 || self.duplicate > 0.0
    }
}

impl Burst {
    /// Share of the packets lost in the long run.
    fn mean_loss(self) -> f64 {
        if self.enter > 0.0 { self.loss * self.enter / (self.enter + self.leave) } else { 0.0 }
    }
}

impl Common {
    /// Share of the packets lost in the long run.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        either(self.loss, self.burst)
    }
}

/// Lost by one cause or the other.
fn either(loss: f64, burst: Option<Burst>) -> f64 {
    1.0 - (1.0 - loss) * (1.0 - burst.map_or(0.0, Burst::mean_loss))
}

/// What befalls the media of one participant on its way to another, by whatever path: the same packets are lost and late in a run that
/// changes the path and in one that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Share of the packets lost, each by itself.
    pub loss: f64,
    /// Losses in bursts besides.
    pub burst: Option<Burst>,
    /// Added to the delay, even between none and this.
    pub jitter_ms: f64,
    /// Share of feedback and heartbeats lost on each path; so many messages of reliable connections have to be sent again.
    pub control_loss: f64,
}

/// The states of a Gilbert-Elliott channel, as far as anybody asked.
#[derive(Debug)]
pub struct Chain {
    rng: Rng,
    states: Vec<bool>,
}

impl Chain {
    /// Good to begin with.
    pub const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(mix(seed)), states: Vec::new() }
    }

    /// Whether it is bad in a step.
    pub fn is_bad(&mut self, burst: Burst, slot: u64) -> bool {
        while self.states.len() as u64 <= slot {
            let bad = self.states.last().copied().unwrap_or(false);
            let changes = self.rng.chance(if bad { burst.leave } else { burst.enter });
            self.states.push(bad != changes);
        }
        self.states[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_lose_in_the_mean_what_their_channel_loses() {
        let burst = Burst { enter: 0.01, leave: 0.35, loss: 0.6 };
        let mut chain = Chain::new(7);
        let slots = 1_000_000;
        let bad = (0..slots).filter(|slot| chain.is_bad(burst, *slot)).count() as f64 / slots as f64;
        assert!((bad * burst.loss - burst.mean_loss()).abs() < 0.001, "{bad} against {}", burst.mean_loss());
        let both = Common { loss: 0.5, burst: Some(Burst { enter: 1.0, leave: 0.0, loss: 0.5 }), ..Common::default() };
        assert!((both.mean_loss() - 0.75).abs() < 1e-9);
    }
}
