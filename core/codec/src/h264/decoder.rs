//! The OpenH264 decoder.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use openh264_sys2 as sys;
use openh264_sys2::API as _;
use openh264_sys2::source::APILoader;
use segue_model::MediaTime;

use super::nal;
use crate::frame::{FrameError, FramePool, I420, MAX_PIXELS, MAX_SIDE, Plane, VideoFrame};
use crate::traits::{DecodeError, VideoDecoder};

/// Most bytes of an access unit that are handed to the library: several times what a 4K keyframe of good quality takes.
const MAX_ACCESS_UNIT: usize = 4 << 20;

/// Most macroblocks of all pictures a stream may refer to: what level 5.1 allows (`MaxDpbMbs` of ITU-T H.264 table A-1), five
/// pictures of 4K, 71 MB.
const MAX_KEPT_BLOCKS: u64 = 184_320;

/// [`MAX_PIXELS`] with both sides rounded up to whole macroblocks, as streams announce them.
const MAX_PIXELS_ALIGNED: u32 = MAX_PIXELS + 16 * (MAX_SIDE + MAX_SIDE);

/// Decodes one encoding of one source.
#[derive(Debug)]
pub struct H264Decoder {
    library: Option<Library>,
    pool: FramePool,
    awaiting_keyframe: bool,
}

/// Owns one `ISVCDecoder`.
#[derive(Debug)]
struct Library {
    handle: NonNull<sys::ISVCDecoder>,
    functions: NonNull<sys::ISVCDecoderVtbl>,
}

// SAFETY: the decoder runs with one thread (the default of the library) and keeps nothing in thread-local storage; it is only reached
// through `&mut self`.
unsafe impl Send for Library {}

impl H264Decoder {
    /// A decoder that takes its frames from a pool.
    ///
    /// # Errors
    /// When the library cannot set a decoder up.
    pub fn new(pool: FramePool) -> Result<Self, DecodeError> {
        Ok(Self { library: Some(Library::new()?), pool, awaiting_keyframe: true })
    }

    /// Whether only a keyframe can be decoded next.
    #[must_use]
    pub fn awaits_keyframe(&self) -> bool {
        self.awaiting_keyframe
    }

    fn decode_with_library(&mut self, access_unit: &[u8], time: MediaTime) -> Result<Option<VideoFrame>, DecodeError> {
        let library = match &mut self.library {
            Some(library) => library,
            none => none.insert(Library::new()?),
        };
        let Some(output) = library.decode(access_unit)? else { return Ok(None) };
        let picture = copy_out(&output, &self.pool)?;
        Ok(Some(VideoFrame { picture: Arc::new(picture), time }))
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, access_unit: &[u8], time: MediaTime) -> Result<Option<VideoFrame>, DecodeError> {
        if access_unit.len() > MAX_ACCESS_UNIT {
            return Err(DecodeError::TooLarge);
        }
        if nal::NalUnits::new(access_unit).next().is_none() {
            return Err(DecodeError::Damaged(sys::dsInvalidArgument));
        }
        // Parameter sets alone may come ahead of their keyframe; pictures may not.
        let keyframe = nal::is_keyframe(access_unit);
        if self.awaiting_keyframe && !keyframe && nal::sequences(access_unit).next().is_none() {
            return Err(DecodeError::AwaitingKeyframe);
        }
        if let Err(error) = check_sequences(access_unit) {
            self.awaiting_keyframe = true;
            return Err(error);
        }
        let result = self.decode_with_library(access_unit, time);
        match &result {
            Ok(picture) => self.awaiting_keyframe &= !(keyframe && picture.is_some()),
            // The picture was decoded and others can refer to it; it only could not be handed out.
            Err(DecodeError::NoFrame) => self.awaiting_keyframe &= !keyframe,
            Err(_) => {
                self.awaiting_keyframe = true;
                if keyframe {
                    // Even a keyframe could not be decoded: nothing in the library's state is worth keeping.
                    self.library = None;
                }
            }
        }
        result
    }
}

impl Library {
    fn new() -> Result<Self, DecodeError> {
        let mut raw: *mut sys::ISVCDecoder = std::ptr::null_mut();
        // SAFETY: `raw` lives across the call, which writes a pointer to a new decoder into it, or leaves null.
        let code = unsafe { APILoader::new().WelsCreateDecoder(&raw mut raw) };
        let code = i32::try_from(code).unwrap_or(-1);
        let handle = NonNull::new(raw).ok_or(DecodeError::Setup(code))?;
        // SAFETY: an `ISVCDecoder` is a C++ object whose first word points to its table of functions; both live until destroyed.
        let functions = unsafe { NonNull::new((*raw).cast_mut()) }.ok_or(DecodeError::Setup(code))?;
        let mut library = Self { handle, functions };
        library.initialise()?;
        Ok(library)
    }

    /// The table of functions, copied out so that no borrow stays on `self`.
    fn functions(&self) -> sys::ISVCDecoderVtbl {
        // SAFETY: the table belongs to the library and lives as long as the process.
        unsafe { *self.functions.as_ptr() }
    }

