//! One leg: its HTTP session, its socket, ICE, DTLS, SRTP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ring::rand::{SecureRandom as _, SystemRandom};
use segue_media::packet::ExtensionMap;
use segue_srtp::{KeyingMaterial, SrtpReceiver, SrtpSender};
use thiserror::Error;

use super::dtls::Dtls;
use super::http::{self, Url};
use super::offer::{Ours, Theirs};
use super::stun;

pub use super::dtls::Identity;

/// How long a leg may take to connect; loopback takes milliseconds, a machine under load seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks while nothing was answered yet.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Consent checks: five in the 30 s a server waits (RFC 7675 section 5.1).
pub const CONSENT_INTERVAL: Duration = Duration::from_secs(5);

/// Legs that connect at a time: handshakes of more would only wait for each other.
const AT_A_TIME: usize = 24;

/// Kernel buffer of a receiver: a second of 8 Mbit/s, so that what the generator reads late is late and not lost.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// WHIP.
    Publish,
    /// WHEP.
    Play,
}

/// Why a leg did not come up.
#[derive(Debug, Error)]
pub enum LegError {
    /// The server refused.
    #[error("the server answered {0}: {1}")]
    Refused(u16, String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for LegError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl From<io::Error> for LegError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A leg.
pub struct Leg {
    /// Connected to the server.
    pub socket: UdpSocket,
    /// Ours, as offered.
    pub ours: Ours,
    /// What the server answered.
    pub theirs: Theirs,
    /// Where the session is ended.
    pub resource: Url,
    token: String,
    dtls: Option<Dtls>,
    nominated: bool,
    check_at: Option<Instant>,
    /// What both directions are keyed from, once connected.
    pub keys: Option<KeyingMaterial>,
    /// Seals, once connected.
    pub seal: Option<SrtpSender>,
    /// Opens, once connected.
    pub open: Option<SrtpReceiver>,
}

/// Random text for ICE (RFC 8839 section 5.4), `bytes` of randomness in it.
fn random_text(bytes: usize) -> Result<String, LegError> {
    let mut drawn = vec![0; bytes];
    SystemRandom::new().fill(&mut drawn).map_err(|_| LegError::Failed("no randomness".to_owned()))?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Leg {
    /// Asks the server for a session. `ssrcs` are those of audio and video, of a leg that sends.
    ///
    /// # Errors
    /// The server refused, or could not be reached.
    pub fn offer(
        identity: &Identity,
        way: Way,
        url: &Url,
        token: &str,
        ssrcs: [u32; 2],
        feedback: bool,
    ) -> Result<Self, LegError> {
        let (ufrag, pwd) = (random_text(4)?, random_text(12)?);
        let ours = Ours { ufrag, pwd, fingerprint: identity.fingerprint.clone(), sends: way == Way::Publish, ssrcs, feedback };
        let answer = http::request("POST", url, Some(token), Some(&ours.offer()))?;
        if answer.status != 201 && answer.status != 200 {
            return Err(LegError::Refused(answer.status, answer.body.trim().to_owned()));
        }
        let theirs = Theirs::parse(&answer.body)?;
        let resource = url.join(answer.header("location").unwrap_or(&url.path));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into())?;
        // Limits of the system may be lower: then it is what they allow.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.connect(&theirs.address.into())?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: socket.into(),
            ours,
            theirs,
            resource,
            token: token.to_owned(),
            dtls: None,
            nominated: false,
            check_at: None,
            keys: None,
            seal: None,
            open: None,
        })
    }

    /// Header extensions both ends have.
    #[must_use]
    pub fn extensions(&self) -> ExtensionMap {
        self.theirs.extensions
    }

