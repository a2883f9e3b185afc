//! Uncompressed video files (YUV4MPEG2) as sources.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use segue_model::MediaTime;
use y4m::{Colorspace, Decoder};

use super::{SourceError, VideoSource};
use crate::counter;
use crate::frame::{FramePool, MIN_SIDE, Plane, VideoFrame};

/// Ticks of media time per second.
const CLOCK: f64 = 90_000.0;

/// Frame rate of a file whose header gives none that makes sense.
const FALLBACK_RATE: f32 = 25.0;

/// Plays a file from disk, starts over at its end, and can draw the frame counter into each picture. An odd last row or column is
/// cut off.
pub struct Y4mSource {
    path: PathBuf,
    decoder: Decoder<BufReader<File>>,
    pool: FramePool,
    size: (u32, u32),
    frame_rate: f32,
    stamp: Option<u16>,
    number: u32,
    /// Pictures read since the file was opened: one that has none is not opened again and again.
    read: u32,
}

impl Y4mSource {
    /// Opens a file of 8-bit 4:2:0 pictures. With `stamp` each picture carries that source in its counter.
    ///
    /// # Errors
    /// When the file cannot be read or holds pictures of another kind or size.
    pub fn open(path: &Path, stamp: Option<u16>) -> Result<Self, SourceError> {
        let decoder = open(path)?;
        let unsupported = |what| SourceError::Unsupported { path: path.to_path_buf(), what };
        match decoder.get_colorspace() {
            Colorspace::C420 | Colorspace::C420jpeg | Colorspace::C420paldv | Colorspace::C420mpeg2 => {}
            _ => return Err(unsupported("not 8-bit 4:2:0")),
        }
        let side = |length: usize| u32::try_from(length & !1).unwrap_or(u32::MAX);
        let size = (side(decoder.get_width()), side(decoder.get_height()));
        if size.0 < MIN_SIDE || size.1 < MIN_SIDE {
            return Err(unsupported("pictures are too small"));
        }
        let pool = FramePool::default();
        pool.take(size.0, size.1)?;
        let ratio = decoder.get_framerate();
        let rate = ratio.num as f32 / ratio.den as f32;
        let frame_rate = if (1.0..=120.0).contains(&rate) { rate } else { FALLBACK_RATE };
        Ok(Self { path: path.to_path_buf(), decoder, pool, size, frame_rate, stamp, number: 0, read: 0 })
    }

    /// Plays at another rate than the file says: the same pictures, faster or slower.
    #[must_use]
    pub fn at_rate(mut self, frame_rate: f32) -> Self {
        self.frame_rate = frame_rate.max(1.0);
        self
    }

    fn error(&self, error: &y4m::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), reason: error.to_string() }
    }
}

impl VideoSource for Y4mSource {
    fn next_frame(&mut self) -> Result<VideoFrame, SourceError> {
        let mut picture = self.pool.take(self.size.0, self.size.1)?;
        // The decoder's rows are as wide as the file says, odd widths included.
        let width = self.decoder.get_width();
        let strides = [width, width.div_ceil(2), width.div_ceil(2)];
        let mut frame = self.decoder.read_frame();
        if matches!(frame, Err(y4m::Error::EOF)) && self.read > 0 {
            self.decoder = open(&self.path)?;
            self.read = 0;
            frame = self.decoder.read_frame();
        }
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err(self.error(&error)),
        };
        let planes = [frame.get_y_plane(), frame.get_u_plane(), frame.get_v_plane()];
        for ((plane, source), stride) in Plane::ALL.into_iter().zip(planes).zip(strides) {
            picture.copy_plane(plane, source, stride)?;
        }
        if let Some(source_id) = self.stamp {
            counter::stamp(&mut picture, source_id, self.number);
        }
        let time = MediaTime((f64::from(self.number) * CLOCK / f64::from(self.frame_rate)) as u64);
        self.number = self.number.wrapping_add(1);
        self.read += 1;
        Ok(VideoFrame { picture: Arc::new(picture), time })
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn frame_rate(&self) -> f32 {
        self.frame_rate
    }
}

fn open(path: &Path) -> Result<Decoder<BufReader<File>>, SourceError> {
    let unreadable = |reason: String| SourceError::Read { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    Decoder::new(BufReader::with_capacity(1 << 20, file)).map_err(|error| unreadable(error.to_string()))
}
