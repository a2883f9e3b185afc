//! One OpenH264 encoder: one encoding with two temporal layers.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use bytes::Bytes;
use openh264_sys2 as sys;
use openh264_sys2::API as _;
use openh264_sys2::source::APILoader;
use segue_model::{DataRate, MediaTime};

use super::ladder::Usage;
use super::nal;
use crate::frame::{I420, Plane};
use crate::traits::EncodeError;

/// Base and one layer above it.
const TEMPORAL_LAYERS: c_int = 2;

/// What OpenH264 accepts as target: below it cannot encode even a small picture, above it overflows.
const RATES: std::ops::RangeInclusive<u64> = 10_000..=100_000_000;

/// Frame rates OpenH264 accepts.
const FRAME_RATES: (f32, f32) = (1.0, 60.0);

/// Larger access units are not cut out of the library's memory: far beyond any picture of 4K at the highest quality.
const MAX_ACCESS_UNIT: usize = 16 << 20;

/// What one encoder is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) usage: Usage,
    pub(super) rate: DataRate,
    pub(super) frame_rate: f32,
    pub(super) frame_skip: bool,
}

/// One picture as it came out.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) temporal: u8,
    pub(super) keyframe: bool,
    pub(super) discardable: bool,
    pub(super) payload: Bytes,
}

/// Owns one `ISVCEncoder`.
#[derive(Debug)]
pub(super) struct Encoder {
    handle: NonNull<sys::ISVCEncoder>,
    functions: NonNull<sys::ISVCEncoderVtbl>,
    width: u32,
    height: u32,
    output: Box<sys::SFrameBSInfo>,
}

// SAFETY: the encoder runs with one thread (`iMultipleThreadIdc` 1) and keeps nothing in thread-local storage; the raw pointers in
// `output` point into memory the encoder owns and are only followed right after a call, through `&mut self`.
unsafe impl Send for Encoder {}

/// The true type of `ForceIntraFrame`: the C++ interface has a second parameter (a layer, -1 for all) with a default value, which the
/// generated bindings, made from the C declaration, leave out.
type ForceIntraFrame = unsafe extern "C" fn(*mut sys::ISVCEncoder, bool, c_int) -> c_int;

impl Encoder {
    pub(super) fn new(config: EncoderConfig) -> Result<Self, EncodeError> {
        let mut raw: *mut sys::ISVCEncoder = std::ptr::null_mut();
        // SAFETY: `raw` lives across the call, which writes a pointer to a new encoder into it, or leaves null.
        let code = unsafe { APILoader::new().WelsCreateSVCEncoder(&raw mut raw) };
        let handle = NonNull::new(raw).ok_or(EncodeError::Library(code))?;
        // SAFETY: an `ISVCEncoder` is a C++ object whose first word points to its table of functions; both live until destroyed.
        let functions = unsafe { NonNull::new((*raw).cast_mut()) }.ok_or(EncodeError::Library(code))?;
        let (width, height) = (config.width, config.height);
        let mut encoder = Self { handle, functions, width, height, output: Box::default() };
        encoder.silence();
        encoder.initialise(config)?;
        Ok(encoder)
    }

    /// The table of functions, copied out so that no borrow stays on `self`.
    fn functions(&self) -> sys::ISVCEncoderVtbl {
        // SAFETY: the table belongs to the library and lives as long as the process.
        unsafe { *self.functions.as_ptr() }
    }

    /// The library would write warnings to standard error by itself.
    fn silence(&mut self) {
        let mut level: c_int = sys::WELS_LOG_QUIET;
        self.set_option(sys::ENCODER_OPTION_TRACE_LEVEL, &mut level);
    }

