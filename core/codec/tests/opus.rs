//! Opus, from samples to packets and back.

use proptest::prelude::*;
use segue_codec::opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig, has_repair_data};
use segue_codec::source::{self, AudioSource, ToneSource, detect_tone};
use segue_codec::{AudioDecoder, AudioEncoder, AudioFrame, Channels, DecodeError, EncodeError, EncodedAudio};
use segue_model::{DataRate, MediaTime};

fn config() -> OpusEncoderConfig {
    OpusEncoderConfig::default()
}

/// Recorded speech when the machine has it, otherwise a stand-in that is voiced and paused like speech.
fn speech(frames: usize) -> Vec<AudioFrame> {
    let mut found = source::speech(0);
    if found.real {
        return (0..frames).map(|_| found.source.next_frame()).collect();
    }
    let mut samples = (0..frames * 960).map(|at| {
        let seconds = at as f64 / 48_000.0;
        let pitch = 120.0 + 20.0 * (seconds * 5.0).sin();
        let syllable = (seconds * 4.0 * std::f64::consts::PI).sin().max(0.0);
        let voice: f64 = (1..12)
            .map(|harmonic| (std::f64::consts::TAU * pitch * f64::from(harmonic) * seconds).sin() / f64::from(harmonic))
            .sum();
        (voice * syllable * 5_000.0) as i16
    });
    (0..frames as u64)
        .map(|at| AudioFrame {
            time: MediaTime(at * 960),
            channels: Channels::Mono,
            samples: samples.by_ref().take(960).collect(),
        })
        .collect()
}

fn encode_all(encoder: &mut OpusEncoder, frames: &[AudioFrame]) -> Vec<EncodedAudio> {
    frames.iter().map(|frame| encoder.encode(frame).unwrap()).collect()
}

fn energy_of_difference(a: &AudioFrame, b: &AudioFrame) -> f64 {
    a.samples.iter().zip(&b.samples).map(|(a, b)| f64::from(i32::from(*a) - i32::from(*b)).powi(2)).sum()
}

#[test]
fn a_tone_comes_back_and_is_detected() {
    for channels in [Channels::Mono, Channels::Stereo] {
        let mut source = ToneSource::of_participant(7);
        let mut encoder = OpusEncoder::new(config()).unwrap();
        let mut decoder = OpusDecoder::new(channels).unwrap();
        let mut heard = Vec::new();
        for _ in 0..25 {
            let encoded = encoder.encode(&source.next_frame()).unwrap();
            assert!(encoded.level.level < 30);
            let decoded = decoder.decode(&encoded.payload, encoded.time).unwrap();
            assert_eq!((decoded.length(), decoded.time), (960, encoded.time));
            heard.extend(decoded.with_channels(Channels::Mono).samples);
        }
        assert_eq!(source::loudest_tone(&heard[4_800..]).map(|(index, _)| index), Some(7));
        assert!(!detect_tone(&heard[4_800..], source::tone_frequency(9)));
    }
}

#[test]
fn frames_of_another_shape_are_refused() {
    let mut encoder = OpusEncoder::new(config()).unwrap();
    let mut frame = AudioFrame::silence(Channels::Stereo, MediaTime(0));
    assert_eq!(encoder.encode(&frame), Err(EncodeError::Shape));
    frame.channels = Channels::Mono;
    frame.samples.truncate(959);
    assert_eq!(encoder.encode(&frame), Err(EncodeError::Shape));
    assert!(OpusEncoder::new(OpusEncoderConfig { rate: DataRate::bps(100), ..config() }).is_err());
    assert!(OpusEncoder::new(OpusEncoderConfig { complexity: 11, ..config() }).is_err());
}

#[test]
fn silence_is_not_sent_with_dtx_and_is_without() {
    let silence: Vec<AudioFrame> = (0..100).map(|at| AudioFrame::silence(Channels::Mono, MediaTime(at * 960))).collect();
    let mut encoder = OpusEncoder::new(config()).unwrap();
    assert!(encode_all(&mut encoder, &silence).iter().all(|packet| !packet.silence));
    encoder.set_dtx(true);
    let packets = encode_all(&mut encoder, &silence);
    let sent = packets[50..].iter().filter(|packet| !packet.silence).count();
    assert!(sent <= 5, "{sent} of 50 packets of silence were sent");
    assert!(packets.iter().all(|packet| packet.level.level == 127 && !packet.level.voice));
}

