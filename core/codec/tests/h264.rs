//! H.264, from pictures to access units and back.

use std::sync::Arc;

use proptest::prelude::*;
use segue_codec::counter;
use segue_codec::h264::{H264Decoder, H264Ladder, LadderConfig, NalUnits, Rung, Usage, is_keyframe, picture_size};
use segue_codec::source::{SourceError, SyntheticSource, VideoSource};
use segue_codec::{DecodeError, EncodeError, EncodedVideo, FramePool, I420, Plane, VideoDecoder, VideoEncoder, VideoFrame};
use segue_model::{DataRate, EncodingId, MediaTime};

const FULL: EncodingId = EncodingId(0);

fn rung(encoding: u8, kbps: u64) -> Rung {
    Rung { encoding: EncodingId(encoding), rate: DataRate::kbps(kbps), frame_rate: 25.0, active: true }
}

fn ladder(rungs: &[Rung]) -> H264Ladder {
    H264Ladder::new(LadderConfig { usage: Usage::Camera, frame_skip: false, rungs: rungs.to_vec() }).unwrap()
}

fn decoder() -> H264Decoder {
    H264Decoder::new(FramePool::default()).unwrap()
}

fn source(width: u32, height: u32) -> SyntheticSource {
    SyntheticSource::new(width, height, 25.0, 5).unwrap()
}

/// The drawn picture with grain like that of a camera, so that there are always bits to spend.
struct Grainy(SyntheticSource, u32);

impl VideoSource for Grainy {
    fn next_frame(&mut self) -> Result<VideoFrame, SourceError> {
        let VideoFrame { picture, time } = self.0.next_frame()?;
        let mut picture = I420::clone(&picture);
        for sample in picture.plane_mut(Plane::Y) {
            self.1 = self.1.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = sample.saturating_add((self.1 >> 24) as u8 % 16);
        }
        Ok(VideoFrame { picture: Arc::new(picture), time })
    }

    fn size(&self) -> (u32, u32) {
        self.0.size()
    }

    fn frame_rate(&self) -> f32 {
        self.0.frame_rate()
    }
}

/// The captures and what became of each.
fn encode(ladder: &mut H264Ladder, source: &mut dyn VideoSource, count: usize) -> Vec<(VideoFrame, Vec<EncodedVideo>)> {
    (0..count)
        .map(|_| {
            let VideoFrame { picture, time } = source.next_frame().unwrap();
            // A copy, because the tests keep more captures than the pool gives out.
            let frame = VideoFrame { picture: Arc::new(I420::clone(&picture)), time };
            let encoded = ladder.encode(&frame).unwrap();
            (frame, encoded)
        })
        .collect()
}

fn rate(pictures: &[(VideoFrame, Vec<EncodedVideo>)], encoding: EncodingId) -> f64 {
    let of_encoding = pictures.iter().flat_map(|(_, encoded)| encoded).filter(|picture| picture.layer.encoding == encoding);
    of_encoding.map(|picture| picture.payload.len()).sum::<usize>() as f64 * 8.0 * 25.0 / pictures.len() as f64
}

#[test]
fn pictures_come_back_alike() {
    let mut ladder = ladder(&[rung(0, 1_000)]);
    let mut decoder = decoder();
    for (frame, encoded) in encode(&mut ladder, &mut source(640, 360), 50) {
        let decoded = decoder.decode(&encoded[0].payload, encoded[0].time).unwrap().unwrap();
        assert_eq!(decoded.time, frame.time);
        let psnr = decoded.picture.luma_psnr(&frame.picture).unwrap();
        assert!(psnr > 30.0, "{psnr:.1} dB at {:?}", frame.time);
    }
}

#[test]
fn the_stream_is_constrained_baseline_with_one_slice_a_picture() {
    let mut ladder = ladder(&[rung(0, 500)]);
    let pictures = encode(&mut ladder, &mut source(640, 352), 4);
    let first = &pictures[0].1[0];
    let units: Vec<&[u8]> = NalUnits::new(&first.payload).collect();
    assert_eq!(units.iter().map(|unit| unit[0] & 0x1f).collect::<Vec<_>>(), [7, 8, 5]);
    assert_eq!(units[0][1], 66);
    assert_eq!(units[0][2] & 0xc0, 0xc0, "constraint sets 0 and 1");
    assert!(units[0][3] <= 31, "level {}", units[0][3]);
    assert_eq!(picture_size(&first.payload), Some((640, 352)));
    assert!(pictures[1..].iter().all(|(_, encoded)| NalUnits::new(&encoded[0].payload).count() == 1));
}

