//! Pictures: planar YUV 4:2:0 (I420) in pooled buffers.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use segue_model::MediaTime;

/// Smallest width and height of a picture: one macroblock, below which OpenH264 refuses.
pub const MIN_SIDE: u32 = 16;

/// Largest width and height of a picture. Together with [`MAX_PIXELS`] it bounds what a pool allocates for one frame.
pub const MAX_SIDE: u32 = 4096;

/// Most pixels of a picture: 4K UHD, beyond which no call goes (one frame is then 12.4 MB).
pub const MAX_PIXELS: u32 = 3840 * 2160;

/// Rows start at multiples of this many bytes, so that vector code reads whole registers.
const STRIDE_ALIGNMENT: usize = 32;

/// Luma of black in studio range.
const BLACK_LUMA: u8 = 16;

/// Chroma of grey.
const NEUTRAL_CHROMA: u8 = 128;

/// One of the three planes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Brightness, full size.
    Y,
    /// Blue difference, half size in both directions.
    U,
    /// Red difference, half size in both directions.
    V,
}

impl Plane {
    /// All three, in memory order.
    pub const ALL: [Self; 3] = [Self::Y, Self::U, Self::V];
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Odd, too small or too large.
    #[error("picture of {0}x{1} pixels is odd, too small or too large")]
    Size(u32, u32),
    /// The planes handed in are shorter than the size says.
    #[error("plane is shorter than its size says")]
    Short,
    /// All frames of the pool are in use.
    #[error("all frames of the pool are in use")]
    Exhausted,
}

/// A picture of even width and height. Its buffer goes back to the pool it came from when the picture is dropped.
pub struct I420 {
    width: u32,
    height: u32,
    buffer: Buffer,
    pool: Option<Arc<Pool>>,
}

/// Keeps the memory of a picture from being freed, for foreign code that may still look at an address it was given. What is written there is
/// another matter: once the picture is dropped its pool fills the memory anew.
#[derive(Clone, Debug)]
pub struct MemoryHold(Arc<Mutex<Vec<u8>>>);

/// Bytes of a picture, freed when nobody holds them any more.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where the bytes go at their end, if anybody asked to hold them.
    held: OnceLock<MemoryHold>,
}

/// A captured or decoded picture with its time. Cloning shares the picture.
#[derive(Clone, Debug)]
pub struct VideoFrame {
    /// The picture.
    pub picture: Arc<I420>,
    /// Capture time, 90 kHz units.
    pub time: MediaTime,
}

/// Gives out pictures and takes their buffers back. Cloning shares the pool.
#[derive(Clone, Debug)]
pub struct FramePool {
    shared: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    in_use: usize,
    free: Vec<Buffer>,
}

impl FramePool {
    /// Frames of a pool when nothing else is said: over a second of video at 25 frames a second. Whoever holds more has stopped
    /// looking at them.
    pub const DEFAULT_LIMIT: usize = 32;

    /// A pool of at most `limit` frames in use at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Pool { limit, state: Mutex::new(PoolState::default()) }) }
    }

    /// A picture with undefined content (whatever was in the buffer before, or black).
    ///
    /// # Errors
    /// When the size is not allowed or all frames are in use.
    pub fn take(&self, width: u32, height: u32) -> Result<I420, FrameError> {
        check_size(width, height)?;
        let length = buffer_length(width, height);
        let mut state = self.shared.lock();
        if state.in_use >= self.shared.limit {
            return Err(FrameError::Exhausted);
        }
        state.in_use += 1;
        // Buffers of another size are those of a resolution that is over: they are let go one by one as new ones are asked for.
        let mut reused = None;
        while let Some(buffer) = state.free.pop() {
            if buffer.len() == length {
                reused = Some(buffer);
                break;
            }
        }
        drop(state);
        let buffer = reused.unwrap_or_else(|| black_buffer(width, height));
        Ok(I420 { width, height, buffer, pool: Some(Arc::clone(&self.shared)) })
    }

    /// How many frames are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.lock().in_use
    }
}

