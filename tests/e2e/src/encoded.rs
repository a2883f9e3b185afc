//! A guest whose frames are encoded by the application, and one that decodes them itself.

use std::time::Duration;

use segue::{
    AudioLevel, DataRate, EncodedFrame, EncodedSource, EncodingId, LayerId, TrackKind, TrackPublication, VideoOptions,
};
use segue_codec::h264::{H264Ladder, LadderConfig, Rung, Usage};
use segue_codec::opus::{OpusEncoder, OpusEncoderConfig};
use segue_codec::source::{AudioSource as _, SyntheticSource, ToneSource, VideoSource as _};
use segue_codec::{AudioEncoder as _, VideoEncoder as _};
use tokio::time::{MissedTickBehavior, interval};

use crate::guest::{AUDIO_INTERVAL, FRAME_RATE, Guest, MAX_KBPS, SIZE, index_of};
use crate::log::{picture_source, tone_index};

impl Guest {
    /// Sends pictures that count, encoded here.
    pub async fn show_encoded(&self) -> TrackPublication {
        let encodings = VideoOptions { encodings: 1, ..VideoOptions::new(SIZE.0, SIZE.1, FRAME_RATE) }.encodings();
        let source = EncodedSource::video(encodings);
        let mut requests = source.keyframe_requests();
        let publication = self.publish_track(source.clone()).await.expect("permitted");
        let rung =
            Rung { encoding: EncodingId(0), rate: DataRate::kbps(MAX_KBPS.into()), frame_rate: FRAME_RATE, active: true };
        let config = LadderConfig { usage: Usage::Camera, frame_skip: false, rungs: vec![rung] };
        let mut ladder = H264Ladder::new(config).expect("an encoder");
        let id = picture_source(index_of(self.name));
        let mut pictures = SyntheticSource::new(SIZE.0, SIZE.1, FRAME_RATE, id).expect("a size pictures can have");
        self.keep(async move {
            let mut ticks = interval(Duration::from_secs_f32(1.0 / FRAME_RATE));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                while let Some(encoding) = requests.try_next() {
                    ladder.request_keyframe(encoding);
                }
                let frame = pictures.next_frame().expect("a picture");
                for picture in ladder.encode(&frame).expect("encoded") {
                    source.push(EncodedFrame {
                        kind: TrackKind::Video,
                        layer: picture.layer,
                        time: picture.time,
                        keyframe: picture.keyframe,
                        discardable: picture.discardable,
                        refers_back: picture.refers_back,
                        audio_level: None,
                        payload: picture.payload,
                    });
                }
            }
        });
        publication
    }

    /// Sends a tone, encoded here.
    pub async fn sing_encoded(&self) -> TrackPublication {
        let source = EncodedSource::audio();
        let publication = self.publish_track(source.clone()).await.expect("permitted");
        let mut encoder = OpusEncoder::new(OpusEncoderConfig::default()).expect("an encoder");
        let mut tone = ToneSource::of_participant(tone_index(index_of(self.name)));
        self.keep(async move {
            let mut ticks = interval(AUDIO_INTERVAL);
            loop {
                ticks.tick().await;
                let sound = encoder.encode(&tone.next_frame()).expect("encoded");
                source.push(EncodedFrame {
                    kind: TrackKind::Audio,
                    layer: LayerId::default(),
                    time: sound.time,
                    keyframe: false,
                    discardable: false,
                    refers_back: 0,
                    audio_level: Some(AudioLevel { level: sound.level.level, voice: sound.level.voice }),
                    payload: sound.payload,
                });
            }
        });
        publication
    }
}
