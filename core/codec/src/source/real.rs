//! Real speech and video where the machine has them, drawn and sounded stand-ins where not.

use std::path::{Path, PathBuf};

use super::{AudioSource, SyntheticSource, ToneSource, VideoSource, WavSource, Y4mSource};
use crate::frame::FrameError;

/// Where Debian's packages put recorded speech: LibriVox readings (`pocketsphinx-testdata`, 16 kHz), spoken channel names
/// (`alsa-utils`, 48 kHz).
const SPEECH_DIRECTORIES: [&str; 2] = ["/usr/share/pocketsphinx/test/data/librivox", "/usr/share/sounds/alsa"];

/// Most files taken from a directory: clips enough for any demo, whatever else lies there.
const MAX_FILES: usize = 16;

/// A source and where it comes from.
pub struct Found<S: ?Sized> {
    /// The source.
    pub source: Box<S>,
    /// Recorded, not made up.
    pub real: bool,
    /// What it is, in words for a report.
    pub description: String,
}

/// The speech recordings of this machine, in a fixed order; empty when it has none.
#[must_use]
pub fn find_speech() -> Vec<PathBuf> {
    SPEECH_DIRECTORIES
        .iter()
        .map(|directory| sound_files(Path::new(directory)))
        .find(|files| !files.is_empty())
        .unwrap_or_default()
}

/// Speech for the `index`th participant: all recordings one after the other, each participant starting with another; a tone of the
/// participant's own when there are none.
#[must_use]
pub fn speech(index: u32) -> Found<dyn AudioSource> {
    let mut files = find_speech();
    if !files.is_empty() {
        let first = index as usize % files.len();
        files.rotate_left(first);
        match WavSource::open(&files) {
            Ok(source) => {
                let start = files.first().and_then(|file| file.file_name()).unwrap_or_default().to_string_lossy().into_owned();
                let description = format!("recorded speech, {} clips from {start} on", files.len());
                return Found { source: Box::new(source), real: true, description };
            }
            Err(error) => tracing::warn!(%error, "speech recordings cannot be used"),
        }
    }
    let source = ToneSource::of_participant(index);
    let description = format!("synthetic tone of {} Hz: no speech recordings found", super::tone_frequency(index));
    Found { source: Box::new(source), real: false, description }
}

/// Video for the source `source_id`, its counter drawn in: the file at `path` played at `frame_rate`, or a drawn picture of the
/// given size when there is no path or the file cannot be used.
///
/// # Errors
/// When not even a drawn picture can have the size.
pub fn video(
    path: Option<&Path>,
    (width, height): (u32, u32),
    frame_rate: f32,
    source_id: u16,
) -> Result<Found<dyn VideoSource>, FrameError> {
    let reason = match path.map(|path| Y4mSource::open(path, Some(source_id))) {
        Some(Ok(source)) => {
            let source = source.at_rate(frame_rate);
            let name = path.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            let (width, height) = source.size();
            let description = format!("recorded video {name}, {width}x{height}");
            return Ok(Found { source: Box::new(source), real: true, description });
        }
        Some(Err(error)) => error.to_string(),
        None => String::from("no recording given"),
    };
    let source = SyntheticSource::new(width, height, frame_rate, source_id)?;
    Ok(Found { source: Box::new(source), real: false, description: format!("synthetic video, {width}x{height}: {reason}") })
}

fn sound_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav")))
        // Not speech: the one file of alsa-utils that is noise.
        .filter(|path| !path.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("noise")))
        .collect();
    files.sort();
    files.truncate(MAX_FILES);
    files
}
