//! The interceptor that is the whole media path of a link.
//!
//! It stands closest to the wire. Every inbound RTP and RTCP packet ends here and goes to our machines through a bounded queue;
//! every outbound packet of ours enters here. So the stack's own demultiplexing, feedback, retransmission and pacing never
//! see a packet, and no SSRC has to be declared to be used.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc_rtcp::raw_packet::RawPacket;
use rtc_shared::TransportContext;
use rtc_shared::error::Error;
use rtc_shared::marshal::{Marshal, Unmarshal};
use tokio::sync::{Notify, mpsc};

use super::{LinkCounters, LinkId, LinkPacket, PacketBody};

/// Datagrams that may wait for the transport: 250 ms of 20 Mbit/s, more than a pacer lets stand.
const MAX_OUTBOUND: usize = 512;

/// The queues between a link's transport and our machines.
pub(super) struct Wire {
    outbound: Mutex<VecDeque<(Instant, PacketBody)>>,
    bell: Arc<Notify>,
    sent: AtomicU64,
    received: AtomicU64,
    dropped_out: AtomicU64,
    dropped_in: AtomicU64,
    malformed: AtomicU64,
}

impl Wire {
    pub(super) fn new(bell: Arc<Notify>) -> Self {
        Self {
            outbound: Mutex::new(VecDeque::with_capacity(MAX_OUTBOUND)),
            bell,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dropped_out: AtomicU64::new(0),
            dropped_in: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        }
    }

    /// Queues a datagram; false, and counted, where the queue is full.
    pub(super) fn push(&self, at: Instant, packet: PacketBody) -> bool {
        let mut outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
        if outbound.len() >= MAX_OUTBOUND {
            self.dropped_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        outbound.push_back((at, packet));
        true
    }

    /// Wakes the transport.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) fn counters(&self) -> LinkCounters {
        LinkCounters {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            dropped_out: self.dropped_out.load(Ordering::Relaxed),
            dropped_in: self.dropped_in.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }

    fn take(&self, into: &mut VecDeque<(Instant, PacketBody)>) {
        let mut outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *outbound, into);
    }
}

/// The interceptor; see the module.
pub(super) struct Tap {
    link: LinkId,
    wire: Arc<Wire>,
    inbound: mpsc::Sender<LinkPacket>,
    /// The batch being written.
    batch: VecDeque<(Instant, PacketBody)>,
}

impl Tap {
    pub(super) fn new(link: LinkId, wire: Arc<Wire>, inbound: mpsc::Sender<LinkPacket>) -> Self {
        Self { link, wire, inbound, batch: VecDeque::with_capacity(MAX_OUTBOUND) }
    }
}

/// Our bytes in the stack's form.
fn to_stack(body: PacketBody) -> Result<Packet, Error> {
    match body {
        PacketBody::Rtp(mut bytes) => Ok(Packet::Rtp(rtc_rtp::Packet::unmarshal(&mut bytes)?)),
        // One raw packet may hold a whole compound: the stack joins packets by concatenation.
        PacketBody::Rtcp(bytes) => Ok(Packet::Rtcp(vec![Box::new(RawPacket(bytes))])),
    }
}

/// The stack's form in bytes.
fn from_stack(packet: &Packet) -> Result<PacketBody, Error> {
    match packet {
        Packet::Rtp(packet) => Ok(PacketBody::Rtp(packet.marshal()?.freeze())),
        Packet::Rtcp(packets) => Ok(PacketBody::Rtcp(rtc_rtcp::packet::marshal(packets)?.freeze())),
        _ => Ok(PacketBody::Rtcp(Bytes::new())),
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        let Ok(body) = from_stack(&packet.message.packet) else {
            self.wire.malformed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        self.wire.received.fetch_add(1, Ordering::Relaxed);
        if self.inbound.try_send(LinkPacket { link: self.link, body }).is_err() {
            self.wire.dropped_in.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, _: TaggedPacket) -> Result<(), Error> {
        // Nothing of the stack's own making is sent: reports and feedback are ours.
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        if self.batch.is_empty() {
            self.wire.take(&mut self.batch);
        }
        while let Some((now, body)) = self.batch.pop_front() {
            match to_stack(body) {
                Ok(packet) => {
                    self.wire.sent.fetch_add(1, Ordering::Relaxed);
                    let message = AttributedPacket::new(packet);
                    return Some(TaggedPacket { now, transport: TransportContext::default(), message });
                }
                Err(_) => {
                    self.wire.malformed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        None
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
