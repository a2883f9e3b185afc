//! A room in memory: one publisher, whose packets are sealed beforehand, and receivers with keys of their own.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use segue_forward::{LegParameters, PayloadTypes};
use segue_media::packet::{ExtensionMap, Extensions, Origin, OriginFlags, RtpHeader, RtpView};
use segue_model::{ExtSeq, LayerId, ParticipantId, SeqNo, Ssrc, TrackId, TrackKind};
use segue_relay::media_plane::RoomKey;
use segue_relay::shard::in_memory::{Burst, InMemoryShard, InMemorySocket, KeyedTransport, Outlet};
use segue_relay::transport::SrtpProfile;
use segue_srtp::{KeyingMaterial, Profile, SrtpReceiver, SrtpSender};

/// Payload bytes of a packet: with header and tag 1,041 to 1,060 bytes, the size the peers were measured with.
pub const PAYLOAD: usize = 1_000;

/// Bytes of the header the relay writes for an SDK peer: fixed part, extension block with transport-wide number and origin.
pub const HEADER_LEN: usize = 12 + 4 + (1 + 2) + (1 + 13) + 3;

/// Bytes of the tag.
pub const TAG_LEN: usize = 16;

/// Every packet of a leg whose number is a multiple of this is opened again and looked at.
const CHECK_EVERY: u16 = 1_000;

/// Time between two packets of the publisher: 180 packets a second, 1.5 Mbit/s.
const SPACING: Duration = Duration::from_micros(5_556);

const ROOM: RoomKey = RoomKey(1);
const PUBLISHER: ParticipantId = ParticipantId(1);
const CAMERA: TrackId = TrackId(7);
const SSRC: Ssrc = Ssrc(0x5e90_0001);

/// How many receivers, and how many packets come at once.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Receivers.
    pub legs: usize,
    /// Packets of the publisher in a batch.
    pub batch: usize,
}

/// Takes what leaves, counts it, and keeps a few to be looked at.
#[derive(Default)]
pub struct Memory {
    /// Packets that left.
    pub packets: Cell<u64>,
    /// Runs they left in.
    pub runs: Cell<u64>,
    /// Packets that were opened and found right.
    pub checked: Cell<u64>,
    kept: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
}

impl Memory {
    /// Counts the packets of a run, and keeps those that are to be checked.
    pub fn note(&self, burst: &Burst<'_>) {
        let segment = burst.segment.unwrap_or(burst.bytes.len()).max(1);
        self.runs.set(self.runs.get() + 1);
        self.packets.set(self.packets.get() + burst.bytes.len().div_ceil(segment) as u64);
        for packet in burst.bytes.chunks(segment) {
            if packet.get(2..4).is_some_and(|number| u16::from_be_bytes([number[0], number[1]]).is_multiple_of(CHECK_EVERY)) {
                self.kept.borrow_mut().push((burst.to, packet.to_vec()));
            }
        }
    }
}

impl Outlet for Memory {
    fn send(&self, burst: Burst<'_>) -> bool {
        self.note(&burst);
        true
    }

    fn max_segments(&self) -> usize {
        64
    }
}

/// The room.
pub struct Room {
    shape: Shape,
    shard: InMemoryShard,
    sender: SrtpSender,
    from: SocketAddr,
    receivers: Vec<(SocketAddr, SrtpReceiver)>,
    now: Instant,
    number: u64,
    datagram: Vec<u8>,
}

/// Sealed packets of the publisher.
pub struct Sealed(pub Vec<Vec<u8>>);

