//! Prints what the codecs cost: CPU milliseconds per picture and per 20 ms of sound, on one thread.
//!
//! `cargo run --release -p segue-codec --example cost [file.y4m]`. Reads the thread's CPU time from Linux's procfs, so that other
//! load on the machine does not count.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use segue_codec::h264::{H264Decoder, H264Ladder, LadderConfig, Rung, Usage};
use segue_codec::opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig};
use segue_codec::{
    AudioDecoder, AudioEncoder, AudioFrame, Channels, EncodedVideo, FramePool, I420, VideoDecoder, VideoEncoder, VideoFrame,
};
use segue_codec::{counter, source};
use segue_model::{DataRate, EncodingId, MediaTime};

const PICTURES: usize = 250;
const SOUNDS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).map(PathBuf::from);
    let mut video = source::video(path.as_deref(), (640, 360), 25.0, 1)?;
    println!("{}", video.description);
    let captures = (0..PICTURES)
        .map(|_| {
            video
                .source
                .next_frame()
                .map(|frame| VideoFrame { picture: Arc::new(I420::clone(&frame.picture)), time: frame.time })
        })
        .collect::<Result<Vec<_>, _>>()?;
    for (name, kbps, encodings) in [
        ("full, 600 kbit/s", 600, 1),
        ("full, 150 kbit/s", 150, 1),
        ("full + half + quarter", 600, 3),
        ("the same, starved", 150, 3),
    ] {
        let encoded = encode(name, kbps, encodings, &captures)?;
        for encoding in 0..encodings {
            decode(EncodingId(encoding), &encoded)?;
        }
    }
    let mut speech = source::speech(0);
    println!("{}", speech.description);
    let sounds: Vec<AudioFrame> = (0..SOUNDS).map(|_| speech.source.next_frame()).collect();
    for complexity in [5, 7, 9, 10] {
        encode_sound(complexity, &sounds)?;
    }
    Ok(())
}

/// CPU time of this thread so far, in milliseconds.
fn cpu_ms() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e6)
}

fn encode(name: &str, kbps: u64, encodings: u8, captures: &[VideoFrame]) -> Result<Vec<EncodedVideo>, Box<dyn Error>> {
    let rungs = (0..encodings)
        .map(|encoding| Rung {
            encoding: EncodingId(encoding),
            rate: DataRate::kbps(kbps >> encoding),
            frame_rate: 25.0,
            active: true,
        })
        .collect();
    let mut ladder = H264Ladder::new(LadderConfig { usage: Usage::Camera, frame_skip: false, rungs })?;
    let mut encoded = Vec::new();
    let start = cpu_ms()?;
    for capture in captures {
        encoded.extend(ladder.encode(capture)?);
    }
    let each = (cpu_ms()? - start) / captures.len() as f64;
    let bytes: usize = encoded.iter().map(|picture| picture.payload.len()).sum();
    let rate = bytes as f64 * 8.0 * 25.0 / captures.len() as f64 / 1_000.0;
    println!("encode {name}: {each:.2} ms a capture, {:.1} % of a core at 25 fps, {rate:.0} kbit/s", each * 2.5);
    Ok(encoded)
}

fn decode(encoding: EncodingId, encoded: &[EncodedVideo]) -> Result<(), Box<dyn Error>> {
    let mut decoder = H264Decoder::new(FramePool::default())?;
    let pictures: Vec<&EncodedVideo> = encoded.iter().filter(|picture| picture.layer.encoding == encoding).collect();
    let start = cpu_ms()?;
    let mut decoded = 0;
    for picture in &pictures {
        decoded += u32::from(decoder.decode(&picture.payload, picture.time)?.is_some());
    }
    let each = (cpu_ms()? - start) / pictures.len() as f64;
    let (width, height) = pictures.first().map_or((0, 0), |picture| picture.size);
    println!("  decode {width}x{height}: {each:.2} ms a picture, {:.1} % of a core at 25 fps, {decoded} decoded", each * 2.5);
    let mut decoder = H264Decoder::new(FramePool::default())?;
    let mut counted = 0;
    for picture in &pictures {
        counted += u32::from(
            decoder.decode(&picture.payload, picture.time)?.is_some_and(|frame| counter::read(&frame.picture).is_some()),
        );
    }
    println!("  the counter is read in {counted}");
    Ok(())
}

fn encode_sound(complexity: u8, sounds: &[AudioFrame]) -> Result<(), Box<dyn Error>> {
    let mut encoder = OpusEncoder::new(OpusEncoderConfig { complexity, ..OpusEncoderConfig::default() })?;
    let start = cpu_ms()?;
    let packets = sounds.iter().map(|sound| encoder.encode(sound)).collect::<Result<Vec<_>, _>>()?;
    let encoding = (cpu_ms()? - start) / sounds.len() as f64;
    let mut decoder = OpusDecoder::new(Channels::Mono)?;
    let start = cpu_ms()?;
    for packet in &packets {
        decoder.decode(&packet.payload, packet.time)?;
    }
    let decoding = (cpu_ms()? - start) / sounds.len() as f64;
    let start = cpu_ms()?;
    let mut concealed = 0;
    for packet in packets.iter().step_by(10) {
        decoder.decode(&packet.payload, packet.time)?;
        decoder.conceal(MediaTime(0))?;
        concealed += 1;
    }
    let concealing = (cpu_ms()? - start) / f64::from(concealed) - decoding;
    println!(
        "opus at complexity {complexity}: encode {encoding:.3} ms, decode {decoding:.3} ms, conceal {concealing:.3} ms per 20 ms"
    );
    Ok(())
}
