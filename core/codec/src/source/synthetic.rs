//! A drawn moving picture: a coloured gradient that drifts, a ball that bounces, and the frame counter across the top.

use std::sync::Arc;

use segue_model::MediaTime;

use super::{SourceError, VideoSource};
use crate::counter;
use crate::frame::{FrameError, FramePool, I420, Plane, VideoFrame};

/// Ticks of media time per second.
const CLOCK: f64 = 90_000.0;

/// Draws pictures of any size at any rate; each source has a tint of its own.
#[derive(Debug)]
pub struct SyntheticSource {
    pool: FramePool,
    size: (u32, u32),
    frame_rate: f32,
    source_id: u16,
    number: u32,
}

impl SyntheticSource {
    /// A source of pictures that carry `source_id` in their counter.
    ///
    /// # Errors
    /// When the size is not one a picture can have.
    pub fn new(width: u32, height: u32, frame_rate: f32, source_id: u16) -> Result<Self, FrameError> {
        let pool = FramePool::default();
        pool.take(width, height)?;
        Ok(Self { pool, size: (width, height), frame_rate: frame_rate.max(1.0), source_id, number: 0 })
    }

    fn draw(&self, picture: &mut I420) {
        let at = self.number;
        for (y, row) in picture.rows_mut(Plane::Y).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                let wave = (x as u32 / 2 + y as u32 / 3 + at) % 256;
                *sample = (60 + wave.min(255 - wave)) as u8;
            }
        }
        let tint = u32::from(self.source_id).wrapping_mul(47);
        for (plane, phase) in [(Plane::U, tint), (Plane::V, tint.wrapping_mul(3).wrapping_add(90))] {
            for (y, row) in picture.rows_mut(plane).enumerate() {
                let wave = (y as u32 + at / 2).wrapping_add(phase) % 192;
                row.fill((80 + wave.min(191 - wave)) as u8);
            }
        }
        self.draw_ball(picture);
    }

    fn draw_ball(&self, picture: &mut I420) {
        let (width, height) = self.size;
        let radius = (width.min(height) / 8).max(2);
        let (x, y) =
            (bounce(self.number * 5, width - 2 * radius) + radius, bounce(self.number * 3, height - 2 * radius) + radius);
        for (row_at, row) in picture.rows_mut(Plane::Y).enumerate() {
            let away = (row_at as u32).abs_diff(y);
            if away >= radius {
                continue;
            }
            let half = (radius * radius - away * away).isqrt();
            for sample in row.iter_mut().take((x + half) as usize).skip((x - half) as usize) {
                *sample = 220;
            }
        }
    }
}

impl VideoSource for SyntheticSource {
    fn next_frame(&mut self) -> Result<VideoFrame, SourceError> {
        let (width, height) = self.size;
        let mut picture = self.pool.take(width, height)?;
        self.draw(&mut picture);
        counter::stamp(&mut picture, self.source_id, self.number);
        let time = MediaTime((f64::from(self.number) * CLOCK / f64::from(self.frame_rate)) as u64);
        self.number = self.number.wrapping_add(1);
        Ok(VideoFrame { picture: Arc::new(picture), time })
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn frame_rate(&self) -> f32 {
        self.frame_rate
    }
}

/// A position that goes from 0 to `range` and back for ever.
fn bounce(distance: u32, range: u32) -> u32 {
    let range = range.max(1);
    let phase = distance % (2 * range);
    phase.min(2 * range - phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_move_and_count() {
        let mut source = SyntheticSource::new(320, 180, 25.0, 9).unwrap();
        let first = source.next_frame().unwrap();
        let second = source.next_frame().unwrap();
        assert_eq!(counter::read(&first.picture), Some((9, 0)));
        assert_eq!(counter::read(&second.picture), Some((9, 1)));
        assert_eq!((first.time, second.time), (MediaTime(0), MediaTime(3_600)));
        assert!(first.picture.luma_psnr(&second.picture).unwrap() < 45.0);
    }
}
