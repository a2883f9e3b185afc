//! Many receivers on one thread.

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use segue_media::feedback::TwccRecorder;
use segue_media::packet::{RtcpPacket, RtpView, write_compound};
use segue_model::{SeqNo, Ssrc};

use super::batch::{Batch, stamp_arrivals};
use super::leg::{CONSENT_INTERVAL, Identity, Leg};
use super::media::Story;
use super::stats::Delays;

/// Bytes of an RTP header without extensions: what stands before a story in a plain datagram.
pub const PLAIN_HEAD: usize = 12;

/// SSRC of a receiver's own reports.
const REPORTER: Ssrc = Ssrc(1);

/// A thread that is polled looks this often: late enough that nobody is woken, early enough that no buffer fills.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A sleeping thread looks for the end this often.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// How receivers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Waiting {
    /// Asleep until something comes: on loopback the sender pays for waking them, as with most load generators.
    Woken,
    /// They look now and then: the sender pays for nobody, as where receivers are other machines.
    Polled,
}

/// One receiver.
pub enum Sink {
    /// A leg: its packets are opened and counted.
    Leg(Box<Leg>),
    /// A socket: its packets are counted.
    Plain(UdpSocket),
}

/// What arrived since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets that count: audio, video.
    pub measured: [u64; 2],
    /// Their delays.
    pub delays: [Delays; 2],
    /// Packets in all.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Retransmissions.
    pub repeated: u64,
    /// Packets that could not be opened or read.
    pub bad: u64,
    /// RTCP.
    pub reports: u64,
    /// Receivers that have got anything.
    pub served: usize,
}

/// The thread.
pub struct Receivers {
    counts: Arc<Mutex<Counts>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sink>>>,
}

struct Receiving {
    sink: Sink,
    recorder: Option<TwccRecorder>,
    media: Option<Ssrc>,
    served: bool,
}