    /// Media can flow.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.seal.is_some()
    }

    /// Sends a consent check.
    ///
    /// # Errors
    /// No randomness.
    pub fn check(&mut self) -> Result<(), LegError> {
        let username = format!("{}:{}", self.theirs.ufrag, self.ours.ufrag);
        let check = stun::check(&username, &self.theirs.pwd)?;
        // A full queue loses it; the next one comes soon.
        let _ = self.socket.send(&check);
        Ok(())
    }

    /// A datagram that is no media.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn handle_control(&mut self, identity: &Identity, now: Instant, datagram: &[u8]) -> Result<(), LegError> {
        if stun::is_request(datagram) {
            let answer = stun::answer(datagram, self.theirs.address, &self.ours.pwd)?;
            let _ = self.socket.send(&answer);
        } else if stun::is_success(datagram) {
            if !std::mem::replace(&mut self.nominated, true) {
                self.dtls = Some(Dtls::begin(now, identity)?);
            }
        } else if let [20..=63, ..] = datagram
            && let Some(dtls) = &mut self.dtls
            && let Some(keys) = dtls.handle(now, datagram)?
        {
            let refused = |error: segue_srtp::KeyError| LegError::Failed(error.to_string());
            self.seal = Some(SrtpSender::new(&keys.client).map_err(refused)?);
            self.open = Some(SrtpReceiver::new(&keys.server).map_err(refused)?);
            self.keys = Some(keys);
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(datagram) = dtls.poll_transmit() {
            let _ = self.socket.send(&datagram);
        }
    }

    /// One turn of connecting. True where something came.
    fn turn(&mut self, identity: &Identity, now: Instant) -> Result<bool, LegError> {
        if !self.nominated && self.check_at.is_none_or(|at| at <= now) {
            self.check_at = Some(now + CHECK_INTERVAL);
            self.check()?;
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        self.flush();
        let mut busy = false;
        let mut buffer = [0; 2048];
        while !self.is_connected() {
            let Ok(len) = self.socket.recv(&mut buffer) else { break };
            busy = true;
            self.handle_control(identity, now, &buffer[..len])?;
        }
        Ok(busy)
    }

    /// Nominates and begins a handshake, without waiting for anything: what comes back is not read.
    ///
    /// # Errors
    /// No randomness.
    pub fn hello(&mut self, identity: &Identity) -> Result<(), LegError> {
        self.check()?;
        self.dtls = Some(Dtls::begin(Instant::now(), identity)?);
        self.flush();
        Ok(())
    }

    /// An SCTP packet as datagrams, for the caller to send.
    ///
    /// # Errors
    /// The leg is not connected.
    pub(super) fn seal_sctp(&mut self, packet: &[u8]) -> Result<Vec<Bytes>, LegError> {
        let dtls = self.dtls.as_mut().ok_or_else(|| LegError::Failed("no handshake".to_owned()))?;
        dtls.write(Instant::now(), packet)?;
        Ok(std::iter::from_fn(|| dtls.poll_transmit()).collect())
    }

    /// The SCTP packet that came last, once.
    pub(super) fn take_sctp(&mut self) -> Option<BytesMut> {
        self.dtls.as_mut().and_then(Dtls::take_data)
    }

    /// Ends the session: `DELETE`, and a goodbye on the transport.
    ///
    /// # Errors
    /// The server refused.
    pub fn end(mut self) -> Result<u16, LegError> {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(Instant::now());
        }
        self.flush();
        Ok(http::request("DELETE", &self.resource, Some(&self.token), None)?.status)
    }

    /// Ends the session over HTTP alone, as often as asked.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn delete(&self) -> Result<u16, LegError> {
        Ok(http::request("DELETE", &self.resource, Some(&self.token), None)?.status)
    }
}

/// Connects all, some at a time.
///
/// # Errors
/// The first that fails, or is too slow.
pub fn connect(identity: &Identity, legs: &mut [Leg]) -> Result<(), LegError> {
    for some in legs.chunks_mut(AT_A_TIME) {
        let begin = Instant::now();
        while some.iter().any(|leg| !leg.is_connected()) {
            let now = Instant::now();
            if now - begin > PATIENCE {
                let missing = some.iter().filter(|leg| !leg.is_connected()).count();
                return Err(LegError::Failed(format!("{missing} legs did not connect within {} s", PATIENCE.as_secs())));
            }
            let mut busy = false;
            for leg in some.iter_mut().filter(|leg| !leg.is_connected()) {
                busy |= leg.turn(identity, now)?;
            }
            if !busy {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}
