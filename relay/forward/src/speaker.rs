//! Who speaks: from the audio levels publishers put beside their packets (RFC 6464), never from the audio itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_media::packet::AudioLevel;
use segue_model::TrackId;

/// Audio tracks forwarded at once in a large room: nobody follows more voices, and mixing them all only adds up their noise.
pub const N_LOUDEST: usize = 6;

/// How often the ranking is looked at.
pub const SPEAKER_INTERVAL: Duration = Duration::from_millis(200);

/// Silence (no packets: DTX, mute) after which a voice counts as fading.
const FADE_AFTER: Duration = Duration::from_millis(400);

/// Loudness from which a track speaks: -50 dBov, above the noise of a room and below a quiet voice.
const SPEAKS: f32 = 77.0;

/// What a challenger must be louder by (dB), so that two equal voices do not take turns.
const MARGIN: f32 = 6.0;

/// Share of a louder packet in the average: a word's onset counts within 60 ms.
const ATTACK: f32 = 0.4;

/// Share of a quieter packet: a pause between words (300 ms) does not end a turn.
const DECAY: f32 = 0.03;

/// Loudness scale: 0 silent to 127 loudest, the reverse of -dBov.
const SILENT: u8 = 127;

#[derive(Clone, Copy, Debug)]
struct Voice {
    loudness: f32,
    heard_at: Option<Instant>,
    chosen: bool,
}

/// Ranks the audio tracks of a room.
#[derive(Debug)]
pub(crate) struct Speakers {
    voices: BTreeMap<TrackId, Voice>,
    limit: usize,
    next: Option<Instant>,
    last: Vec<TrackId>,
}

impl Speakers {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { voices: BTreeMap::new(), limit, next: None, last: Vec::new() }
    }

    pub(crate) fn add(&mut self, track: TrackId) {
        let chosen = self.voices.len() < self.limit;
        self.voices.insert(track, Voice { loudness: 0.0, heard_at: None, chosen });
    }

    pub(crate) fn remove(&mut self, track: TrackId) {
        let was_chosen = self.voices.remove(&track).is_some_and(|voice| voice.chosen);
        if was_chosen {
            let next =
                self.voices.iter().filter(|(_, voice)| !voice.chosen).max_by(|a, b| a.1.loudness.total_cmp(&b.1.loudness));
            if let Some(track) = next.map(|(&track, _)| track) {
                self.choose(track, true);
            }
        }
    }

    /// The level of one packet.
    pub(crate) fn observe(&mut self, now: Instant, track: TrackId, level: AudioLevel) {
        let Some(voice) = self.voices.get_mut(&track) else { return };
        let loudness = f32::from(SILENT.saturating_sub(level.level));
        let share = if loudness > voice.loudness { ATTACK } else { DECAY };
        voice.loudness += (loudness - voice.loudness) * share;
        voice.heard_at = Some(now);
        self.next.get_or_insert(now);
        let (chosen, loudness) = (voice.chosen, voice.loudness);
        if !chosen {
            self.challenge(track, loudness);
        }
    }

    /// Whether a track's audio is among the loudest; always in a small room.
    pub(crate) fn is_chosen(&self, track: TrackId) -> bool {
        self.voices.get(&track).is_none_or(|voice| voice.chosen)
    }

    /// Who speaks, loudest first, where that changed since the last time. Levels are -dBov.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Vec<(TrackId, u8)>> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.next = Some(now + SPEAKER_INTERVAL);
        for voice in self.voices.values_mut() {
            if voice.heard_at.is_none_or(|at| now.saturating_duration_since(at) > FADE_AFTER) {
                voice.loudness *= 0.5;
            }
        }
        let mut speaking: Vec<_> = self.voices.iter().filter(|(_, voice)| voice.loudness >= SPEAKS).collect();
        speaking.sort_by(|a, b| b.1.loudness.total_cmp(&a.1.loudness));
        let ranking: Vec<_> =
            speaking.iter().map(|(track, voice)| (**track, SILENT.saturating_sub(voice.loudness as u8))).collect();
        let order: Vec<_> = ranking.iter().map(|&(track, _)| track).collect();
        if order.is_empty() && self.voices.values().all(|voice| voice.loudness < 1.0) {
            // Silence needs no timer.
            self.next = None;
        }
        if order == self.last {
            return None;
        }
        self.last = order;
        Some(ranking)
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn challenge(&mut self, track: TrackId, loudness: f32) {
        let chosen = self.voices.iter().filter(|(_, voice)| voice.chosen);
        let Some((&quietest, least)) =
            chosen.min_by(|a, b| a.1.loudness.total_cmp(&b.1.loudness)).map(|(track, voice)| (track, voice.loudness))
        else {
            return;
        };
        if loudness > least + MARGIN {
            self.choose(quietest, false);
            self.choose(track, true);
        }
    }

    fn choose(&mut self, track: TrackId, chosen: bool) {
        if let Some(voice) = self.voices.get_mut(&track) {
            voice.chosen = chosen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(level: u8) -> AudioLevel {
        AudioLevel { level, voice: level < 60 }
    }

    #[test]
    fn the_loudest_few_are_chosen_and_a_new_voice_gets_in_quickly() {
        let start = Instant::now();
        let mut speakers = Speakers::new(2);
        for track in 1..=3 {
            speakers.add(TrackId(track));
        }
        assert!(!speakers.is_chosen(TrackId(3)));
        for step in 0..50u32 {
            let now = start + Duration::from_millis(20) * step;
            speakers.observe(now, TrackId(1), level(30));
            speakers.observe(now, TrackId(2), level(90));
            speakers.observe(now, TrackId(3), level(127));
        }
        let now = start + Duration::from_secs(1);
        for step in 0..3u32 {
            speakers.observe(now + Duration::from_millis(20) * step, TrackId(3), level(25));
        }
        assert!(speakers.is_chosen(TrackId(3)));
        assert!(!speakers.is_chosen(TrackId(2)));
        assert!(speakers.is_chosen(TrackId(1)));
    }

    #[test]
    fn changes_are_told_once_and_silence_ends_them() {
        let start = Instant::now();
        let mut speakers = Speakers::new(N_LOUDEST);
        speakers.add(TrackId(7));
        let mut now = start;
        for _ in 0..10 {
            speakers.observe(now, TrackId(7), level(20));
            now += Duration::from_millis(20);
        }
        let told = speakers.poll(now).unwrap();
        assert_eq!(told.iter().map(|&(track, _)| track).collect::<Vec<_>>(), [TrackId(7)]);
        assert_eq!(speakers.poll(now), None);
        now += Duration::from_secs(1);
        assert_eq!(speakers.poll(now), Some(Vec::new()));
        for _ in 0..10 {
            now += SPEAKER_INTERVAL;
            speakers.poll(now);
        }
        assert_eq!(speakers.poll_timeout(), None);
    }
}