    fn initialise(&mut self, config: EncoderConfig) -> Result<(), EncodeError> {
        let functions = self.functions();
        let (Some(defaults), Some(initialise)) = (functions.GetDefaultParams, functions.InitializeExt) else {
            return Err(EncodeError::Refused("table of functions"));
        };
        let mut parameters = sys::SEncParamExt::default();
        // SAFETY: the handle is valid and the structure is the library's own, alive across the call.
        let code = unsafe { defaults(self.handle.as_ptr(), &raw mut parameters) };
        if code != 0 {
            return Err(EncodeError::Library(code));
        }
        fill(&mut parameters, config);
        // SAFETY: as above; the library copies the parameters.
        let code = unsafe { initialise(self.handle.as_ptr(), &raw const parameters) };
        if code != 0 {
            return Err(EncodeError::Library(code));
        }
        let mut format: c_int = sys::videoFormatI420;
        self.set_option(sys::ENCODER_OPTION_DATAFORMAT, &mut format);
        Ok(())
    }

    /// Encodes one picture; `None` when the rate control leaves it out.
    pub(super) fn encode(&mut self, picture: &I420, time: MediaTime) -> Result<Option<Picture>, EncodeError> {
        if (picture.width(), picture.height()) != (self.width, self.height) {
            return Err(EncodeError::Shape);
        }
        let Some(encode) = self.functions().EncodeFrame else {
            return Err(EncodeError::Refused("table of functions"));
        };
        let source = source_picture(picture, time);
        *self.output = sys::SFrameBSInfo::default();
        // SAFETY: the handle is initialised. `source` describes three planes of exactly the size the encoder was set up with, whose
        // memory is borrowed for the call; the library only reads it. `output` is the library's own structure.
        let code = unsafe { encode(self.handle.as_ptr(), &raw const source, &raw mut *self.output) };
        if code != 0 {
            return Err(EncodeError::Library(code));
        }
        match self.output.eFrameType {
            sys::videoFrameTypeSkip | sys::videoFrameTypeInvalid => Ok(None),
            _ => self.take_output().map(Some),
        }
    }

    /// Copies what the last call made out of the library's memory.
    fn take_output(&self) -> Result<Picture, EncodeError> {
        let mut payload = Vec::new();
        let mut temporal = 0;
        let layers = usize::try_from(self.output.iLayerNum).unwrap_or(0);
        for layer in self.output.sLayerInfo.iter().take(layers) {
            let count = usize::try_from(layer.iNalCount).unwrap_or(0);
            if count == 0 || layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
                continue;
            }
            // SAFETY: after a successful call each used layer has `iNalCount` lengths, in memory the encoder keeps until the next
            // call; `self` is borrowed, so there is none meanwhile.
            let lengths = unsafe { std::slice::from_raw_parts(layer.pNalLengthInByte, count) };
            let length: usize = lengths.iter().map(|&length| usize::try_from(length).unwrap_or(0)).sum();
            if payload.len() + length > MAX_ACCESS_UNIT {
                return Err(EncodeError::Library(0));
            }
            // SAFETY: the units of a layer lie one after the other at `pBsBuf`, as long together as their lengths; kept as above.
            payload.extend_from_slice(unsafe { std::slice::from_raw_parts(layer.pBsBuf, length) });
            if c_int::from(layer.uiLayerType) == sys::VIDEO_CODING_LAYER {
                temporal = layer.uiTemporalId;
            }
        }
        let keyframe = nal::is_keyframe(&payload);
        Ok(Picture { temporal, keyframe, discardable: nal::is_disposable(&payload), payload: Bytes::from(payload) })
    }

    pub(super) fn force_keyframe(&mut self) -> Result<(), EncodeError> {
        let Some(force) = self.functions().ForceIntraFrame else {
            return Err(EncodeError::Refused("table of functions"));
        };
        // SAFETY: both types are C function pointers; the one cast to is what the library was compiled with (see its type).
        let force: ForceIntraFrame = unsafe { std::mem::transmute(force) };
        // SAFETY: the handle is initialised; the other arguments are plain values.
        let code = unsafe { force(self.handle.as_ptr(), true, -1) };
        if code == 0 { Ok(()) } else { Err(EncodeError::Library(code)) }
    }

    pub(super) fn set_rate(&mut self, rate: DataRate) {
        let mut info = sys::SBitrateInfo { iLayer: sys::SPATIAL_LAYER_ALL, iBitrate: bounded(rate) };
        self.set_option(sys::ENCODER_OPTION_BITRATE, &mut info);
    }

    pub(super) fn set_frame_rate(&mut self, frame_rate: f32) {
        let mut frame_rate = frame_rate.clamp(FRAME_RATES.0, FRAME_RATES.1);
        self.set_option(sys::ENCODER_OPTION_FRAME_RATE, &mut frame_rate);
    }

    /// `value` must be of the type the option takes. A refused option leaves the old setting, and is logged.
    fn set_option<T>(&mut self, option: sys::ENCODER_OPTION, value: &mut T) {
        let Some(set) = self.functions().SetOption else { return };
        // SAFETY: the handle is valid. The options passed by this module with the types the library reads: TRACE_LEVEL and DATAFORMAT
        // `int`, FRAME_RATE `float`, BITRATE `SBitrateInfo`. The value is borrowed for the call, the library copies it.
        let code = unsafe { set(self.handle.as_ptr(), option, std::ptr::from_mut(value).cast::<c_void>()) };
        if code != 0 {
            tracing::warn!(option, code, "h264 encoder setting refused");
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Some(uninitialise) = self.functions().Uninitialize {
            // SAFETY: the handle is valid; the library accepts this in any state.
            unsafe { uninitialise(self.handle.as_ptr()) };
        }
        // SAFETY: the handle came from `WelsCreateSVCEncoder` and is destroyed nowhere else.
        unsafe { APILoader::new().WelsDestroySVCEncoder(self.handle.as_ptr()) }
    }
}

