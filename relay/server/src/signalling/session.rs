//! One participant's stay in a room, over any number of connections.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use segue_session::carrier::{CarrierError, ServerCarrier};
use segue_wire::proto::{ClientFrame, RelayTransport, client_frame, server_frame};

use super::link::{Link, Undelivered};
use crate::media_plane::TransportKind;

/// Bytes of the secret in a resume token.
const SECRET_LEN: usize = 32;

/// What a session is found by: the hash of its secret, so that no comparison tells anything about the secret itself.
pub(super) type SecretHash = [u8; 32];

/// A token that resumes a session: says which room, proves which session.
pub(super) struct ResumeToken {
    pub(super) text: String,
    pub(super) hash: SecretHash,
}

impl ResumeToken {
    /// A new one; `None` where the system gives no randomness.
    pub(super) fn draw(random: &SystemRandom, room: &str) -> Option<Self> {
        let mut secret = [0; SECRET_LEN];
        random.fill(&mut secret).ok()?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(room), URL_SAFE_NO_PAD.encode(secret));
        Some(Self { text, hash: hash_of(&secret) })
    }

    /// A secret alone, for what is found within its room, and its hash.
    pub(super) fn draw_secret(random: &SystemRandom) -> Option<(String, SecretHash)> {
        let mut secret = [0; SECRET_LEN];
        random.fill(&mut secret).ok()?;
        Some((URL_SAFE_NO_PAD.encode(secret), hash_of(&secret)))
    }

    /// The hash of a secret that a client shows alone.
    pub(super) fn parse_secret(text: &str) -> Option<SecretHash> {
        Some(hash_of(&URL_SAFE_NO_PAD.decode(text).ok()?))
    }

    /// The room and the hash of a token that a client shows.
    pub(super) fn parse(text: &str) -> Option<(String, SecretHash)> {
        let (room, secret) = text.split_once('.')?;
        let room = String::from_utf8(URL_SAFE_NO_PAD.decode(room).ok()?).ok()?;
        Some((room, hash_of(&URL_SAFE_NO_PAD.decode(secret).ok()?)))
    }
}

fn hash_of(secret: &[u8]) -> SecretHash {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, secret).as_ref()).for_each(|(to, &from)| *to = from);
    hash
}

/// What one participant does of a kind before the log hears less of it: all that a call of an hour with a bad network brings about.
const HEARD: u64 = 16;

/// Counts what a participant does of a kind that the log hears of. After [`HEARD`] of them it hears of the 32nd, the 64th, the 128th: whoever
/// floods the relay does not flood its log.
#[derive(Debug, Default)]
pub(super) struct Heard(u64);

impl Heard {
    /// One more. Gives the number so far where the log is to hear of it.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.0 += 1;
        (self.0 <= HEARD || self.0.is_power_of_two()).then_some(self.0)
    }
}

pub(super) struct Session {
    carrier: ServerCarrier,
    pub(super) link: Option<Link>,
    pub(super) secret: SecretHash,
    /// Frames of this client that could not be decoded and whose numbers are therefore missing.
    undecoded: u64,
    /// Generation of the last description of each transport, publisher first, and the number of the frame it came in.
    descriptions: [(u32, u64); 2],
    /// Descriptions of this client that could not be used.
    pub(super) refusals: Heard,
    /// Changes of its transports.
    pub(super) changes: Heard,
}

impl Session {
    pub(super) fn new(link: Link, secret: SecretHash, undecoded: u64) -> Self {
        let mut carrier = ServerCarrier::new();
        carrier.open();
        Self {
            carrier,
            link: Some(link),
            secret,
            undecoded,
            descriptions: [(0, 0); 2],
            refusals: Heard::default(),
            changes: Heard::default(),
        }
    }