#[test]
fn temporal_layers_alternate_and_say_what_they_refer_to() {
    let mut ladder = ladder(&[rung(0, 500)]);
    let pictures = encode(&mut ladder, &mut source(320, 180), 20);
    for (at, (_, encoded)) in pictures.iter().enumerate() {
        let picture = &encoded[0];
        let upper = at % 2 == 1;
        assert_eq!(picture.layer.temporal.0, u8::from(upper), "picture {at}");
        assert_eq!(picture.discardable, upper, "picture {at}");
        let refers_back = if at == 0 {
            0
        } else if upper {
            1
        } else {
            2
        };
        assert_eq!(picture.refers_back, refers_back, "picture {at}");
    }
}

#[test]
fn without_the_upper_layer_all_base_pictures_are_the_same() {
    let mut ladder = ladder(&[rung(0, 500)]);
    let (mut whole, mut base_only) = (decoder(), decoder());
    for (_, encoded) in encode(&mut ladder, &mut source(640, 360), 40) {
        let picture = &encoded[0];
        let expected = whole.decode(&picture.payload, picture.time).unwrap().unwrap();
        if !picture.discardable {
            let decoded = base_only.decode(&picture.payload, picture.time).unwrap().unwrap();
            assert_eq!(decoded.picture.luma_psnr(&expected.picture), Some(f64::INFINITY));
        }
    }
}

#[test]
fn a_keyframe_comes_when_asked_for() {
    let mut ladder = ladder(&[rung(0, 500), rung(1, 200)]);
    let mut source = source(640, 360);
    for asked_at in [3, 4] {
        encode(&mut ladder, &mut source, asked_at);
        ladder.request_keyframe(FULL);
        let next = ladder.encode(&source.next_frame().unwrap()).unwrap();
        assert!(next[0].keyframe && is_keyframe(&next[0].payload));
        assert_eq!((next[0].layer.temporal.0, next[0].refers_back, next[0].discardable), (0, 0, false));
        assert!(!next[1].keyframe, "only the encoding that was asked");
        let after = ladder.encode(&source.next_frame().unwrap()).unwrap();
        assert!(!after[0].keyframe);
        assert_eq!((after[0].layer.temporal.0, after[0].refers_back), (1, 1));
    }
}

#[test]
fn every_rung_of_the_ladder_decodes_and_its_counter_is_read_at_150_kbit() {
    let mut ladder = ladder(&[rung(0, 150), rung(1, 150), rung(2, 150)]);
    let mut decoders: Vec<H264Decoder> = (0..3).map(|_| decoder()).collect();
    for (number, (_, encoded)) in encode(&mut ladder, &mut source(640, 360), 75).into_iter().enumerate() {
        assert_eq!(encoded.len(), 3);
        for (picture, decoder) in encoded.iter().zip(&mut decoders) {
            let decoded = decoder.decode(&picture.payload, picture.time).unwrap().unwrap();
            assert_eq!((decoded.picture.width(), decoded.picture.height()), picture.size);
            assert_eq!(counter::read(&decoded.picture), Some((5, number as u32)), "{:?}", picture.size);
        }
        assert_eq!(encoded.iter().map(|picture| picture.size).collect::<Vec<_>>(), [(640, 360), (320, 180), (160, 90)]);
    }
}

#[test]
fn a_new_rate_is_obeyed_without_a_restart() {
    let mut ladder = ladder(&[rung(0, 600), rung(1, 250)]);
    let mut source = Grainy(source(640, 360), 1);
    for (full, half) in [(600, 250), (300, 120), (900, 350), (200, 80)] {
        ladder.set_rate(FULL, DataRate::kbps(full));
        ladder.set_rate(EncodingId(1), DataRate::kbps(half));
        let settling = encode(&mut ladder, &mut source, 25);
        let pictures = encode(&mut ladder, &mut source, 100);
        for (encoding, kbps) in [(FULL, full), (EncodingId(1), half)] {
            let ratio = rate(&pictures, encoding) / (kbps as f64 * 1_000.0);
            println!("{encoding:?} at {kbps} kbit/s: {ratio:.2}");
            assert!((0.8..1.2).contains(&ratio), "{encoding:?} at {kbps} kbit/s makes {ratio:.2} of it");
        }
        let keyframes = settling.iter().chain(&pictures).flat_map(|(_, encoded)| encoded).filter(|picture| picture.keyframe);
        assert_eq!(keyframes.count(), if full == 600 { 2 } else { 0 });
    }
}

