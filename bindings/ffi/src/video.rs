//! Pictures in and out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use segue::{FramePool, FrameStream, I420, MediaTime, MemoryHold, Plane};

use crate::blob::Blob;
use crate::error::CallError;
use crate::publication::Claim;
use crate::quality::VideoOptions;
use crate::queue::{Queue, ReadyListener};

/// Pictures of one source that may be on their way to the encoder: one in its hands, two in its queue, one being filled.
const POOL: usize = 4;

/// Units of media time in a millisecond (90 kHz).
const UNITS_PER_MS: i64 = 90;

/// Words that [`VideoFrame::write_layout`] writes.
const LAYOUT_WORDS: usize = 8;

/// How pictures lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PixelFormat {
    /// Three planes: brightness, then blue and red difference at half width and height.
    I420,
    /// Two planes: brightness, then blue and red difference interleaved at half width and height.
    Nv12,
}

/// Pictures to publish. Any thread may push.
#[derive(uniffi::Object)]
pub struct VideoSource {
    pub(crate) source: segue::VideoSource,
    pub(crate) claim: Claim,
    options: VideoOptions,
    pool: FramePool,
    /// Pushed while every picture of the pool was on its way.
    exhausted: AtomicU64,
    /// Time of the latest picture whose time the application gave.
    latest: Mutex<Option<u64>>,
}

#[uniffi::export]
impl VideoSource {
    /// A source of pictures of one size.
    #[uniffi::constructor]
    pub fn new(options: VideoOptions) -> Result<Arc<Self>, CallError> {
        Ok(Arc::new(Self {
            source: segue::VideoSource::new(options.into_core()?),
            claim: Claim::default(),
            options,
            pool: FramePool::new(POOL),
            exhausted: AtomicU64::new(0),
            latest: Mutex::new(None),
        }))
    }

    /// Adds an I420 picture: three planes one after the other, rows `stride_y` and `stride_uv` bytes apart (0: no gaps). The bytes are
    /// borrowed and copied once. `timestamp_us` counts microseconds from any zero and grows; negative: captured just now. False
    /// where the picture goes nowhere: the source is not published, or the encoder is behind.
    pub fn push_i420(&self, data: &[u8], stride_y: u32, stride_uv: u32, timestamp_us: i64) -> Result<bool, CallError> {
        let (width, height) = (self.options.width, self.options.height);
        let stride_y = if stride_y == 0 { width } else { stride_y } as usize;
        let stride_uv = if stride_uv == 0 { width / 2 } else { stride_uv } as usize;
        let luma = stride_y.saturating_mul(height as usize);
        let chroma = stride_uv.saturating_mul(height as usize / 2);
        let planes = (data.get(..luma), data.get(luma..luma.saturating_add(chroma)), data.get(luma.saturating_add(chroma)..));
        let (Some(y), Some(u), Some(v)) = planes else { return Err(self.short(data.len())) };
        self.push_picture(timestamp_us, |picture| {
            picture.copy_plane(Plane::Y, y, stride_y)?;
            picture.copy_plane(Plane::U, u, stride_uv)?;
            picture.copy_plane(Plane::V, v, stride_uv)
        })
    }