    /// A frame came over the connection. The outer `None`: it was seen before; the inner one: a kind of message unknown here.
    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        frame: ClientFrame,
    ) -> Result<Option<Option<client_frame::Message>>, CarrierError> {
        self.fill_gap(now, frame.seq)?;
        let seq = frame.seq;
        let unknown = frame.message.is_none() && seq > self.carrier.handled();
        let message = self.carrier.handle_frame(now, frame)?;
        Ok(if unknown { Some(None) } else { message.map(Some) })
    }

    /// A frame came that could not be decoded; its number is known where only a limit was exceeded.
    pub(super) fn handle_undecoded(&mut self, now: Instant, seq: u64) -> Result<(), CarrierError> {
        self.undecoded += 1;
        self.fill_gap(now, seq.saturating_add(1))
    }

    /// Notes in which frame a description came: where it is refused later, the client is told so.
    pub(super) fn note_description(&mut self, seq: u64, message: Option<&client_frame::Message>) {
        if let Some(client_frame::Message::Description(description)) = message {
            let place = usize::from(description.transport() == RelayTransport::Subscriber);
            self.descriptions[place] = (description.generation, seq);
        }
    }

    /// The number of the frame that held a description; 0 where a later one has come since.
    pub(super) fn described_in(&self, transport: TransportKind, generation: u32) -> u64 {
        let (noted, seq) = self.descriptions[usize::from(transport == TransportKind::Subscriber)];
        if noted == generation { seq } else { 0 }
    }

    /// Numbers that are missing because their frames could not be decoded are taken as handled.
    fn fill_gap(&mut self, now: Instant, due: u64) -> Result<(), CarrierError> {
        while self.undecoded > 0 && due > self.carrier.handled() + 1 {
            self.undecoded -= 1;
            let seq = self.carrier.handled() + 1;
            self.carrier.handle_frame(now, ClientFrame { seq, ack: 0, message: None })?;
        }
        Ok(())
    }

    /// Numbers and queues a message. What only lives now (an answer to a ping, who speaks) is not numbered and not kept.
    pub(super) fn send(&mut self, message: server_frame::Message) -> Result<(), CarrierError> {
        match message {
            server_frame::Message::Pong(_) | server_frame::Message::Speakers(_) => {
                self.carrier.send_unnumbered(message);
                Ok(())
            }
            message => self.carrier.send(message),
        }
    }

    /// Hands what waits to the connection. `Err`: it does not take any more.
    pub(super) fn pump(&mut self, now: Instant) -> Result<u64, Undelivered> {
        let Some(link) = &self.link else { return Ok(0) };
        let mut sent = 0;
        while let Some(frame) = self.carrier.poll_transmit(now) {
            match link.send(frame) {
                Ok(()) => sent += 1,
                // Its task will say so in a moment.
                Err(Undelivered::Gone) => break,
                Err(Undelivered::Full) => return Err(Undelivered::Full),
            }
        }
        Ok(sent)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.carrier.poll_timeout()
    }

    /// The connection is lost.
    pub(super) fn lose(&mut self) {
        self.link = None;
        self.carrier.close();
    }

    /// Another connection takes the session over; the old one, if any, closes. `Err`: what the client claims to have handled was never
    /// sent, so nothing can be taken up.
    pub(super) fn resume(&mut self, link: Link, ack: u64) -> Result<(), Link> {
        self.carrier.reopen();
        self.undecoded = 0;
        self.carrier.send_unnumbered(server_frame::Message::Resumed(segue_wire::proto::Resumed {}));
        if self.carrier.resume(ack).is_err() {
            return Err(link);
        }
        self.link = Some(link);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use segue_wire::proto::Leave;

    use super::*;

    fn session() -> Session {
        Session::new(Link::new().0, [0; 32], 0)
    }

    fn frame(seq: u64) -> ClientFrame {
        ClientFrame { seq, ack: 0, message: Some(client_frame::Message::Leave(Leave::default())) }
    }

    #[test]
    fn the_log_hears_of_the_first_and_then_less_and_less() {
        let mut heard = Heard::default();
        let numbers: Vec<u64> = (0..1000).filter_map(|_| heard.count()).collect();
        assert_eq!((numbers.len(), &numbers[14..18]), (21, &[15, 16, 32, 64][..]));
    }

    #[test]
    fn tokens_name_their_room() {
        let token = ResumeToken::draw(&SystemRandom::new(), "a room, any room").expect("random");
        assert_eq!(ResumeToken::parse(&token.text), Some(("a room, any room".to_owned(), token.hash)));
        assert_eq!(ResumeToken::parse("nonsense"), None);
    }

    #[test]
    fn frames_that_could_not_be_decoded_leave_no_gap() {
        let now = crate::clock::now();
        let mut session = session();
        assert!(session.handle_frame(now, frame(1)).expect("in order").is_some());
        session.handle_undecoded(now, 0).expect("counted");
        session.handle_undecoded(now, 3).expect("counted");
        assert!(session.handle_frame(now, frame(4)).expect("in order").is_some());
        assert!(session.handle_frame(now, frame(6)).is_err());
    }

    #[test]
    fn unknown_kinds_and_repeated_frames_are_told_apart() {
        let now = crate::clock::now();
        let mut session = session();
        let unknown = ClientFrame { seq: 1, ack: 0, message: None };
        assert_eq!(session.handle_frame(now, unknown.clone()), Ok(Some(None)));
        assert_eq!(session.handle_frame(now, unknown), Ok(None));
        assert_eq!(session.handle_frame(now, ClientFrame::default()), Ok(None));
    }
}