impl Room {
    /// A room of that shape at made-up addresses.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(shape: Shape) -> Result<Self, String> {
        let receivers: Vec<_> = (1..=shape.legs).map(made_up).collect();
        Self::at(shape, made_up(0), &receivers)
    }

    /// A room of that shape, its publisher and its receivers at these addresses.
    ///
    /// # Errors
    /// What could not be made.
    pub fn at(shape: Shape, from: SocketAddr, addresses: &[SocketAddr]) -> Result<Self, String> {
        let mut shard = InMemoryShard::new().map_err(|error| error.to_string())?;
        let now = Instant::now();
        shard.add_room(ROOM);
        let publisher = transport(from, 0);
        shard.add_participant(now, ROOM, PUBLISHER, true, Some(&publisher), None).map_err(|error| error.to_string())?;
        let mut receivers = Vec::new();
        for (leg, &address) in (1..).zip(addresses) {
            let subscriber = transport(address, leg);
            let participant = ParticipantId(1 + leg as u32);
            shard.add_participant(now, ROOM, participant, true, None, Some(&subscriber)).map_err(|error| error.to_string())?;
            receivers.push((address, SrtpReceiver::new(&keys(leg)?.server).map_err(|error| error.to_string())?));
        }
        shard.add_track(ROOM, CAMERA, PUBLISHER, TrackKind::Video).map_err(|error| error.to_string())?;
        let sender = SrtpSender::new(&keys(0)?.client).map_err(|error| error.to_string())?;
        Ok(Self { shape, shard, sender, from, receivers, now, number: 0, datagram: Vec::new() })
    }

    /// Seals as many packets of the publisher as make about so many forwarded ones.
    pub fn seal(&mut self, forwarded: usize) -> Sealed {
        let batches = (forwarded / (self.shape.legs * self.shape.batch)).max(1);
        Sealed((0..batches * self.shape.batch).map(|_| self.packet()).collect())
    }

    /// Brings them all to the relay.
    pub fn forward(&mut self, Sealed(packets): Sealed, outlet: &dyn Outlet) {
        for batch in packets.chunks(self.shape.batch) {
            self.now += SPACING * batch.len() as u32;
            for packet in batch {
                self.datagram.clear();
                self.datagram.extend_from_slice(packet);
                self.shard.handle_datagram(self.now, outlet, self.from, &mut self.datagram);
            }
            self.shard.end_batch(self.now, outlet);
        }
    }

    /// Takes what waits at a socket, as the shard's thread does.
    pub fn receive(&mut self, socket: &mut InMemorySocket, outlet: &dyn Outlet) {
        self.now += SPACING;
        socket.receive(&mut self.shard, self.now, outlet);
        self.shard.end_batch(self.now, outlet);
    }

    /// Opens the packets that were kept and compares them with what was published.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, kept: &Memory) -> Result<(), String> {
        if self.shard.seals_refused() > 0 {
            return Err(format!("{} packets could not be sealed", self.shard.seals_refused()));
        }
        for (to, mut packet) in kept.kept.borrow_mut().drain(..) {
            let found = self.receivers.iter_mut().find(|(address, _)| *address == to);
            let Some((_, receiver)) = found else { continue };
            // RTCP has no number there.
            if packet.get(1).is_some_and(|kind| (192..=223).contains(kind)) {
                continue;
            }
            let len = receiver.open_rtp(&mut packet).map_err(|error| format!("a packet to {to}: {error}"))?;
            let view = RtpView::parse(&packet[..len]).map_err(|error| format!("a packet to {to}: {error}"))?;
            let payload = view.payload();
            let number = payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).unwrap_or_default();
            if view.header_len() != HEADER_LEN || payload != payload_of(number) || number > self.number {
                return Err(format!("a packet to {to} is not what was published"));
            }
            kept.checked.set(kept.checked.get() + 1);
        }
        Ok(())
    }

    fn packet(&mut self) -> Vec<u8> {
        let number = self.number;
        self.number += 1;
        let frame = number / 6;
        let flags = OriginFlags {
            first: number.is_multiple_of(6),
            last: number % 6 == 5,
            keyframe: frame == 0,
            ..OriginFlags::default()
        };
        let origin = Origin {
            source: CAMERA,
            layer: LayerId::new(0, 0),
            flags,
            packet: number as u32,
            frame: frame as u32,
            refers_back: u8::from(frame > 0),
        };
        let index = ExtSeq(number);
        let extensions = Extensions { origin: Some(origin), transport_cc: Some(number as u16), ..Extensions::default() };
        let header = RtpHeader {
            marker: flags.last,
            payload_type: 102,
            sequence: SeqNo(number as u16),
            timestamp: (frame * 3_000) as u32,
            ssrc: SSRC,
            extensions,
        };
        let mut packet = Vec::with_capacity(HEADER_LEN + PAYLOAD + TAG_LEN);
        header.write(&ExtensionMap::ours(), false, &mut packet);
        packet.extend_from_slice(&payload_of(number));
        // Sequence numbers of this publisher never repeat, so it always seals.
        let _ = self.sender.seal_rtp_vec(index, &mut packet);
        packet
    }
}

fn payload_of(number: u64) -> Vec<u8> {
    let mut payload = vec![0x41; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

fn made_up(leg: usize) -> SocketAddr {
    let [high, low] = (leg as u16).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(198, 18, high, low), 4_000))
}

fn material(leg: usize) -> Vec<u8> {
    let len = Profile::AeadAes128Gcm.exporter_len();
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(leg as u8) ^ (leg >> 8) as u8).collect()
}

fn keys(leg: usize) -> Result<KeyingMaterial, String> {
    KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &material(leg)).map_err(|error| error.to_string())
}

fn transport(peer: SocketAddr, leg: usize) -> KeyedTransport {
    let payload_types = PayloadTypes { audio: Some(111), video: Some(102), video_rtx: Some(103) };
    let parameters = LegParameters { extensions: ExtensionMap::ours(), payload_types };
    KeyedTransport { peer, profile: SrtpProfile::AeadAes128Gcm, material: material(leg), parameters }
}
