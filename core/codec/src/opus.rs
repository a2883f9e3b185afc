//! Opus (RFC 6716) by libopus 1.6.
//!
//! The encoder speaks 48 kHz in frames of 20 ms, with in-band repair data (a coarse copy of the previous frame) as the expected
//! loss asks for, and discontinuous transmission when switched on. The decoder runs at complexity 5 or more, from where libopus
//! conceals lost packets with its neural model instead of repeating pitch periods.

use std::ffi::c_int;
use std::ptr::NonNull;

use bytes::Bytes;
use opusic_sys as sys;
use segue_model::{DataRate, MediaTime};

use crate::audio::{AudioFrame, Channels, FRAME_SAMPLES, LevelMeter, SAMPLE_RATE};
use crate::traits::{AudioDecoder, AudioEncoder, DecodeError, EncodeError, EncodedAudio};

/// Room for one encoded frame: the most a 20 ms Opus packet can hold (RFC 6716 section 3.2.1).
const MAX_PACKET: usize = 1_275;

/// Largest packet the decoder is given: 120 ms in six frames of the largest size, with their lengths.
const MAX_DECODED_PACKET: usize = 6 * MAX_PACKET + 16;

/// Samples per channel of the longest packet, 120 ms (RFC 6716 section 3.2.5).
const MAX_FRAME_SAMPLES: usize = 5_760;

/// A packet this short holds no sound, only "silence goes on" (RFC 6716 section 2.1.9).
const SILENCE_BYTES: usize = 2;

/// Rates that make sense for one stream; outside, libopus would clamp silently.
const RATES: std::ops::RangeInclusive<u64> = 6_000..=510_000;

/// Complexity of a decoder from which libopus conceals with its neural model.
const DEEP_CONCEALMENT: u8 = 5;

/// The highest complexity there is.
const MAX_COMPLEXITY: u8 = 10;

/// What an encoder is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpusEncoderConfig {
    /// One channel or two.
    pub channels: Channels,
    /// Target rate.
    pub rate: DataRate,
    /// Packets in a hundred that are expected to be lost; above 0 packets carry repair data for the one before.
    pub expected_loss: u8,
    /// Send next to nothing while nobody speaks.
    pub dtx: bool,
    /// Effort, 0 to 10.
    pub complexity: u8,
}

impl Default for OpusEncoderConfig {
    /// Mono speech at 32 kbit/s: full band, with room for repair data.
    fn default() -> Self {
        Self { channels: Channels::Mono, rate: DataRate::kbps(32), expected_loss: 10, dtx: false, complexity: 7 }
    }
}

/// An Opus encoder.
#[derive(Debug)]
pub struct OpusEncoder {
    handle: NonNull<sys::OpusEncoder>,
    channels: Channels,
    meter: LevelMeter,
    packet: Box<[u8; MAX_PACKET]>,
}

/// An Opus decoder.
#[derive(Debug)]
pub struct OpusDecoder {
    handle: NonNull<sys::OpusDecoder>,
    channels: Channels,
}

// SAFETY: an encoder state is plain memory of libopus without ties to a thread; it is only reached through `&mut self`.
unsafe impl Send for OpusEncoder {}

// SAFETY: as for the encoder.
unsafe impl Send for OpusDecoder {}

impl OpusEncoder {
    /// Sets an encoder up.
    ///
    /// # Errors
    /// When the configuration is out of range or libopus has no memory.
    pub fn new(config: OpusEncoderConfig) -> Result<Self, EncodeError> {
        if !RATES.contains(&config.rate.as_bps()) {
            return Err(EncodeError::Refused("rate"));
        }
        if config.complexity > MAX_COMPLEXITY {
            return Err(EncodeError::Refused("complexity"));
        }
        let mut error: c_int = 0;
        // SAFETY: the arguments are values libopus documents; `error` lives across the call.
        let handle = unsafe {
            sys::opus_encoder_create(
                SAMPLE_RATE as i32,
                config.channels.count() as c_int,
                sys::OPUS_APPLICATION_VOIP,
                &raw mut error,
            )
        };
        let handle = NonNull::new(handle).ok_or(EncodeError::Library(error))?;
        let mut encoder =
            Self { handle, channels: config.channels, meter: LevelMeter::new(), packet: Box::new([0; MAX_PACKET]) };
        encoder.control(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(config.complexity))?;
        encoder.control(sys::OPUS_SET_INBAND_FEC_REQUEST, 1)?;
        encoder.control(sys::OPUS_SET_BITRATE_REQUEST, config.rate.as_bps() as c_int)?;
        encoder.control(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(config.expected_loss.min(100)))?;
        encoder.control(sys::OPUS_SET_DTX_REQUEST, c_int::from(config.dtx))?;
        Ok(encoder)
    }

    fn control(&mut self, request: c_int, value: c_int) -> Result<(), EncodeError> {
        // SAFETY: the handle is valid until drop; every request this module passes is a setter that takes one `opus_int32` by value.
        let code = unsafe { sys::opus_encoder_ctl(self.handle.as_ptr(), request, value) };
        if code == sys::OPUS_OK { Ok(()) } else { Err(EncodeError::Library(code)) }
    }

    /// Setters that cannot fail with the values they are given; if libopus disagrees the old setting stays, and that is logged.
    fn adjust(&mut self, request: c_int, value: c_int) {
        if let Err(error) = self.control(request, value) {
            tracing::warn!(request, value, %error, "opus setting refused");
        }
    }
}