    /// The same for planes at addresses of the caller's own, which have to stay readable until the call returns: `height` rows of
    /// `stride_y` bytes at `y`, half as many of `stride_uv` bytes at `u` and `v`. With [`PixelFormat::Nv12`] `u` is the interleaved plane
    /// and `v` is ignored.
    #[allow(clippy::too_many_arguments, reason = "a record would cross by serializer, for every picture")]
    pub fn push_planes(
        &self,
        format: PixelFormat,
        y: u64,
        u: u64,
        v: u64,
        stride_y: u32,
        stride_uv: u32,
        timestamp_us: i64,
    ) -> Result<bool, CallError> {
        let (width, height) = (self.options.width as usize, self.options.height as usize);
        let (stride_y, stride_uv) = (stride_y as usize, stride_uv as usize);
        let chroma_row = if format == PixelFormat::Nv12 { width } else { width / 2 };
        if stride_y < width || stride_uv < chroma_row {
            let detail =
                format!("rows {stride_y} and {stride_uv} bytes apart: rows of this picture take {width} and {chroma_row}");
            return Err(CallError::argument("stride", detail));
        }
        if y == 0 || u == 0 || (v == 0 && format == PixelFormat::I420) {
            return Err(CallError::argument("buffer", "a plane without an address: give the address of every plane"));
        }
        // SAFETY: the caller vouches for the addresses, as the documentation demands; the lengths are those of the rows it named, the
        // last of which ends with its last sample.
        let plane = |address: u64, stride: usize, rows: usize, row: usize| unsafe {
            std::slice::from_raw_parts(address as usize as *const u8, stride * (rows - 1) + row)
        };
        let luma = plane(y, stride_y, height, width);
        let blue = plane(u, stride_uv, height / 2, chroma_row);
        match format {
            PixelFormat::I420 => {
                let red = plane(v, stride_uv, height / 2, chroma_row);
                self.push_picture(timestamp_us, |picture| {
                    picture.copy_plane(Plane::Y, luma, stride_y)?;
                    picture.copy_plane(Plane::U, blue, stride_uv)?;
                    picture.copy_plane(Plane::V, red, stride_uv)
                })
            }
            PixelFormat::Nv12 => self.push_picture(timestamp_us, |picture| {
                picture.copy_plane(Plane::Y, luma, stride_y)?;
                deinterleave(picture, Plane::U, blue, stride_uv, 0);
                deinterleave(picture, Plane::V, blue, stride_uv, 1);
                Ok(())
            }),
        }
    }

    /// Adds a picture that was received: it is shared, not copied.
    pub fn push_frame(&self, frame: Arc<VideoFrame>, timestamp_us: i64) -> Result<bool, CallError> {
        self.push_shared(&frame, timestamp_us)
    }

    /// Pictures that went nowhere because the encoder had no time.
    pub fn dropped(&self) -> u64 {
        self.source.dropped() + self.exhausted.load(Ordering::Relaxed)
    }

    /// Somebody takes what is pushed.
    pub fn is_published(&self) -> bool {
        self.source.is_published()
    }
}

impl VideoSource {
    /// Width and height of what is pushed.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.options.width, self.options.height)
    }

    /// As [`Self::push_frame`].
    pub(crate) fn push_shared(&self, frame: &VideoFrame, timestamp_us: i64) -> Result<bool, CallError> {
        let picture = &frame.frame.picture;
        if (picture.width(), picture.height()) != (self.options.width, self.options.height) {
            return Err(self.other_size(picture.width(), picture.height()));
        }
        if !self.source.is_published() {
            return Ok(false);
        }
        self.send(picture.clone(), timestamp_us)
    }

    /// Fills a picture of the pool and sends it.
    fn push_picture(
        &self,
        timestamp_us: i64,
        fill: impl FnOnce(&mut I420) -> Result<(), segue::FrameError>,
    ) -> Result<bool, CallError> {
        if !self.source.is_published() {
            return Ok(false);
        }
        let Ok(mut picture) = self.pool.take(self.options.width, self.options.height) else {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        fill(&mut picture).map_err(|_| {
            CallError::argument(
                "stride",
                "the planes are shorter than their strides and the picture's size say: check all three",
            )
        })?;
        self.send(Arc::new(picture), timestamp_us)
    }

    fn send(&self, picture: Arc<I420>, timestamp_us: i64) -> Result<bool, CallError> {
        let Ok(time) = u64::try_from(timestamp_us) else { return Ok(self.source.push_shared(picture)) };
        let time = time.saturating_mul(UNITS_PER_MS as u64) / 1_000;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.is_some_and(|latest| time <= latest) {
            let detail =
                format!("a time of {timestamp_us} us is not later than that of the picture before: times have to grow");
            return Err(CallError::argument("timestamp", detail));
        }
        *latest = Some(time);
        Ok(self.source.push_frame(segue::VideoFrame { picture, time: MediaTime(time) }))
    }

    fn short(&self, length: usize) -> CallError {
        let (width, height) = (self.options.width, self.options.height);
        let needed = width * height * 3 / 2;
        let detail = format!("{length} bytes for a picture of {width} x {height}: I420 without gaps takes {needed}");
        CallError::argument("size", detail)
    }

    fn other_size(&self, width: u32, height: u32) -> CallError {
        let (ours_w, ours_h) = (self.options.width, self.options.height);
        let detail = format!("a picture of {width} x {height} for a source of {ours_w} x {ours_h}: make another source");
        CallError::argument("size", detail)
    }
}

