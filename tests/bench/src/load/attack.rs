//! What a hostile participant, or a stranger, does to a relay.
//!
//! Everything but [`Attack::StunStrangers`] comes from somebody with a valid token and a connected leg: the worst there is. An attack can
//! be aimed at a socket of nobody, so that what its sending costs the machine is in the baseline, too.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_media::packet::rtcp::{ReportBlock, SenderReport};
use segue_media::packet::{RtcpPacket, write_compound};
use segue_model::{ExtSeq, NtpTime, SeqNo, Ssrc};

use segue_srtp::{MAX_STREAMS, SrtpSender};

use super::http::{self, Url};
use super::leg::{Identity, Leg, Way, connect};
use super::offer::{H264, H264_RTX};
use super::{sctp, stun};

/// An answer comes within this from a relay that lives.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections of a slow reader of HTTP.
const SLOW_CONNECTIONS: usize = 16;

/// Sockets strangers shout from.
const STRANGERS: usize = 8;

/// Half-open handshakes held at a time: a room has only so many places, and each has a session behind it.
const HALF_OPEN: usize = 64;

/// Lost packets one NACK names.
const NACKED: u16 = 200;

/// Packets of one RTCP bomb: as many as fit a datagram.
const BOMB: usize = 40;

/// Payload of hostile packets.
const PAYLOAD: usize = 1_000;

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attack {
    /// One sealed packet again and again.
    Replays,
    /// Packets sealed with another key.
    WrongKeys,
    /// Every packet under another SSRC.
    ManySsrcs,
    /// RTCP as much as fits, asking for everything.
    RtcpBombs,
    /// Retransmissions of packets that were never sent.
    UnknownRepairs,
    /// Header extensions whose lengths lie.
    BadExtensions,
    /// Descriptions of a thousand lines.
    LongSdp,
    /// Checks that name no session.
    StunStrangers,
    /// Checks that name one and are not authentic.
    StunForged,
    /// Authentic checks from ever other addresses.
    StunMoving,
    /// Requests that never end, and answers that nobody reads.
    SlowReaders,
    /// Legs that are asked for, say hello and no more.
    HalfOpen,
    /// Data channels whose numbers lie: resets to come, fragments and jumps far ahead.
    SctpBombs,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Replays,
        Self::WrongKeys,
        Self::ManySsrcs,
        Self::RtcpBombs,
        Self::UnknownRepairs,
        Self::BadExtensions,
        Self::LongSdp,
        Self::StunStrangers,
        Self::StunForged,
        Self::StunMoving,
        Self::SlowReaders,
        Self::HalfOpen,
        Self::SctpBombs,
    ];

    /// As it stands in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replays => "replays",
            Self::WrongKeys => "wrong_keys",
            Self::ManySsrcs => "many_ssrcs",
            Self::RtcpBombs => "rtcp_bombs",
            Self::UnknownRepairs => "unknown_repairs",
            Self::BadExtensions => "bad_extensions",
            Self::LongSdp => "long_sdp",
            Self::StunStrangers => "stun_strangers",
            Self::StunForged => "stun_forged",
            Self::StunMoving => "stun_moving",
            Self::SlowReaders => "slow_readers",
            Self::HalfOpen => "half_open",
            Self::SctpBombs => "sctp_bombs",
        }
    }

    /// It works over HTTP, where each blow is a request: fewer of them make as much work.
    #[must_use]
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::LongSdp | Self::SlowReaders | Self::HalfOpen)
    }
}

/// Somebody with two legs in a room of its own and nothing good in mind.
pub struct Attacker {
    identity: Arc<Identity>,
    whip: (Url, String),
    publisher: Leg,
    player: Leg,
    strangers: Vec<UdpSocket>,
    slow: Vec<TcpStream>,
    half_open: Vec<Leg>,
    next: u64,
    packet: Vec<u8>,
    replay: Vec<u8>,
    /// The relay's tag of the association, once there is one.
    sctp: Option<u32>,
    /// Where blows go instead of to the relay.
    instead: Option<SocketAddr>,
}