#[test]
fn encodings_are_switched_off_and_on() {
    let mut ladder = ladder(&[rung(0, 500), rung(1, 200), rung(2, 80)]);
    let mut source = source(640, 360);
    encode(&mut ladder, &mut source, 3);
    ladder.set_active(FULL, false);
    ladder.set_active(EncodingId(1), false);
    let quarter_only = encode(&mut ladder, &mut source, 3);
    assert!(quarter_only.iter().all(|(_, encoded)| encoded.len() == 1 && encoded[0].size == (160, 90) && !encoded[0].keyframe));
    ladder.set_active(EncodingId(1), true);
    let next = ladder.encode(&source.next_frame().unwrap()).unwrap();
    assert_eq!(
        next.iter().map(|picture| (picture.layer.encoding.0, picture.keyframe)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
}

#[test]
fn a_slower_encoding_takes_every_second_picture() {
    let mut ladder = ladder(&[rung(0, 500), Rung { frame_rate: 12.5, ..rung(1, 100) }]);
    let mut source = source(320, 180);
    let pictures = encode(&mut ladder, &mut source, 50);
    let count =
        |pictures: &[(VideoFrame, Vec<EncodedVideo>)]| pictures.iter().filter(|(_, encoded)| encoded.len() == 2).count();
    assert_eq!(count(&pictures), 25);
    ladder.set_frame_rate(EncodingId(1), 25.0);
    assert!(count(&encode(&mut ladder, &mut source, 50)) >= 49);
}

#[test]
fn another_size_starts_anew() {
    let mut ladder = ladder(&[rung(0, 500)]);
    let mut decoder = decoder();
    for (width, height) in [(320, 180), (180, 320), (640, 360)] {
        for (at, (_, encoded)) in encode(&mut ladder, &mut source(width, height), 5).into_iter().enumerate() {
            assert_eq!(encoded[0].keyframe, at == 0);
            let decoded = decoder.decode(&encoded[0].payload, encoded[0].time).unwrap().unwrap();
            assert_eq!((decoded.picture.width(), decoded.picture.height()), (width, height));
        }
    }
}

#[test]
fn screens_are_encoded_too() {
    let mut ladder = H264Ladder::new(LadderConfig::screen(DataRate::kbps(800), 10.0)).unwrap();
    let mut source = SyntheticSource::new(1280, 720, 10.0, 3).unwrap();
    let mut decoder = decoder();
    let pictures = encode(&mut ladder, &mut source, 20);
    assert!(pictures.iter().filter(|(_, encoded)| !encoded.is_empty()).count() >= 10);
    let mut base_only = self::decoder();
    for picture in pictures.iter().flat_map(|(_, encoded)| encoded) {
        let expected = decoder.decode(&picture.payload, picture.time).unwrap().unwrap();
        assert_eq!(picture.discardable, picture.layer.temporal.0 == 1);
        if !picture.discardable {
            let decoded = base_only.decode(&picture.payload, picture.time).unwrap().unwrap();
            assert_eq!(decoded.picture.luma_psnr(&expected.picture), Some(f64::INFINITY));
        }
    }
}

#[test]
fn ladders_that_make_no_sense_are_refused() {
    for rungs in [vec![], vec![rung(0, 1), rung(0, 1)], vec![rung(3, 100)]] {
        let config = LadderConfig { usage: Usage::Camera, frame_skip: false, rungs };
        assert_eq!(H264Ladder::new(config).err(), Some(EncodeError::Refused("set of encodings")));
    }
    let mut ladder = ladder(&[rung(2, 100)]);
    let tiny = VideoFrame { picture: Arc::new(I420::new(32, 32).unwrap()), time: MediaTime(0) };
    assert_eq!(ladder.encode(&tiny), Err(EncodeError::Shape));
    assert_eq!(LadderConfig::camera(640, 360, 25.0).rungs.len(), 3);
    assert_eq!(LadderConfig::camera(160, 120, 25.0).rungs.len(), 1);
}

#[test]
fn the_decoder_starts_at_keyframes_and_again_after_a_loss() {
    let mut ladder = ladder(&[rung(0, 300)]);
    let mut source = source(320, 180);
    let mut pictures = encode(&mut ladder, &mut source, 8);
    ladder.request_keyframe(FULL);
    pictures.extend(encode(&mut ladder, &mut source, 4));
    let pictures: Vec<EncodedVideo> = pictures.into_iter().flat_map(|(_, encoded)| encoded).collect();

    let mut late = decoder();
    assert_eq!(late.decode(&pictures[2].payload, MediaTime(0)).err(), Some(DecodeError::AwaitingKeyframe));

    let mut decoder = decoder();
    for picture in &pictures[..4] {
        assert!(decoder.decode(&picture.payload, picture.time).unwrap().is_some());
    }
    // The base picture 4 is lost: nothing after it decodes until the keyframe.
    for picture in &pictures[5..8] {
        let result = decoder.decode(&picture.payload, picture.time);
        assert!(result.is_err(), "a picture without its reference was shown: {result:?}");
    }
    for picture in &pictures[8..] {
        assert!(decoder.decode(&picture.payload, picture.time).unwrap().is_some());
    }
}

#[test]
fn streams_that_would_take_too_much_memory_are_refused() {
    // Baseline, order count type 2, then references, width and height as Exp-Golomb codes: 4096x4096 with one, 1920x1088 with 31.
    for bits in ["1 1 011 010 0 00000000100000000 00000000100000000 1", "1 1 011 00000100000 0 0000001111000 0000001000100 1"] {
        let bits: Vec<u8> = bits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
        let mut unit = vec![0, 0, 0, 1, 0x67, 66, 0xc0, 52];
        unit.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))));
        assert_eq!(decoder().decode(&unit, MediaTime(0)).err(), Some(DecodeError::TooLarge));
        unit[5] = 100;
        assert_eq!(decoder().decode(&unit, MediaTime(0)).err(), Some(DecodeError::Unsupported));
    }
}

