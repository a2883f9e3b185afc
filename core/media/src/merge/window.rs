//! The window of one layer: which packet numbers came, and which frames they belong to.

use std::time::Instant;

use segue_model::TrackKind;

use crate::packet::Origin;

/// Packets remembered per video layer: over three seconds at 2.5 Mbit/s, more than any leg lags behind another. A power of two.
const VIDEO_WINDOW: usize = 1_024;

/// Packets remembered per audio source: five seconds at 50 packets per second. A power of two.
const AUDIO_WINDOW: usize = 256;

/// Packets a layer may always run ahead by: a burst of several keyframes, or a short outage.
const FREE_JUMP: u64 = 2_048;

/// Packets per second a layer may have run ahead by in addition, for the time nothing of it came: twice what the fastest video
/// we send amounts to (20 Mbit/s). A layer that was paused for a minute is then believed at once.
const MAX_PACKET_RATE: u64 = 4_000;

/// Consistent packets in a row that make us believe that a source began its numbering anew.
const RESTART_PACKETS: u32 = 4;

/// How far apart two packets of such a run may be: consecutive but for a few losses.
const RESTART_STEP: u32 = 16;

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowOutcome {
    Fresh,
    /// Fresh, and the first of a new numbering.
    Restarted,
    Duplicate,
    Late,
    Jump,
}

/// Numbers are extended to 64 bits inside; zero is never a number because the first one is extended above the 32-bit range.
#[derive(Debug)]
pub(super) struct LayerWindow {
    slots: Vec<Slot>,
    highest: Option<u64>,
    newest_frame: u32,
    last_accepted: Option<Instant>,
    stray: Option<StrayRun>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    frame: u32,
    first: bool,
    last: bool,
}

/// Packets in a row that do not fit the window but fit each other.
#[derive(Clone, Copy, Debug)]
struct StrayRun {
    last: u32,
    count: u32,
}

impl LayerWindow {
    pub(super) fn new(kind: TrackKind) -> Self {
        let window = match kind {
            TrackKind::Audio => AUDIO_WINDOW,
            TrackKind::Video => VIDEO_WINDOW,
        };
        Self { slots: vec![Slot::default(); window], highest: None, newest_frame: 0, last_accepted: None, stray: None }
    }

    /// The frame of the highest packet number that came.
    pub(super) fn newest_frame(&self) -> u32 {
        self.newest_frame
    }

    pub(super) fn insert(&mut self, now: Instant, origin: &Origin) -> WindowOutcome {
        let Some(highest) = self.highest else {
            self.advance(now, (1 << 32) | u64::from(origin.packet), origin);
            return WindowOutcome::Fresh;
        };
        let number = extend(highest, origin.packet);
        let fits = if number > highest {
            number - highest <= self.allowed_jump(now)
        } else {
            highest - number < self.slots.len() as u64
        };
        if !fits {
            return self.insert_stray(now, number > highest, origin);
        }
        if self.slot(number).is_some() {
            return WindowOutcome::Duplicate;
        }
        self.stray = None;
        self.last_accepted = Some(now);
        if number > highest {
            self.advance(now, number, origin);
        } else {
            self.put(number, origin);
        }
        WindowOutcome::Fresh
    }

    fn insert_stray(&mut self, now: Instant, ahead: bool, origin: &Origin) -> WindowOutcome {
        let refused = if ahead { WindowOutcome::Jump } else { WindowOutcome::Late };
        let run = match self.stray {
            Some(run) => {
                let step = origin.packet.wrapping_sub(run.last);
                if step > RESTART_STEP {
                    StrayRun { last: origin.packet, count: 1 }
                } else {
                    StrayRun { last: origin.packet, count: run.count + u32::from(step > 0) }
                }
            }
            None => StrayRun { last: origin.packet, count: 1 },
        };
        if run.count < RESTART_PACKETS {
            self.stray = Some(run);
            return refused;
        }
        self.stray = None;
        self.slots.fill(Slot::default());
        self.advance(now, (1 << 32) | u64::from(origin.packet), origin);
        WindowOutcome::Restarted
    }

    fn advance(&mut self, now: Instant, number: u64, origin: &Origin) {
        self.highest = Some(number);
        self.newest_frame = origin.frame;
        self.last_accepted = Some(now);
        self.put(number, origin);
    }

    fn put(&mut self, number: u64, origin: &Origin) {
        let window = self.slots.len();
        if let Some(slot) = self.slots.get_mut(number as usize & (window - 1)) {
            *slot = Slot { number, frame: origin.frame, first: origin.flags.first, last: origin.flags.last };
        }
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(number as usize & (self.slots.len() - 1)).filter(|slot| slot.number == number && number > 0)
    }

    fn allowed_jump(&self, now: Instant) -> u64 {
        let silent = self.last_accepted.map_or(0, |last| now.saturating_duration_since(last).as_millis() as u64);
        FREE_JUMP + silent.saturating_mul(MAX_PACKET_RATE) / 1_000
    }

    /// Marks the frames from `first` on of which something came, as far as `seen` reaches.
    pub(super) fn mark_seen(&self, first: u32, seen: &mut [bool]) {
        for slot in self.newest_first() {
            if is_before(slot.frame, first) {
                return;
            }
            if let Some(mark) = seen.get_mut(slot.frame.wrapping_sub(first) as usize) {
                *mark = true;
            }
        }
    }

    /// Whether a number of this layer is missing that may belong to a frame of `first..=first + span`. `seen` are the frames
    /// of which something came in any layer: a hole between two whole frames can only hold others.
    pub(super) fn lacks(&self, first: u32, span: u32, seen: &[bool]) -> bool {
        let inside = |frame: u32| frame.wrapping_sub(first) <= span;
        let unseen = |frame: u32| inside(frame) && !seen.get(frame.wrapping_sub(first) as usize).copied().unwrap_or(true);
        let mut above: Option<&Slot> = None;
        for slot in self.newest_first() {
            match above {
                // Of the newest frame the rest is yet to come.
                None if !slot.last && inside(slot.frame) => return true,
                Some(above) if above.number - slot.number > 1 => {
                    let between = above.frame.wrapping_sub(slot.frame).min(seen.len() as u32);
                    if (!slot.last && inside(slot.frame))
                        || (!above.first && inside(above.frame))
                        || (1..between).any(|back| unseen(above.frame.wrapping_sub(back)))
                    {
                        return true;
                    }
                }
                _ => {}
            }
            if is_before(slot.frame, first) {
                return false;
            }
            above = Some(slot);
        }
        // The oldest packet there is: the first one of all, or the rest has left the window.
        above.is_some_and(|slot| !slot.first && inside(slot.frame))
    }

    /// The packets in the window from the highest number down.
    fn newest_first(&self) -> impl Iterator<Item = &Slot> {
        let highest = self.highest.unwrap_or(0);
        (0..self.slots.len() as u64).filter_map(move |back| self.slot(highest.checked_sub(back)?))
    }
}

/// Whether a frame number that may have wrapped lies before another.
fn is_before(frame: u32, other: u32) -> bool {
    frame.wrapping_sub(other) > u32::MAX / 2
}

/// The number that ends in `wire` and is nearest to `reference`.
pub(crate) fn extend(reference: u64, wire: u32) -> u64 {
    let forward = wire.wrapping_sub(reference as u32);
    if forward <= u32::MAX / 2 {
        reference.saturating_add(u64::from(forward))
    } else {
        let back = u64::from(forward.wrapping_neg());
        reference.checked_sub(back).unwrap_or_else(|| reference.saturating_add(u64::from(forward)))
    }
}