fn bounded(rate: DataRate) -> c_int {
    rate.as_bps().clamp(*RATES.start(), *RATES.end()) as c_int
}

fn fill(parameters: &mut sys::SEncParamExt, config: EncoderConfig) {
    let (width, height) = (config.width as c_int, config.height as c_int);
    let frame_rate = config.frame_rate.clamp(FRAME_RATES.0, FRAME_RATES.1);
    parameters.iUsageType = match config.usage {
        Usage::Camera => sys::CAMERA_VIDEO_REAL_TIME,
        Usage::Screen => sys::SCREEN_CONTENT_REAL_TIME,
    };
    parameters.iPicWidth = width;
    parameters.iPicHeight = height;
    parameters.iTargetBitrate = bounded(config.rate);
    parameters.fMaxFrameRate = frame_rate;
    parameters.iRCMode = sys::RC_BITRATE_MODE;
    parameters.bEnableFrameSkip = config.frame_skip;
    parameters.iTemporalLayerNum = TEMPORAL_LAYERS;
    parameters.iSpatialLayerNum = 1;
    // One reference: the base picture before. That is what `refers_back` says.
    parameters.iNumRefFrame = 1;
    parameters.bEnableLongTermReference = false;
    // Keyframes come on request only; a cut is coded as a picture with many intra blocks, which costs the same without an IDR.
    parameters.uiIntraPeriod = 0;
    parameters.bEnableSceneChangeDetect = false;
    parameters.eSpsPpsIdStrategy = sys::CONSTANT_ID;
    parameters.iEntropyCodingModeFlag = 0;
    parameters.iMultipleThreadIdc = 1;
    let layer = &mut parameters.sSpatialLayers[0];
    layer.iVideoWidth = width;
    layer.iVideoHeight = height;
    layer.fFrameRate = frame_rate;
    layer.iSpatialBitrate = bounded(config.rate);
    layer.uiProfileIdc = sys::PRO_BASELINE;
    layer.sSliceArgument.uiSliceMode = sys::SM_SINGLE_SLICE;
}

/// Describes a picture to the library. The pointers are valid as long as the picture is borrowed; the library takes them as mutable
/// by its type but only reads.
fn source_picture(picture: &I420, time: MediaTime) -> sys::SSourcePicture {
    let mut source = sys::SSourcePicture {
        iColorFormat: sys::videoFormatI420,
        iPicWidth: picture.width() as c_int,
        iPicHeight: picture.height() as c_int,
        uiTimeStamp: (time.0 / 90) as _,
        ..sys::SSourcePicture::default()
    };
    for (at, plane) in Plane::ALL.into_iter().enumerate() {
        source.pData[at] = picture.plane(plane).as_ptr().cast_mut();
        source.iStride[at] = picture.stride(plane) as c_int;
    }
    source
}