#[test]
fn the_rate_is_changed_on_the_fly() {
    let frames = speech(400);
    let mut encoder = OpusEncoder::new(OpusEncoderConfig { expected_loss: 0, ..config() }).unwrap();
    let mut rate_at = |kbps: u64| {
        encoder.set_rate(DataRate::kbps(kbps));
        let bytes: usize = encode_all(&mut encoder, &frames).iter().map(|packet| packet.payload.len()).sum();
        bytes as f64 * 8.0 / 8.0 / 1_000.0
    };
    let (high, low) = (rate_at(48), rate_at(16));
    // Variable rate: pauses cost less, so the mean lies below the target rather than at it.
    assert!((48.0 * 0.4..48.0 * 1.2).contains(&high), "{high:.1} kbit/s");
    assert!((16.0 * 0.4..16.0 * 1.2).contains(&low), "{low:.1} kbit/s");
}

#[test]
fn repair_data_beats_concealment_which_beats_silence() {
    let frames = speech(400);
    let mut encoder = OpusEncoder::new(OpusEncoderConfig { expected_loss: 20, ..config() }).unwrap();
    let packets = encode_all(&mut encoder, &frames);
    assert!(packets.iter().filter(|packet| has_repair_data(&packet.payload)).count() > 50);

    let mut reference = OpusDecoder::new(Channels::Mono).unwrap();
    let (mut repairing, mut concealing) =
        (OpusDecoder::new(Channels::Mono).unwrap(), OpusDecoder::new(Channels::Mono).unwrap());
    let (mut silence, mut repaired, mut concealed) = (0.0, 0.0, 0.0);
    for (at, packet) in packets.iter().enumerate() {
        let truth = reference.decode(&packet.payload, packet.time).unwrap();
        let lost = at % 10 == 9 && at + 1 < packets.len();
        if !lost {
            repairing.decode(&packet.payload, packet.time).unwrap();
            concealing.decode(&packet.payload, packet.time).unwrap();
            continue;
        }
        let from_next = repairing.decode_fec(&packets[at + 1].payload, packet.time).unwrap();
        let made_up = concealing.conceal(packet.time).unwrap();
        assert_eq!((from_next.length(), made_up.length()), (960, 960));
        silence += energy_of_difference(&truth, &AudioFrame::silence(Channels::Mono, packet.time));
        repaired += energy_of_difference(&truth, &from_next);
        concealed += energy_of_difference(&truth, &made_up);
    }
    println!("error energy against silence: repair {:.3}, concealment {:.3}", repaired / silence, concealed / silence);
    assert!(repaired < 0.5 * silence, "repair leaves {:.2} of the error of silence", repaired / silence);
    assert!(repaired < concealed);
}

#[test]
fn nothing_and_nonsense_are_errors() {
    let mut decoder = OpusDecoder::new(Channels::Mono).unwrap();
    assert!(matches!(decoder.decode(&[], MediaTime(0)), Err(DecodeError::Damaged(_))));
    assert!(matches!(decoder.decode_fec(&[], MediaTime(0)), Err(DecodeError::Damaged(_))));
    assert_eq!(decoder.decode(&[0; 100_000], MediaTime(0)), Err(DecodeError::TooLarge));
    assert_eq!(decoder.conceal(MediaTime(0)).unwrap().length(), 960);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..20)) {
        let mut decoder = OpusDecoder::new(Channels::Stereo).unwrap();
        for (packet, repair) in packets {
            let result = if repair { decoder.decode_fec(&packet, MediaTime(0)) } else { decoder.decode(&packet, MediaTime(0)) };
            if let Ok(frame) = result {
                prop_assert!(frame.length() <= 5_760);
            }
            let _ = has_repair_data(&packet);
        }
    }
}