    fn initialise(&mut self) -> Result<(), DecodeError> {
        let functions = self.functions();
        let (Some(set_option), Some(initialise)) = (functions.SetOption, functions.Initialize) else {
            return Err(DecodeError::Setup(-1));
        };
        // The library would write to standard error by itself.
        let mut level: c_int = sys::WELS_LOG_QUIET;
        // SAFETY: the handle is valid, the option takes an `int`, which lives across the call.
        unsafe { set_option(self.handle.as_ptr(), sys::DECODER_OPTION_TRACE_LEVEL, (&raw mut level).cast::<c_void>()) };
        let mut parameters = sys::SDecodingParam { eEcActiveIdc: sys::ERROR_CON_DISABLE, ..sys::SDecodingParam::default() };
        parameters.sVideoProperty.eVideoBsType = sys::VIDEO_BITSTREAM_AVC;
        // SAFETY: the handle is valid; the library copies the parameters.
        let code = unsafe { initialise(self.handle.as_ptr(), &raw const parameters) };
        if code == 0 { Ok(()) } else { Err(DecodeError::Setup(i32::try_from(code).unwrap_or(-1))) }
    }

    /// Decodes one access unit. The planes of the output lie in the library's memory and stay there as long as `self` is borrowed.
    fn decode(&mut self, access_unit: &[u8]) -> Result<Option<Output<'_>>, DecodeError> {
        let Some(decode) = self.functions().DecodeFrameNoDelay else { return Err(DecodeError::Setup(-1)) };
        let length = c_int::try_from(access_unit.len()).map_err(|_| DecodeError::TooLarge)?;
        let mut planes = [std::ptr::null_mut::<u8>(); 3];
        let mut info = sys::SBufferInfo::default();
        // SAFETY: the handle is initialised; the source pointer covers `length` bytes, which the library copies; `planes` has room for
        // the three pointers it writes, `info` is its own structure.
        let state = unsafe { decode(self.handle.as_ptr(), access_unit.as_ptr(), length, planes.as_mut_ptr(), &raw mut info) };
        if state != sys::dsErrorFree {
            return Err(DecodeError::Damaged(state));
        }
        if info.iBufferStatus != 1 {
            return Ok(None);
        }
        // SAFETY: the union has one member, and every bit pattern of its integers is valid.
        let layout = unsafe { info.UsrData.sSystemBuffer };
        self.view(layout, planes).map(Some)
    }

    /// What the library says of the picture it just decoded, as slices of its memory.
    fn view(&self, layout: sys::SSysMEMBuffer, planes: [*mut u8; 3]) -> Result<Output<'_>, DecodeError> {
        let positive = |value: c_int| u32::try_from(value).map_err(|_| DecodeError::Damaged(value));
        let (width, height) = (positive(layout.iWidth)?, positive(layout.iHeight)?);
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(DecodeError::TooLarge);
        }
        let luma_stride = positive(layout.iStride[0])? as usize;
        let chroma_stride = positive(layout.iStride[1])? as usize;
        let plane = |pointer: *mut u8, stride: usize, width: u32, rows: u32| {
            let (width, rows) = (width as usize, rows as usize);
            if pointer.is_null() || width == 0 || rows == 0 || stride < width {
                return Err(DecodeError::Damaged(sys::dsBitstreamError));
            }
            // SAFETY: a decoded plane has `rows` rows, `stride` bytes apart, of which `width` are visible; the last row is counted only
            // as far as it is visible. The memory belongs to the decoder until its next call, which needs the borrow this slice holds.
            Ok(unsafe { std::slice::from_raw_parts(pointer.cast_const(), stride * (rows - 1) + width) })
        };
        let [y, u, v] = planes;
        let planes = [
            plane(y, luma_stride, width, height)?,
            plane(u, chroma_stride, width / 2, height / 2)?,
            plane(v, chroma_stride, width / 2, height / 2)?,
        ];
        Ok(Output { width, height, strides: [luma_stride, chroma_stride, chroma_stride], planes })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Some(uninitialise) = self.functions().Uninitialize {
            // SAFETY: the handle is valid; the library accepts this in any state.
            unsafe { uninitialise(self.handle.as_ptr()) };
        }
        // SAFETY: the handle came from `WelsCreateDecoder` and is destroyed nowhere else.
        unsafe { APILoader::new().WelsDestroyDecoder(self.handle.as_ptr()) }
    }
}

/// A decoded picture in the library's memory.
struct Output<'a> {
    width: u32,
    height: u32,
    strides: [usize; 3],
    planes: [&'a [u8]; 3],
}

/// Refuses what the library would otherwise allocate memory for: every picture a stream may refer to is kept, and the stream says how
/// many and how large they are.
fn check_sequences(access_unit: &[u8]) -> Result<(), DecodeError> {
    for sequence in nal::sequences(access_unit) {
        let sequence = sequence.ok_or(DecodeError::Unsupported)?;
        let blocks = u64::from(sequence.width / 16) * u64::from(sequence.height / 16);
        if blocks * u64::from(sequence.references.max(1)) > MAX_KEPT_BLOCKS || blocks * 256 > u64::from(MAX_PIXELS_ALIGNED) {
            return Err(DecodeError::TooLarge);
        }
    }
    Ok(())
}

fn copy_out(output: &Output<'_>, pool: &FramePool) -> Result<I420, DecodeError> {
    let mut picture = pool.take(output.width, output.height).map_err(|error| match error {
        FrameError::Exhausted => DecodeError::NoFrame,
        FrameError::Size(..) | FrameError::Short => DecodeError::TooLarge,
    })?;
    for ((plane, source), stride) in Plane::ALL.into_iter().zip(output.planes).zip(output.strides) {
        picture.copy_plane(plane, source, stride).map_err(|_| DecodeError::TooLarge)?;
    }
    Ok(picture)
}
