//! The ladder: all encodings of one capture.

use segue_model::{DataRate, EncodingId, LayerId, MAX_ENCODINGS, MediaTime};

use super::encoder::{Encoder, EncoderConfig, Picture};
use crate::frame::{FramePool, I420, VideoFrame};
use crate::traits::{EncodeError, EncodedVideo, VideoEncoder};

/// Ticks of media time per second.
const CLOCK: f64 = 90_000.0;

/// How much earlier than due a picture may come when an encoding runs slower than the source, as a share of its interval: captures
/// jitter.
const EARLY: f64 = 0.25;

/// Pictures the ladder needs for the smaller sizes: one of each.
const POOL: usize = MAX_ENCODINGS;

/// What the pictures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Faces and rooms.
    Camera,
    /// Text and windows.
    Screen,
}

/// One encoding of a ladder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Which one: 0 full size, 1 half, 2 quarter.
    pub encoding: EncodingId,
    /// Target rate.
    pub rate: DataRate,
    /// Pictures per second; more than the source gives means all of them.
    pub frame_rate: f32,
    /// Encoded from the start.
    pub active: bool,
}

/// What a ladder is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderConfig {
    /// What the pictures show.
    pub usage: Usage,
    /// Leave pictures out when the rate would be exceeded otherwise. Without it every capture is encoded, coarser if need be.
    pub frame_skip: bool,
    /// The encodings, in any order, each once.
    pub rungs: Vec<Rung>,
}

/// Encodes every capture once per active encoding.
///
/// The size of the full encoding is that of the captures; when it changes, all encoders start anew with a keyframe.
#[derive(Debug)]
pub struct H264Ladder {
    usage: Usage,
    frame_skip: bool,
    pool: FramePool,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    rung: Rung,
    encoder: Option<(Encoder, (u32, u32))>,
    keyframe_wanted: bool,
    /// When the next picture is due, in ticks.
    due: f64,
    references: References,
}

/// Counts pictures to say which one a picture refers to.
#[derive(Clone, Copy, Debug, Default)]
struct References {
    since_base: u8,
}

impl LadderConfig {
    /// The usual ladder of a camera: as many encodings as the size is worth (quarter and half size from 640 wide, half from 320), with
    /// rates in proportion to 640x360 at 600 kbit/s.
    #[must_use]
    pub fn camera(width: u32, height: u32, frame_rate: f32) -> Self {
        Self { usage: Usage::Camera, frame_skip: false, rungs: usual_rungs(width, height, frame_rate) }
    }

    /// One encoding of full size for a shared screen.
    #[must_use]
    pub fn screen(rate: DataRate, frame_rate: f32) -> Self {
        let rung = Rung { encoding: EncodingId(0), rate, frame_rate, active: true };
        Self { usage: Usage::Screen, frame_skip: true, rungs: vec![rung] }
    }
}

impl H264Ladder {
    /// A ladder. Encoders are made when the first frame tells its size.
    ///
    /// # Errors
    /// When there is no encoding, one more than once, or one beyond a quarter.
    pub fn new(config: LadderConfig) -> Result<Self, EncodeError> {
        let mut rungs = config.rungs;
        rungs.sort_by_key(|rung| rung.encoding);
        let unique = rungs.windows(2).all(|pair| matches!(pair, [a, b] if a.encoding != b.encoding));
        if rungs.is_empty() || !unique || rungs.iter().any(|rung| usize::from(rung.encoding.0) >= MAX_ENCODINGS) {
            return Err(EncodeError::Refused("set of encodings"));
        }
        if rungs.iter().any(|rung| !rung.frame_rate.is_finite()) {
            return Err(EncodeError::Refused("frame rate"));
        }
        let steps = rungs.into_iter().map(Step::new).collect();
        Ok(Self { usage: config.usage, frame_skip: config.frame_skip, pool: FramePool::new(POOL), steps })
    }

    /// The encodings as they are set now.
    pub fn rungs(&self) -> impl Iterator<Item = Rung> + '_ {
        self.steps.iter().map(|step| step.rung)
    }

    fn step_mut(&mut self, encoding: EncodingId) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.rung.encoding == encoding)
    }
}

impl VideoEncoder for H264Ladder {
    fn encode(&mut self, frame: &VideoFrame) -> Result<Vec<EncodedVideo>, EncodeError> {
        let mut encoded = Vec::with_capacity(self.steps.len());
        let mut smaller: Option<I420> = None;
        let mut size_of_smaller = 0;
        for step in &mut self.steps {
            if !step.is_due(frame.time) {
                continue;
            }
            // Each size is made from the next larger one; those between two active encodings are made on the way.
            while size_of_smaller < step.rung.encoding.0 {
                let larger = smaller.as_ref().unwrap_or(&frame.picture);
                smaller = Some(larger.half(&self.pool).map_err(|_| EncodeError::Shape)?);
                size_of_smaller += 1;
            }
            let picture = smaller.as_ref().unwrap_or(&frame.picture);
            encoded.extend(step.encode(picture, frame.time, self.usage, self.frame_skip)?);
        }
        Ok(encoded)
    }