impl Receivers {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn start(identity: Arc<Identity>, sinks: Vec<Sink>, waiting: Waiting) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        for (index, sink) in sinks.iter().enumerate() {
            let socket = sink.socket();
            stamp_arrivals(socket).map_err(|error| error.to_string())?;
            let registered = poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(index), Interest::READABLE);
            registered.map_err(|error| error.to_string())?;
        }
        let counts = Arc::new(Mutex::new(Counts::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (counts.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("receivers".to_owned());
        let thread = thread.spawn(move || run(&identity, poll, sinks, waiting, &shared, &stopped));
        Ok(Self { counts, stop, thread: Some(thread.map_err(|error| error.to_string())?) })
    }

    /// What arrived since the last call.
    #[must_use]
    pub fn take(&self) -> Counts {
        let mut counts = lock(&self.counts);
        let served = counts.served;
        let taken = std::mem::take(&mut *counts);
        counts.served = served;
        taken
    }

    /// How many receivers have got anything so far.
    #[must_use]
    pub fn served(&self) -> usize {
        lock(&self.counts).served
    }

    /// Stops it and gives the receivers back.
    #[must_use]
    pub fn stop(mut self) -> Vec<Sink> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Sink {
    fn socket(&self) -> &UdpSocket {
        match self {
            Self::Leg(leg) => &leg.socket,
            Self::Plain(socket) => socket,
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(
    identity: &Identity,
    mut poll: Poll,
    sinks: Vec<Sink>,
    waiting: Waiting,
    counts: &Mutex<Counts>,
    stop: &AtomicBool,
) -> Vec<Sink> {
    let recorder = |sink: &Sink| match sink {
        Sink::Leg(leg) => leg.theirs.extensions.transport_cc.map(|_| TwccRecorder::default()),
        Sink::Plain(_) => None,
    };
    let receiving = |sink: Sink| Receiving { recorder: recorder(&sink), sink, media: None, served: false };
    let mut receivers: Vec<_> = sinks.into_iter().map(receiving).collect();
    let mut events = Events::with_capacity(receivers.len().clamp(1, 1_024));
    let mut batch = Batch::default();
    let mut consent_at = Instant::now() + CONSENT_INTERVAL;
    while !stop.load(Ordering::Relaxed) {
        let wait = match waiting {
            Waiting::Woken => STOP_INTERVAL,
            Waiting::Polled => {
                std::thread::sleep(POLL_INTERVAL);
                Duration::ZERO
            }
        };
        if poll.poll(&mut events, Some(wait)).is_err() {
            continue;
        }
        let now = Instant::now();
        {
            let mut counts = lock(counts);
            for event in &events {
                if let Some(receiver) = receivers.get_mut(event.token().0) {
                    receiver.receive(identity, now, &mut batch, &mut counts);
                }
            }
        }
        for receiver in receivers.iter_mut().filter(|receiver| receiver.recorder.is_some()) {
            receiver.report(now);
        }
        if consent_at <= now {
            consent_at = now + CONSENT_INTERVAL;
            for receiver in &mut receivers {
                if let Sink::Leg(leg) = &mut receiver.sink {
                    // Without randomness nothing here works anyway.
                    let _ = leg.check();
                }
            }
        }
    }
    receivers.into_iter().map(|receiver| receiver.sink).collect()
}

impl Receiving {
    fn receive(&mut self, identity: &Identity, now: Instant, batch: &mut Batch, counts: &mut Counts) {
        let (recorder, media) = (&mut self.recorder, &mut self.media);
        let before = counts.packets;
        match &mut self.sink {
            Sink::Plain(socket) => while batch.receive(socket, |datagram, at| counts.plain(datagram, at)) {},
            Sink::Leg(leg) => loop {
                let mut control = Vec::new();
                let (open, theirs) = (&mut leg.open, &leg.theirs);
                let more = batch.receive(&leg.socket, |datagram, at| match (&mut *open, datagram.get(..2)) {
                    (_, Some([..=127, _])) => control.push(datagram.to_vec()),
                    (Some(open), Some([128..=191, second])) if !(192..=223).contains(second) => {
                        let Ok(len) = open.open_rtp(datagram) else {
                            counts.bad += 1;
                            return;
                        };
                        let Ok(view) = RtpView::parse(&datagram[..len]) else {
                            counts.bad += 1;
                            return;
                        };
                        counts.media(&view, theirs.payload_types, len, at);
                        if let Some(recorder) = recorder
                            && let Some(&[high, low, ..]) = theirs.extensions.transport_cc.and_then(|id| view.extension(id))
                        {
                            *media = Some(view.ssrc());
                            recorder.record(now, SeqNo(u16::from_be_bytes([high, low])));
                        }
                    }
                    _ => counts.reports += 1,
                });
                for datagram in control {
                    // What a server says on a leg that is up changes nothing here.
                    let _ = leg.handle_control(identity, now, &datagram);
                }
                if !more {
                    break;
                }
            },
        }
        if counts.packets > before && !std::mem::replace(&mut self.served, true) {
            counts.served += 1;
        }
    }

    /// Tells the server when what arrived.
    fn report(&mut self, now: Instant) {
        let (Some(recorder), Some(media), Sink::Leg(leg)) = (&mut self.recorder, self.media, &mut self.sink) else { return };
        while let Some(feedback) = recorder.poll_feedback(now, REPORTER, media) {
            let mut compound = Vec::new();
            write_compound(&[RtcpPacket::TransportCc(feedback)], &mut compound);
            if leg.seal.as_mut().is_some_and(|seal| seal.seal_rtcp_vec(&mut compound).is_ok()) {
                // A full queue loses it, as a link would.
                let _ = leg.socket.send(&compound);
            }
        }
    }
}

impl Counts {
    fn media(&mut self, view: &RtpView<'_>, payload_types: [Option<u8>; 2], len: usize, at: u64) {
        self.packets += 1;
        self.bytes += len as u64;
        let payload_type = Some(view.payload_type());
        let Some(kind) = payload_types.iter().position(|known| *known == payload_type) else {
            self.repeated += 1;
            return;
        };
        self.note(kind, Story::read(view.payload()), at);
    }

    fn plain(&mut self, datagram: &[u8], at: u64) {
        self.packets += 1;
        self.bytes += datagram.len() as u64;
        // Told apart by what only video is: long.
        let kind = usize::from(datagram.len() > super::schedule::AUDIO_BYTES);
        self.note(kind, Story::read(datagram.get(PLAIN_HEAD..).unwrap_or_default()), at);
    }

    fn note(&mut self, kind: usize, story: Option<Story>, at: u64) {
        match story {
            Some(story) if story.measured => {
                self.measured[kind] += 1;
                self.delays[kind].push(at.saturating_sub(story.sent) / 1_000);
            }
            Some(_) => {}
            None => self.bad += 1,
        }
    }
}