impl Default for FramePool {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

impl Pool {
    /// The state is consistent between any two statements that touch it, so a panic elsewhere while it was locked does no harm.
    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl I420 {
    /// A black picture that belongs to no pool.
    ///
    /// # Errors
    /// When a side is odd, or the picture too small or too large.
    pub fn new(width: u32, height: u32) -> Result<Self, FrameError> {
        check_size(width, height)?;
        Ok(Self { width, height, buffer: black_buffer(width, height), pool: None })
    }

    /// Keeps the memory from being freed beyond the life of the picture.
    #[must_use]
    pub fn hold_memory(&self) -> MemoryHold {
        self.buffer.held.get_or_init(|| MemoryHold(Arc::default())).clone()
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height of a plane in samples.
    #[must_use]
    pub fn plane_size(&self, plane: Plane) -> (usize, usize) {
        plane_size(self.width, self.height, plane)
    }

    /// Bytes from the start of one row of a plane to the start of the next.
    #[must_use]
    pub fn stride(&self, plane: Plane) -> usize {
        stride(self.width, plane)
    }

    /// The bytes of a plane: `stride * rows`, of which each row uses the first `plane_size().0`.
    #[must_use]
    pub fn plane(&self, plane: Plane) -> &[u8] {
        &self.buffer[self.span(plane)]
    }

    /// The bytes of a plane, to write.
    pub fn plane_mut(&mut self, plane: Plane) -> &mut [u8] {
        let span = self.span(plane);
        &mut self.buffer[span]
    }

    /// The visible rows of a plane, top to bottom.
    pub fn rows(&self, plane: Plane) -> impl Iterator<Item = &[u8]> {
        let (width, _) = self.plane_size(plane);
        self.plane(plane).chunks_exact(self.stride(plane)).map(move |row| &row[..width])
    }

    /// The visible rows of a plane, to write.
    pub fn rows_mut(&mut self, plane: Plane) -> impl Iterator<Item = &mut [u8]> {
        let (width, _) = self.plane_size(plane);
        let stride = self.stride(plane);
        self.plane_mut(plane).chunks_exact_mut(stride).map(move |row| &mut row[..width])
    }

    /// Fills a plane from memory laid out with another stride.
    ///
    /// # Errors
    /// When `source` is too short for the rows of the plane.
    pub fn copy_plane(&mut self, plane: Plane, source: &[u8], source_stride: usize) -> Result<(), FrameError> {
        let (width, height) = self.plane_size(plane);
        let needed = height.saturating_sub(1).saturating_mul(source_stride).saturating_add(width);
        if source_stride < width || source.len() < needed {
            return Err(FrameError::Short);
        }
        for (row, from) in self.rows_mut(plane).zip(source.chunks(source_stride)) {
            row.copy_from_slice(&from[..width]);
        }
        Ok(())
    }

    /// Copies all of another picture of the same size.
    ///
    /// # Errors
    /// When the sizes differ.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), FrameError> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(FrameError::Size(other.width, other.height));
        }
        self.buffer.copy_from_slice(&other.buffer);
        Ok(())
    }

    /// The size a picture has after halving: rounded down to even numbers, because chroma is halved once more.
    #[must_use]
    pub fn half_size(width: u32, height: u32) -> (u32, u32) {
        ((width / 2) & !1, (height / 2) & !1)
    }

    /// The picture at half its width and height: each pixel is the mean of a square of four. An odd last column or row is cut off.
    ///
    /// # Errors
    /// When the half would be too small, or the pool is exhausted.
    pub fn half(&self, pool: &FramePool) -> Result<Self, FrameError> {
        let (width, height) = Self::half_size(self.width, self.height);
        let mut half = pool.take(width, height)?;
        for plane in Plane::ALL {
            let stride = self.stride(plane);
            let pairs = self.plane(plane).chunks_exact(2 * stride);
            for (target, pair) in half.rows_mut(plane).zip(pairs) {
                let (upper, lower) = pair.split_at(stride);
                halve_row(target, upper, lower);
            }
        }
        Ok(half)
    }

    /// How alike the brightness of two pictures is, as a peak signal-to-noise ratio in dB; `None` when their sizes differ, infinite
    /// when they are equal.
    #[must_use]
    pub fn luma_psnr(&self, other: &Self) -> Option<f64> {
        if (self.width, self.height) != (other.width, other.height) {
            return None;
        }
        let squares: u64 = self
            .rows(Plane::Y)
            .zip(other.rows(Plane::Y))
            .flat_map(|(ours, theirs)| ours.iter().zip(theirs))
            .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
            .sum();
        let mean = squares as f64 / (f64::from(self.width) * f64::from(self.height));
        Some(10.0 * (255.0 * 255.0 / mean).log10())
    }

    fn span(&self, plane: Plane) -> std::ops::Range<usize> {
        let luma = stride(self.width, Plane::Y) * self.height as usize;
        let chroma = stride(self.width, Plane::U) * (self.height as usize / 2);
        match plane {
            Plane::Y => 0..luma,
            Plane::U => luma..luma + chroma,
            Plane::V => luma + chroma..luma + 2 * chroma,
        }
    }
}

impl Clone for I420 {
    /// A copy that belongs to no pool.
    fn clone(&self) -> Self {
        Self { width: self.width, height: self.height, buffer: Buffer::new(self.buffer.bytes.clone()), pool: None }
    }
}

impl Buffer {
    const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, held: OnceLock::new() }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            *held.0.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut self.bytes);
        }
    }
}

