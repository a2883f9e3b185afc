//! Sound as it is played, and where it came from.

use std::ops::Deref;

use segue_codec::AudioFrame;

/// 20 ms of sound to play, with the truth about how it came to be. Reads like the [`AudioFrame`] it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayedAudio {
    /// The samples.
    pub frame: AudioFrame,
    /// Where they come from.
    pub playout: Playout,
}

/// Where 20 ms of sound come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Playout {
    /// The sender's frame.
    Decoded,
    /// Lost, and rebuilt from the repair data in the next packet.
    Recovered,
    /// Lost, and made up from what was before it.
    Concealed,
    /// The sender sends nothing.
    Silence,
}

impl Deref for PlayedAudio {
    type Target = AudioFrame;

    fn deref(&self) -> &AudioFrame {
        &self.frame
    }
}