impl Attacker {
    /// Joins.
    ///
    /// # Errors
    /// It is not let in.
    pub fn join(identity: Arc<Identity>, whip: (Url, String), whep: (Url, String)) -> Result<Self, String> {
        let fail = |error: super::LegError| error.to_string();
        let publisher = Leg::offer(&identity, Way::Publish, &whip.0, &whip.1, [7, 8], false).map_err(fail)?;
        let mut legs = vec![publisher];
        connect(&identity, &mut legs).map_err(fail)?;
        let player = Leg::offer(&identity, Way::Play, &whep.0, &whep.1, [0, 0], false).map_err(fail)?;
        legs.push(player);
        connect(&identity, &mut legs).map_err(fail)?;
        let (Some(player), Some(publisher)) = (legs.pop(), legs.pop()) else { return Err("no legs".to_owned()) };
        let bind = |_| UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string());
        let strangers = (0..STRANGERS).map(bind).collect::<Result<_, _>>()?;
        let (slow, half_open, packet, replay) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            identity,
            whip,
            publisher,
            player,
            strangers,
            slow,
            half_open,
            next: 1,
            packet,
            replay,
            sctp: None,
            instead: None,
        })
    }

    /// Aims at the relay, or at an address of nobody.
    pub fn aim(&mut self, instead: Option<SocketAddr>) {
        self.instead = instead;
    }

    /// Keeps its legs alive.
    ///
    /// # Errors
    /// No randomness.
    pub fn keep_alive(&mut self) -> Result<(), String> {
        self.publisher.check().map_err(|error| error.to_string())?;
        self.player.check().map_err(|error| error.to_string())
    }

    /// Waits until the relay has looked at everything sent so far: it answers a check in its turn.
    ///
    /// # Errors
    /// No answer came.
    pub fn wait(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        let mut buffer = [0; 2048];
        self.publisher.check().map_err(|error| error.to_string())?;
        while begin.elapsed() < PATIENCE {
            match self.publisher.socket.recv(&mut buffer) {
                Ok(len) if stun::is_success(&buffer[..len]) => return Ok(()),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        Err("the relay answers no check any more".to_owned())
    }

    /// Lets go of what a slow attack holds.
    pub fn rest(&mut self) {
        self.slow.clear();
        self.half_open.clear();
    }

    /// One blow.
    ///
    /// # Errors
    /// The attacker's own fault.
    pub fn strike(&mut self, attack: Attack) -> Result<(), String> {
        match attack {
            Attack::Replays => self.replay(),
            Attack::WrongKeys => self.wrong_key(),
            Attack::ManySsrcs => self.other_ssrc()?,
            Attack::RtcpBombs => self.bomb(),
            Attack::UnknownRepairs => {
                let number = (self.next as u16).to_be_bytes();
                self.rtp(H264_RTX, 9, &[number[0], number[1], 0x65]);
            }
            Attack::BadExtensions => self.bad_extensions(),
            Attack::LongSdp => return self.long_sdp(),
            Attack::StunStrangers => self.check_from(None, "nobody:theirs", "a password that nobody has")?,
            Attack::StunForged => {
                let username = format!("{}:{}", self.publisher.theirs.ufrag, self.publisher.ours.ufrag);
                self.check_from(None, &username, "a password that nobody has")?;
            }
            Attack::StunMoving => return self.move_about(),
            Attack::SlowReaders => return self.dawdle(),
            Attack::HalfOpen => return self.half_open(),
            Attack::SctpBombs => self.sctp_bomb()?,
        }
        self.next += 1;
        Ok(())
    }

    fn send(&self, leg: &Leg, datagram: &[u8]) {
        // A full queue takes no more; the next blow comes soon.
        let _ = match (self.instead, self.strangers.first()) {
            (Some(instead), Some(socket)) => socket.send_to(datagram, instead).map(|_| ()),
            _ => leg.socket.send(datagram).map(|_| ()),
        };
    }

    fn header(&mut self, payload_type: u8, ssrc: u32, extended: bool) {
        self.packet.clear();
        self.packet.push(if extended { 0x90 } else { 0x80 });
        self.packet.push(0x80 | payload_type);
        self.packet.extend_from_slice(&(self.next as u16).to_be_bytes());
        self.packet.extend_from_slice(&(self.next as u32).to_be_bytes());
        self.packet.extend_from_slice(&ssrc.to_be_bytes());
    }

    fn seal_and_send(&mut self) {
        self.packet.resize(self.packet.len() + PAYLOAD, 0x5a);
        if let Some(seal) = &mut self.publisher.seal {
            // Our own table of SSRCs has a limit as well: what does not fit goes out as it is.
            let _ = seal.seal_rtp_vec(ExtSeq(self.next), &mut self.packet);
        }
        self.send(&self.publisher, &self.packet);
    }

    fn rtp(&mut self, payload_type: u8, ssrc: u32, payload: &[u8]) {
        self.header(payload_type, ssrc, false);
        self.packet.extend_from_slice(payload);
        self.seal_and_send();
    }

    /// Sealers have a limit of their own: a new one from time to time knows nothing of the SSRCs before.
    fn other_ssrc(&mut self) -> Result<(), String> {
        if self.next.is_multiple_of(MAX_STREAMS as u64) {
            let keys = self.publisher.keys.as_ref().ok_or("the attacker is not connected")?;
            self.publisher.seal = Some(SrtpSender::new(&keys.client).map_err(|error| error.to_string())?);
        }
        self.rtp(H264, 0x4000_0000 + self.next as u32, &[0x65]);
        Ok(())
    }

    fn replay(&mut self) {
        if self.replay.is_empty() {
            self.rtp(H264, 8, &[0x65]);
            self.replay.clone_from(&self.packet);
        }
        self.send(&self.publisher, &self.replay);
    }

    fn wrong_key(&mut self) {
        self.header(H264, 8, false);
        self.packet.resize(self.packet.len() + PAYLOAD, 0xa5);
        self.send(&self.publisher, &self.packet);
    }

    /// Lengths that run over the end, past the profile, and of elements beyond their block, in turns.
    fn bad_extensions(&mut self) {
        self.header(H264, 8, true);
        let lies: [&[u8]; 4] = [
            &[0xbe, 0xde, 0x01, 0x00, 0x4f, 1, 2, 3],
            &[0xbe, 0xde, 0x00, 0x01, 0x4f, 1, 2, 3],
            &[0x10, 0x00, 0x00, 0x01, 0x04, 0xff, 1, 2],
            &[0xbe, 0xde, 0x00, 0x01, 0x1f, 0x2f, 0x3f, 0xff],
        ];
        let lie = lies[self.next as usize % lies.len()];
        self.packet.extend_from_slice(lie);
        self.seal_and_send();
    }

    fn bomb(&mut self) {
        let media = Ssrc(self.next as u32);
        let lost: Vec<_> = (0..NACKED).map(|number| SeqNo(number.wrapping_mul(17))).collect();
        let block = ReportBlock {
            ssrc: media,
            fraction_lost: 255,
            lost: 1 << 22,
            highest: u32::MAX,
            jitter: u32::MAX,
            last_sender_report: 1,
            delay: 1,
        };
        let report = SenderReport {
            ssrc: media,
            ntp: NtpTime(u64::MAX),
            rtp_timestamp: 1,
            packets: 1,
            octets: 1,
            reports: vec![block; 4],
        };
        let mut packets = vec![RtcpPacket::SenderReport(report), RtcpPacket::Nack { sender: media, media, lost }];
        packets.extend((0..BOMB).map(|_| RtcpPacket::Pli { sender: media, media }));
        let mut compound = Vec::new();
        write_compound(&packets, &mut compound);
        let to_player = self.next.is_multiple_of(2);
        let leg = if to_player { &mut self.player } else { &mut self.publisher };
        if leg.seal.as_mut().is_some_and(|seal| seal.seal_rtcp_vec(&mut compound).is_ok()) {
            let leg = if to_player { &self.player } else { &self.publisher };
            self.send(leg, &compound);
        }
    }

    fn check_from(&self, socket: Option<&UdpSocket>, username: &str, pwd: &str) -> Result<(), String> {
        let check = stun::check(username, pwd)?;
        let to = self.instead.unwrap_or(self.publisher.theirs.address);
        let stranger = socket.or_else(|| self.strangers.get(self.next as usize % STRANGERS));
        // A full queue takes no more.
        let _ = stranger.map(|socket| socket.send_to(&check, to));
        Ok(())
    }

    fn move_about(&mut self) -> Result<(), String> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let username = format!("{}:{}", self.publisher.theirs.ufrag, self.publisher.ours.ufrag);
        self.next += 1;
        self.check_from(Some(&socket), &username, &self.publisher.theirs.pwd)
    }

    fn long_sdp(&mut self) -> Result<(), String> {
        if self.instead.is_some() {
            return Ok(());
        }
        let line = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
        let sdp = format!("{}{}", self.publisher.ours.offer(), line.repeat(1_000));
        let answer = http::request("POST", &self.whip.0, Some(&self.whip.1), Some(&sdp))?;
        if answer.status == 201 { Err("a description of a thousand lines was taken".to_owned()) } else { Ok(()) }
    }

    /// A request whose body comes a byte at a time.
    fn dawdle(&mut self) -> Result<(), String> {
        if self.instead.is_some() {
            return Ok(());
        }
        if self.slow.len() < SLOW_CONNECTIONS {
            let mut stream = TcpStream::connect(&self.whip.0.authority).map_err(|error| error.to_string())?;
            let head = format!(
                "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/sdp\r\ncontent-length: 60000\r\n\r\n",
                self.whip.0.path, self.whip.1
            );
            // Refused or not, it is tried again.
            let _ = stream.write_all(head.as_bytes());
            self.slow.push(stream);
        }
        self.slow.retain_mut(|stream| stream.write_all(b"v").is_ok());
        Ok(())
    }

    /// A leg of its own that is nominated, says hello, and is forgotten.
    fn half_open(&mut self) -> Result<(), String> {
        if self.instead.is_some() {
            return Ok(());
        }
        let number = self.next as usize % HALF_OPEN;
        self.next += 1;
        let (url, token) = (&self.whip.0, super::token::mint(&self.room()?, &format!("half-open-{number}")));
        let mut leg = match Leg::offer(&self.identity, Way::Publish, url, &token, [3, 4], false) {
            Ok(leg) => leg,
            // Full, or too fast: that is how it ends.
            Err(super::LegError::Refused(..)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        leg.hello(&self.identity).map_err(|error| error.to_string())?;
        if self.half_open.len() >= HALF_OPEN {
            self.half_open.remove(0);
        }
        self.half_open.push(leg);
        Ok(())
    }

    fn sctp_bomb(&mut self) -> Result<(), String> {
        let tag = match self.sctp {
            Some(tag) => tag,
            None => self.associate()?,
        };
        let datagrams = self.publisher.seal_sctp(&sctp::blow(tag, self.next)).map_err(|error| error.to_string())?;
        datagrams.iter().for_each(|datagram| self.send(&self.publisher, datagram));
        Ok(())
    }

    /// An association with the relay, wherever blows go.
    fn associate(&mut self) -> Result<u32, String> {
        let fail = |error: super::LegError| error.to_string();
        let begin = Instant::now();
        let mut buffer = [0; 2048];
        while begin.elapsed() < PATIENCE {
            // Again and again: it may be lost, and a repeated one is answered the same.
            for datagram in self.publisher.seal_sctp(&sctp::init()).map_err(fail)? {
                let _ = self.publisher.socket.send(&datagram);
            }
            std::thread::sleep(Duration::from_millis(20));
            while let Ok(len) = self.publisher.socket.recv(&mut buffer) {
                self.publisher.handle_control(&self.identity, Instant::now(), &buffer[..len]).map_err(fail)?;
                let Some((tag, echo)) = self.publisher.take_sctp().and_then(|answer| sctp::cookie_echo(&answer)) else {
                    continue;
                };
                for datagram in self.publisher.seal_sctp(&echo).map_err(fail)? {
                    let _ = self.publisher.socket.send(&datagram);
                }
                self.sctp = Some(tag);
                return Ok(tag);
            }
        }
        Err("the relay begins no association".to_owned())
    }

    fn room(&self) -> Result<String, String> {
        self.whip.0.path.rsplit('/').next().map(str::to_owned).ok_or_else(|| "no room in the URL".to_owned())
    }
}
