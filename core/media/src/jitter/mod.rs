//! Jitter buffers: behind the merge, in front of the decoder. Both play at a *playout point*, an offset between media time and
//! `now` that follows how late packets come (see [`delay`](self)), so that audio and video can be moved in lockstep.

mod assembly;
mod audio;
mod delay;
mod stats;
mod video;

pub use audio::{AudioBuffer, AudioPull};
pub use delay::{MAX_TARGET, MIN_TARGET};
pub use stats::{BufferStats, KEYFRAME_INTERVAL};
pub use video::VideoBuffer;
