//! Sources that read files.

use std::io::Write;
use std::path::Path;

use segue_codec::counter;
use segue_codec::source::{self, AudioSource, SourceError, VideoSource, WavSource, Y4mSource};
use segue_model::MediaTime;

struct TempFile(std::path::PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("segue-codec-{}-{name}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wav(rate: u32, channels: u16, frames: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for at in 0..frames {
        let sample = (8_000.0 * (std::f64::consts::TAU * 500.0 * at as f64 / f64::from(rate)).sin()) as i16;
        for _ in 0..channels {
            writer.write_sample(sample).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn a_sound_file_is_converted_and_starts_over() {
    for (rate, channels) in [(16_000, 1), (44_100, 2), (48_000, 1)] {
        let file = TempFile::new(&format!("{rate}-{channels}.wav"), &wav(rate, channels, rate as usize));
        let mut source = WavSource::open(&[&file.0]).unwrap();
        assert!((source.seconds() - 1.0).abs() < 0.01);
        let frames: Vec<_> = (0..75).map(|_| source.next_frame()).collect();
        assert!(frames.iter().enumerate().all(|(at, frame)| frame.length() == 960 && frame.time == MediaTime(at as u64 * 960)));
        let second: Vec<i16> = frames[60..70].iter().flat_map(|frame| frame.samples.clone()).collect();
        assert!(source::tone_strength(&second, 500.0) > 0.95, "{rate} Hz");
    }
}

#[test]
fn files_that_cannot_be_used_are_errors() {
    assert!(matches!(WavSource::open(&["/nonexistent.wav"]), Err(SourceError::Read { .. })));
    let garbage = TempFile::new("garbage.wav", b"RIFFgarbage");
    assert!(WavSource::open(&[&garbage.0]).is_err());
    let empty = TempFile::new("empty.wav", &wav(16_000, 1, 0));
    assert!(matches!(WavSource::open(&[&empty.0]), Err(SourceError::Unsupported { .. })));
    let none: [&Path; 0] = [];
    assert!(WavSource::open(&none).is_err());
    assert!(matches!(Y4mSource::open(Path::new("/nonexistent.y4m"), None), Err(SourceError::Read { .. })));
    assert!(Y4mSource::open(&garbage.0, None).is_err());
    let headless = TempFile::new("headless.y4m", b"YUV4MPEG2 W64 H64 F25:1 C420\n");
    let mut source = Y4mSource::open(&headless.0, None).unwrap();
    assert!(matches!(source.next_frame(), Err(SourceError::Read { .. })));
    let high = TempFile::new("high.y4m", b"YUV4MPEG2 W64 H64 F25:1 C444\n");
    assert!(matches!(Y4mSource::open(&high.0, None), Err(SourceError::Unsupported { .. })));
}

#[test]
fn a_video_file_loops_with_its_counter_running_on() {
    let (width, height) = (129usize, 73usize);
    let mut content = Vec::new();
    {
        let mut encoder = y4m::encode(width, height, y4m::Ratio::new(25, 1)).write_header(&mut content).unwrap();
        for shade in [60u8, 120, 180] {
            let (luma, chroma) = (vec![shade; width * height], vec![shade; width.div_ceil(2) * height.div_ceil(2)]);
            encoder.write_frame(&y4m::Frame::new([&luma, &chroma, &chroma], None)).unwrap();
        }
    }
    let file = TempFile::new("loop.y4m", &content);
    let mut source = Y4mSource::open(&file.0, Some(77)).unwrap();
    assert_eq!((source.size(), source.frame_rate()), ((128, 72), 25.0));
    for number in 0..8u32 {
        let frame = source.next_frame().unwrap();
        assert_eq!(counter::read(&frame.picture), Some((77, number)));
        assert_eq!(frame.time, MediaTime(u64::from(number) * 3_600));
        let bottom = frame.picture.rows(segue_codec::Plane::Y).last().unwrap();
        assert!(bottom.iter().all(|&sample| u32::from(sample) == 60 + 60 * (number % 3)));
    }
}

#[test]
fn what_is_found_says_what_it_is() {
    let mut speech = source::speech(2);
    assert_eq!(speech.real, !source::find_speech().is_empty());
    assert_eq!(speech.real, speech.description.starts_with("recorded"), "{}", speech.description);
    assert_eq!(speech.source.next_frame().length(), 960);
    let mut video = source::video(Some(Path::new("/nonexistent.y4m")), (320, 180), 25.0, 4).unwrap();
    assert!(!video.real && video.description.starts_with("synthetic"), "{}", video.description);
    assert_eq!(counter::read(&video.source.next_frame().unwrap().picture), Some((4, 0)));
}