/// Takes every other byte of interleaved rows, of which the caller knows that they are long enough.
fn deinterleave(picture: &mut I420, plane: Plane, source: &[u8], stride: usize, offset: usize) {
    for (row, from) in picture.rows_mut(plane).zip(source.chunks(stride)) {
        for (sample, pair) in row.iter_mut().zip(from.chunks_exact(2)) {
            *sample = pair[offset];
        }
    }
}

/// A decoded picture. It stays where it is and as it is for as long as this handle lives: views of its memory need it alive.
#[derive(uniffi::Object)]
pub struct VideoFrame {
    frame: segue::VideoFrame,
}

#[uniffi::export]
impl VideoFrame {
    /// In pixels.
    pub fn width(&self) -> u32 {
        self.frame.picture.width()
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.frame.picture.height()
    }

    /// Capture time in microseconds, from a zero of the publisher's own.
    pub fn timestamp_us(&self) -> i64 {
        (self.frame.time.0 as i64).saturating_mul(1_000) / UNITS_PER_MS
    }

    /// Address of the first byte: the rows of Y, then those of U, then those of V, read-only.
    pub fn data_ptr(&self) -> u64 {
        self.frame.picture.plane(Plane::Y).as_ptr() as usize as u64
    }

    /// Bytes from there on.
    pub fn data_len(&self) -> u64 {
        Plane::ALL.iter().map(|plane| self.frame.picture.plane(*plane).len() as u64).sum()
    }

    /// Bytes from one row of Y to the next.
    pub fn stride_y(&self) -> u32 {
        self.frame.picture.stride(Plane::Y) as u32
    }

    /// Bytes from one row of U or V to the next.
    pub fn stride_uv(&self) -> u32 {
        self.frame.picture.stride(Plane::U) as u32
    }

    /// Everything above in one call: writes eight 64-bit words to `address`, of which 64 bytes have to be writable: width, height,
    /// `data_ptr`, `data_len`, `stride_y`, `stride_uv`, `timestamp_us`, and 0.
    pub fn write_layout(&self, address: u64) -> Result<(), CallError> {
        let words = self.layout();
        if address == 0 {
            return Err(CallError::argument("buffer", "no address to write the layout to"));
        }
        // SAFETY: the caller vouches for 64 writable bytes, as the documentation demands; they need not be aligned.
        unsafe { (address as usize as *mut [u64; LAYOUT_WORDS]).write_unaligned(words) };
        Ok(())
    }

    /// Copies the picture as I420 without gaps to `address`, where `capacity` bytes are writable; how many were written.
    pub fn copy_to(&self, address: u64, capacity: u64) -> Result<u64, CallError> {
        let needed = self.packed_len();
        if address == 0 || capacity < needed as u64 {
            let detail = format!("{capacity} bytes for a picture that takes {needed}: give it more");
            return Err(CallError::argument("size", detail));
        }
        // SAFETY: the caller vouches for `capacity` writable bytes, of which no more than `needed` are taken.
        let target = unsafe { std::slice::from_raw_parts_mut(address as usize as *mut u8, needed) };
        let mut rest = target;
        for plane in Plane::ALL {
            for row in self.frame.picture.rows(plane) {
                let (head, tail) = rest.split_at_mut(row.len());
                head.copy_from_slice(row);
                rest = tail;
            }
        }
        Ok(needed as u64)
    }

    /// The picture as I420 without gaps, copied.
    pub fn to_bytes(&self) -> Blob {
        let mut bytes = Vec::with_capacity(self.packed_len());
        for plane in Plane::ALL {
            self.frame.picture.rows(plane).for_each(|row| bytes.extend_from_slice(row));
        }
        Blob(bytes)
    }
}

impl VideoFrame {
    /// Of a picture that was received, or made by a test or a benchmark.
    #[must_use]
    pub fn new(frame: segue::VideoFrame) -> Arc<Self> {
        Arc::new(Self { frame })
    }

    /// What [`Self::write_layout`] writes.
    pub(crate) fn layout(&self) -> [u64; LAYOUT_WORDS] {
        [
            u64::from(self.width()),
            u64::from(self.height()),
            self.data_ptr(),
            self.data_len(),
            u64::from(self.stride_y()),
            u64::from(self.stride_uv()),
            self.timestamp_us() as u64,
            0,
        ]
    }