    fn request_keyframe(&mut self, encoding: EncodingId) {
        if let Some(step) = self.step_mut(encoding) {
            step.keyframe_wanted = true;
        }
    }

    fn set_rate(&mut self, encoding: EncodingId, rate: DataRate) {
        if let Some(step) = self.step_mut(encoding)
            && step.rung.rate != rate
        {
            step.rung.rate = rate;
            if let Some((encoder, _)) = &mut step.encoder {
                encoder.set_rate(rate);
            }
        }
    }

    fn set_frame_rate(&mut self, encoding: EncodingId, frame_rate: f32) {
        if let Some(step) = self.step_mut(encoding)
            && frame_rate.is_finite()
        {
            step.rung.frame_rate = frame_rate;
            if let Some((encoder, _)) = &mut step.encoder {
                encoder.set_frame_rate(frame_rate);
            }
        }
    }

    fn set_active(&mut self, encoding: EncodingId, active: bool) {
        if let Some(step) = self.step_mut(encoding) {
            // Whoever starts to receive an encoding now has seen none of its pictures.
            step.keyframe_wanted |= active && !step.rung.active;
            step.rung.active = active;
        }
    }
}

impl Step {
    fn new(rung: Rung) -> Self {
        Self { rung, encoder: None, keyframe_wanted: false, due: 0.0, references: References::default() }
    }

    /// Whether this encoding takes the picture captured at `time`.
    fn is_due(&mut self, time: MediaTime) -> bool {
        if !self.rung.active {
            return false;
        }
        let now = time.0 as f64;
        let interval = CLOCK / f64::from(self.rung.frame_rate.max(1.0));
        let ahead = self.due - now;
        // Time that jumped, either way (a source that was paused, or replaced), starts a new beat.
        if ahead > EARLY * interval && ahead <= 2.0 * interval {
            return false;
        }
        let next = self.due + interval;
        self.due = if (now..now + 2.0 * interval).contains(&next) { next } else { now + interval };
        true
    }

    fn encode(
        &mut self,
        picture: &I420,
        time: MediaTime,
        usage: Usage,
        frame_skip: bool,
    ) -> Result<Option<EncodedVideo>, EncodeError> {
        let size = (picture.width(), picture.height());
        if self.encoder.as_ref().is_some_and(|(_, current)| *current != size) {
            self.encoder = None;
        }
        let encoder = match &mut self.encoder {
            Some((encoder, _)) => encoder,
            none => {
                let (width, height) = size;
                let Rung { rate, frame_rate, .. } = self.rung;
                let made = Encoder::new(EncoderConfig { width, height, usage, rate, frame_rate, frame_skip })?;
                &mut none.insert((made, size)).0
            }
        };
        if self.keyframe_wanted {
            encoder.force_keyframe()?;
        }
        let result = encoder.encode(picture, time);
        if matches!(result, Err(EncodeError::Library(_))) {
            // After a failure of its own the library's state is not to be trusted: a new encoder, and with it a keyframe.
            self.encoder = None;
        }
        let Some(made) = result? else { return Ok(None) };
        self.keyframe_wanted &= !made.keyframe;
        Ok(Some(self.describe(made, time, size)))
    }

    fn describe(&mut self, made: Picture, time: MediaTime, size: (u32, u32)) -> EncodedVideo {
        let refers_back = self.references.push(&made);
        EncodedVideo {
            layer: LayerId::new(self.rung.encoding.0, made.temporal),
            time,
            keyframe: made.keyframe,
            discardable: made.discardable,
            refers_back,
            size,
            payload: made.payload,
        }
    }
}

impl References {
    /// Distance to the picture that the next one, `made`, refers to. With one reference picture that is the last one which others may
    /// refer to, whichever layer `made` is of.
    fn push(&mut self, made: &Picture) -> u8 {
        let refers_back = if made.keyframe { 0 } else { self.since_base.saturating_add(1) };
        self.since_base = if made.discardable { self.since_base.saturating_add(1) } else { 0 };
        refers_back
    }
}

fn usual_rungs(width: u32, height: u32, frame_rate: f32) -> Vec<Rung> {
    const PIXELS: f64 = 640.0 * 360.0;
    const RATE: f64 = 600_000.0;
    // Smaller pictures need more bits per pixel: the rate falls with the power 0.75 of the area, the rule of thumb of encoder guides.
    const EXPONENT: f64 = 0.75;
    let count = match width.max(height) {
        640.. => 3,
        320.. => 2,
        _ => 1,
    };
    (0..count)
        .map(|encoding: u8| {
            let pixels = f64::from(width >> encoding) * f64::from(height >> encoding);
            let rate = DataRate::bps((RATE * (pixels / PIXELS).powf(EXPONENT)) as u64);
            Rung { encoding: EncodingId(encoding), rate, frame_rate, active: true }
        })
        .collect()
}