impl Drop for I420 {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let buffer = std::mem::replace(&mut self.buffer, Buffer::new(Vec::new()));
            let mut state = pool.lock();
            state.in_use = state.in_use.saturating_sub(1);
            if state.in_use + state.free.len() < pool.limit {
                state.free.push(buffer);
            }
        }
    }
}

impl fmt::Debug for I420 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I420({}x{})", self.width, self.height)
    }
}

fn check_size(width: u32, height: u32) -> Result<(), FrameError> {
    let side = MIN_SIDE..=MAX_SIDE;
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    if even && side.contains(&width) && side.contains(&height) && width * height <= MAX_PIXELS {
        Ok(())
    } else {
        Err(FrameError::Size(width, height))
    }
}

fn plane_size(width: u32, height: u32, plane: Plane) -> (usize, usize) {
    match plane {
        Plane::Y => (width as usize, height as usize),
        Plane::U | Plane::V => (width as usize / 2, height as usize / 2),
    }
}

fn stride(width: u32, plane: Plane) -> usize {
    plane_size(width, 0, plane).0.next_multiple_of(STRIDE_ALIGNMENT)
}

fn buffer_length(width: u32, height: u32) -> usize {
    Plane::ALL.iter().map(|&plane| stride(width, plane) * plane_size(width, height, plane).1).sum()
}

fn black_buffer(width: u32, height: u32) -> Buffer {
    let mut buffer = Buffer::new(vec![NEUTRAL_CHROMA; buffer_length(width, height)]);
    let luma = stride(width, Plane::Y) * height as usize;
    buffer[..luma].fill(BLACK_LUMA);
    buffer
}

fn halve_row(target: &mut [u8], upper: &[u8], lower: &[u8]) {
    for ((target, upper), lower) in target.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
        let sum = u16::from(upper[0]) + u16::from(upper[1]) + u16::from(lower[0]) + u16::from(lower[1]);
        *target = ((sum + 2) / 4) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_codec_takes_are_refused() {
        for (width, height) in [(0, 0), (15, 16), (16, 17), (14, 16), (5000, 16), (4096, 4096), (u32::MAX - 1, 16)] {
            assert_eq!(I420::new(width, height).err(), Some(FrameError::Size(width, height)));
        }
        assert!(I420::new(3840, 2160).is_ok());
    }

    #[test]
    fn a_pool_gives_no_more_than_its_limit_and_reuses_what_comes_back() {
        let pool = FramePool::new(2);
        let mut first = pool.take(64, 32).unwrap();
        first.plane_mut(Plane::Y).fill(77);
        let second = pool.take(64, 32).unwrap();
        assert_eq!(pool.take(64, 32).err(), Some(FrameError::Exhausted));
        drop(first);
        let third = pool.take(64, 32).unwrap();
        assert!(third.plane(Plane::Y).iter().all(|&sample| sample == 77), "the buffer came back");
        drop((second, third));
        assert_eq!(pool.in_use(), 0);
        let other_size = pool.take(32, 32).unwrap();
        assert!(other_size.plane(Plane::Y).iter().all(|&sample| sample == BLACK_LUMA));
    }

    #[test]
    fn memory_that_is_held_is_used_again_but_not_freed() {
        let pool = FramePool::new(1);
        let first = pool.take(64, 32).unwrap();
        let (hold, address) = (first.hold_memory(), first.plane(Plane::Y).as_ptr());
        drop(first);
        let second = pool.take(64, 32).unwrap();
        assert_eq!((second.plane(Plane::Y).as_ptr(), hold.0.lock().unwrap().len()), (address, 0), "the pool has it");
        drop((second, pool));
        assert_eq!(hold.0.lock().unwrap().as_ptr(), address, "the hold has it");
    }

    #[test]
    fn halving_takes_the_mean_of_squares() {
        let mut picture = I420::new(40, 36).unwrap();
        for (y, row) in picture.rows_mut(Plane::Y).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = (x + 2 * y) as u8;
            }
        }
        let half = picture.half(&FramePool::default()).unwrap();
        assert_eq!((half.width(), half.height()), (20, 18));
        let row = half.rows(Plane::Y).nth(3).unwrap();
        assert_eq!(row[5], ((10 + 12 + 11 + 12 + 10 + 14 + 11 + 14 + 2) / 4) as u8);
    }

    #[test]
    fn planes_are_copied_row_by_row() {
        let mut picture = I420::new(16, 16).unwrap();
        let source: Vec<u8> = (0..16 * 20).map(|at| (at % 20) as u8).collect();
        picture.copy_plane(Plane::Y, &source, 20).unwrap();
        assert!(picture.rows(Plane::Y).all(|row| row.iter().enumerate().all(|(x, &sample)| usize::from(sample) == x)));
        assert_eq!(picture.copy_plane(Plane::Y, &source[..300], 20), Err(FrameError::Short));
        assert_eq!(picture.copy_plane(Plane::Y, &source, 10), Err(FrameError::Short));
    }
}