impl AudioEncoder for OpusEncoder {
    fn encode(&mut self, frame: &AudioFrame) -> Result<EncodedAudio, EncodeError> {
        if frame.channels != self.channels || frame.samples.len() != FRAME_SAMPLES * self.channels.count() {
            return Err(EncodeError::Shape);
        }
        let level = self.meter.push(&frame.samples);
        // SAFETY: `samples` holds FRAME_SAMPLES per channel as checked above, `packet` holds MAX_PACKET bytes, the handle is valid.
        let written = unsafe {
            sys::opus_encode(
                self.handle.as_ptr(),
                frame.samples.as_ptr(),
                FRAME_SAMPLES as c_int,
                self.packet.as_mut_ptr(),
                MAX_PACKET as i32,
            )
        };
        let length = usize::try_from(written).map_err(|_| EncodeError::Library(written))?;
        let payload = self.packet.get(..length).ok_or(EncodeError::Library(written))?;
        Ok(EncodedAudio { time: frame.time, level, silence: length <= SILENCE_BYTES, payload: Bytes::copy_from_slice(payload) })
    }

    fn set_rate(&mut self, rate: DataRate) {
        self.adjust(sys::OPUS_SET_BITRATE_REQUEST, rate.as_bps().clamp(*RATES.start(), *RATES.end()) as c_int);
    }

    fn set_expected_loss(&mut self, percent: u8) {
        self.adjust(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(percent.min(100)));
    }

    fn set_dtx(&mut self, on: bool) {
        self.adjust(sys::OPUS_SET_DTX_REQUEST, c_int::from(on));
    }
}

impl Drop for OpusEncoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from `opus_encoder_create` and is destroyed nowhere else.
        unsafe { sys::opus_encoder_destroy(self.handle.as_ptr()) }
    }
}

impl OpusDecoder {
    /// Sets a decoder up that gives so many channels whatever the sender encodes.
    ///
    /// # Errors
    /// When libopus has no memory.
    pub fn new(channels: Channels) -> Result<Self, DecodeError> {
        let mut error: c_int = 0;
        // SAFETY: the arguments are values libopus documents; `error` lives across the call.
        let handle = unsafe { sys::opus_decoder_create(SAMPLE_RATE as i32, channels.count() as c_int, &raw mut error) };
        let handle = NonNull::new(handle).ok_or(DecodeError::Setup(error))?;
        let decoder = Self { handle, channels };
        // SAFETY: the handle is valid; the request takes one `opus_int32` by value.
        let code =
            unsafe { sys::opus_decoder_ctl(handle.as_ptr(), sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(DEEP_CONCEALMENT)) };
        if code == sys::OPUS_OK { Ok(decoder) } else { Err(DecodeError::Setup(code)) }
    }

    /// One call into libopus: no packet means concealment, `repair` means the frame before the packet.
    fn run(&mut self, packet: Option<&[u8]>, repair: bool, time: MediaTime) -> Result<AudioFrame, DecodeError> {
        let length = packet.map_or(0, <[u8]>::len);
        if length > MAX_DECODED_PACKET {
            return Err(DecodeError::TooLarge);
        }
        // Concealment and repair make exactly as much sound as they are asked for; a packet as much as it holds.
        let room = if packet.is_some() && !repair { MAX_FRAME_SAMPLES } else { FRAME_SAMPLES };
        let mut samples = vec![0i16; room * self.channels.count()];
        // SAFETY: the data pointer is null with length 0, or covers `length` bytes; `samples` holds `room` samples per channel; the
        // handle is valid.
        let decoded = unsafe {
            sys::opus_decode(
                self.handle.as_ptr(),
                packet.map_or(std::ptr::null(), <[u8]>::as_ptr),
                length as i32,
                samples.as_mut_ptr(),
                room as c_int,
                c_int::from(repair),
            )
        };
        let decoded = usize::try_from(decoded).map_err(|_| DecodeError::Damaged(decoded))?;
        samples.truncate(decoded * self.channels.count());
        Ok(AudioFrame { time, channels: self.channels, samples })
    }
}

impl AudioDecoder for OpusDecoder {
    fn decode(&mut self, packet: &[u8], time: MediaTime) -> Result<AudioFrame, DecodeError> {
        if packet.is_empty() {
            return Err(DecodeError::Damaged(sys::OPUS_INVALID_PACKET));
        }
        self.run(Some(packet), false, time)
    }

    fn decode_fec(&mut self, next: &[u8], time: MediaTime) -> Result<AudioFrame, DecodeError> {
        if next.is_empty() {
            return Err(DecodeError::Damaged(sys::OPUS_INVALID_PACKET));
        }
        self.run(Some(next), true, time)
    }

    fn conceal(&mut self, time: MediaTime) -> Result<AudioFrame, DecodeError> {
        self.run(None, false, time)
    }
}

impl Drop for OpusDecoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from `opus_decoder_create` and is destroyed nowhere else.
        unsafe { sys::opus_decoder_destroy(self.handle.as_ptr()) }
    }
}

/// Whether a packet carries repair data for the frame before it.
#[must_use]
pub fn has_repair_data(packet: &[u8]) -> bool {
    if packet.is_empty() || packet.len() > MAX_DECODED_PACKET {
        return false;
    }
    // SAFETY: the pointer covers the length passed with it, which is not 0.
    unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), packet.len() as i32) == 1 }
}