    /// Keeps the memory from being freed beyond the life of the picture.
    pub(crate) fn hold_memory(&self) -> MemoryHold {
        self.frame.picture.hold_memory()
    }

    fn packed_len(&self) -> usize {
        self.width() as usize * self.height() as usize * 3 / 2
    }
}

/// Decoded pictures of a track.
#[derive(uniffi::Object)]
pub struct VideoStream {
    queue: Queue<segue::VideoFrame>,
}

impl VideoStream {
    pub(crate) fn new(
        stream: FrameStream<segue::VideoFrame>,
        max_queue: u32,
        listener: Arc<dyn ReadyListener>,
    ) -> Result<Arc<Self>, CallError> {
        Ok(Arc::new(Self { queue: Queue::new(stream, max_queue, listener)? }))
    }
}

#[uniffi::export]
impl VideoStream {
    /// The oldest picture that waits.
    pub fn try_next(&self) -> Option<Arc<VideoFrame>> {
        self.queue.try_next().map(VideoFrame::new)
    }

    /// Pictures dropped because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Nothing waits and nothing follows.
    pub fn has_ended(&self) -> bool {
        self.queue.has_ended()
    }

    /// Ends it: nothing is decoded for it any more.
    pub fn stop(&self) {
        self.queue.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Arc<VideoSource> {
        let options = VideoOptions { width: 32, height: 16, frame_rate: 30.0, encodings: 1, max_kbps: 0, content: None };
        VideoSource::new(options).expect("a size pictures can have")
    }

    fn code(outcome: Result<bool, CallError>) -> String {
        match outcome {
            Err(CallError::InvalidArgument { code, .. }) => code,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn pictures_of_a_wrong_shape_are_refused_with_what_they_need() {
        let source = source();
        assert_eq!(code(source.push_i420(&[0; 100], 0, 0, -1)), "size");
        assert_eq!(code(source.push_planes(PixelFormat::I420, 1, 1, 1, 31, 16, -1)), "stride");
        assert_eq!(code(source.push_planes(PixelFormat::Nv12, 1, 1, 0, 32, 16, -1)), "stride");
        assert_eq!(code(source.push_planes(PixelFormat::I420, 0, 1, 1, 32, 16, -1)), "buffer");
        let other =
            VideoFrame::new(segue::VideoFrame { picture: Arc::new(I420::new(64, 64).expect("a size")), time: MediaTime(0) });
        assert_eq!(code(source.push_frame(other, -1)), "size");
        assert_eq!(source.push_i420(&[0; 32 * 16 * 3 / 2], 0, 0, -1), Ok(false), "not published");
        let odd = VideoOptions { width: 33, height: 16, frame_rate: 30.0, encodings: 1, max_kbps: 0, content: None };
        assert!(matches!(VideoSource::new(odd), Err(CallError::InvalidArgument { code, .. }) if code == "size"));
        let frozen = VideoOptions { frame_rate: f32::NAN, width: 32, ..odd };
        assert!(matches!(VideoSource::new(frozen), Err(CallError::InvalidArgument { code, .. }) if code == "frame_rate"));
    }

    #[test]
    fn a_frame_tells_where_it_lies_and_is_copied_without_gaps() {
        let mut picture = I420::new(16, 16).expect("a size");
        picture.rows_mut(Plane::Y).enumerate().for_each(|(y, row)| row.fill(y as u8));
        let frame = VideoFrame::new(segue::VideoFrame { picture: Arc::new(picture), time: MediaTime(90_000) });
        let mut words = [0_u64; LAYOUT_WORDS];
        frame.write_layout(words.as_mut_ptr() as usize as u64).expect("written");
        assert_eq!(words, [16, 16, frame.data_ptr(), frame.data_len(), 32, 32, 1_000_000, 0]);
        let mut bytes = vec![0; 16 * 16 * 3 / 2];
        assert_eq!(frame.copy_to(bytes.as_mut_ptr() as usize as u64, bytes.len() as u64), Ok(384));
        assert_eq!(bytes, frame.to_bytes().0);
        assert_eq!((bytes[0], bytes[16], bytes[255], bytes[256]), (0, 1, 15, 128));
        assert!(frame.copy_to(bytes.as_mut_ptr() as usize as u64, 383).is_err());
    }
}