#[test]
fn a_full_pool_is_an_error_that_passes() {
    let mut ladder = ladder(&[rung(0, 300)]);
    let pictures = encode(&mut ladder, &mut source(320, 180), 4);
    let mut decoder = H264Decoder::new(FramePool::new(1)).unwrap();
    let held = decoder.decode(&pictures[0].1[0].payload, MediaTime(0)).unwrap().unwrap();
    assert_eq!(decoder.decode(&pictures[1].1[0].payload, MediaTime(1)).err(), Some(DecodeError::NoFrame));
    drop(held);
    assert!(decoder.decode(&pictures[2].1[0].payload, MediaTime(2)).unwrap().is_some());
}

/// A short stream to damage.
fn stream() -> Vec<EncodedVideo> {
    encode(&mut ladder(&[rung(0, 200)]), &mut source(176, 144), 6).into_iter().flat_map(|(_, encoded)| encoded).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(units in prop::collection::vec((prop_oneof![Just(0x67u8), Just(0x68), Just(0x65), Just(0x41), any::<u8>()], prop::collection::vec(any::<u8>(), 0..200)), 1..12)) {
        let mut decoder = decoder();
        for (header, body) in units {
            let mut unit = vec![0, 0, 0, 1, header];
            unit.extend(body);
            let _ = decoder.decode(&unit, MediaTime(0));
            let _ = decoder.decode(&unit[4..], MediaTime(0));
        }
    }

    #[test]
    fn damaged_pictures_are_survived_and_a_keyframe_heals(damage in prop::collection::vec((0usize..6, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..40)) {
        let pictures = stream();
        let mut payloads: Vec<Vec<u8>> = pictures.iter().map(|picture| picture.payload.to_vec()).collect();
        for (which, at, value, cut) in damage {
            let payload = &mut payloads[which];
            if payload.is_empty() {
                continue;
            }
            let at = at.index(payload.len());
            if cut { payload.truncate(at) } else { payload[at] ^= value }
        }
        let mut decoder = decoder();
        for payload in &payloads {
            let _ = decoder.decode(payload, MediaTime(0));
        }
        // Damage to a keyframe's parameter sets can leave the library in a state it leaves at the keyframe after the next at the latest.
        let _ = decoder.decode(&pictures[0].payload, MediaTime(0));
        prop_assert!(decoder.decode(&pictures[0].payload, MediaTime(0)).is_ok_and(|frame| frame.is_some()));
    }
}
