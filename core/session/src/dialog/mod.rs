//! Offer and answer of one leg (JSEP RFC 9429; perfect negotiation, W3C webrtc-pc section 10.7).
//!
//! Offers are counted by their maker and answers repeat the count, so that a late or repeated description is known as such. A lost
//! answer is asked for again by repeating the offer. Candidates wait for the remote description of their ICE generation, which their
//! user fragment names.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_wire::proto;

use crate::sdp;

/// First wait for an answer; doubled each time. Longer than a slow round trip with a slow browser in it.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// An offer is sent this often before the leg counts as failed: 2 + 4 + 8 s cover a reconnect of the signalling.
pub const MAX_OFFERS: u32 = 3;

/// The shell makes a description within this time or its transport is stuck.
pub const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Most candidates held for a description: a machine with many interfaces has about 20.
pub const MAX_HELD_CANDIDATES: usize = 64;

/// Offer or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SdpKind {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
}

/// Who may offer on a leg, and who yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Always offers (the client on the publisher transport).
    Offerer,
    /// Never offers (the client on the subscriber transport).
    Answerer,
    /// Either; takes its offer back when two cross.
    Polite,
    /// Either; ignores the other offer when two cross.
    Impolite,
}

/// A description on its way between the ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Offer or answer.
    pub kind: SdpKind,
    /// Its text.
    pub sdp: String,
    /// Which track each section carries, where sections are per track.
    pub tracks: Vec<proto::MidTrack>,
    /// Number of the offer.
    pub generation: u32,
    /// It restarts ICE.
    pub restart: bool,
}

/// What a dialog wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum DialogOutput {
    /// Make an offer.
    CreateOffer {
        /// With new ICE credentials.
        restart: bool,
        /// Its number.
        generation: u32,
    },
    /// Make an answer.
    CreateAnswer {
        /// Number of the offer.
        generation: u32,
    },
    /// Set the remote description.
    SetRemote(Description),
    /// Take our offer back.
    Rollback,
    /// Add a remote candidate.
    AddCandidate(proto::Candidate),
    /// Send to the other end.
    SendDescription(Description),
    /// Send to the other end.
    SendCandidate(proto::Candidate),
    /// It cannot go on: build the leg anew.
    Failed(DialogError),
}

/// Why a dialog gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// The offer was repeated in vain.
    #[error("no answer to offer {0}")]
    NoAnswer(u32),
    /// The transport made no description.
    #[error("the transport made no description for offer {0}")]
    NoLocalDescription(u32),
    /// The other side's text cannot be used.
    #[error(transparent)]
    BadSdp(#[from] sdp::SdpError),
}

#[derive(Clone, Debug)]
enum State {
    Stable,
    /// The shell makes our offer.
    Making {
        generation: u32,
        restart: bool,
        until: Instant,
    },
    /// Our offer is out.
    Offered {
        offer: Description,
        resend_at: Instant,
        sent: u32,
    },
    /// The shell makes our answer.
    Answering {
        generation: u32,
        until: Instant,
    },
}

/// A wish for an offer that cannot be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    restart: bool,
}

/// Offer and answer of one leg.
#[derive(Debug)]
pub struct Dialog {
    role: Role,
    state: State,
    /// Number of our last offer.
    generation: u32,
    /// Number of the last remote offer taken.
    remote_generation: u32,
    wish: Option<Wish>,
    /// Our answer to `remote_generation`.
    answer: Option<Description>,
    remote_ufrag: Option<String>,
    held: VecDeque<proto::Candidate>,
    outputs: VecDeque<DialogOutput>,
}

impl Dialog {
    /// A dialog that has said nothing. `generation` is the number of the last offer of an earlier dialog with the same other end, 0 for
    /// the first, and `remote_generation` likewise of the other end's.
    #[must_use]
    pub fn new(role: Role, generation: u32, remote_generation: u32) -> Self {
        Self {
            role,
            state: State::Stable,
            generation,
            remote_generation,
            wish: None,
            answer: None,
            remote_ufrag: None,
            held: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Numbers of the last offers of both ends.
    #[must_use]
    pub fn generations(&self) -> (u32, u32) {
        (self.generation, self.remote_generation)
    }

    /// A remote offer of this number would be old or repeated.
    #[must_use]
    pub fn is_stale_offer(&self, generation: u32) -> bool {
        generation <= self.remote_generation
    }

    /// A description of the other end was set.
    #[must_use]
    pub fn has_remote(&self) -> bool {
        self.remote_ufrag.is_some()
    }

    /// Something changed on our side, or ICE failed: offer, now or after what is under way.
    pub fn handle_negotiate(&mut self, now: Instant, restart: bool) {
        if self.role == Role::Answerer {
            return;
        }
        let restart = restart || self.wish.is_some_and(|wish| wish.restart);
        if !matches!(self.state, State::Stable) {
            self.wish = Some(Wish { restart });
            return;
        }
        self.wish = None;
        self.generation = self.generation.saturating_add(1);
        self.state = State::Making { generation: self.generation, restart, until: now + LOCAL_TIMEOUT };
        self.outputs.push_back(DialogOutput::CreateOffer { restart, generation: self.generation });
    }

    /// Something changed on our side. The first offer of a leg stays with the impolite end, which makes it at any rate: two first
    /// offers that cross cost a round trip, and browsers refuse data channels once they have taken back the offer that named them.
    pub fn handle_change(&mut self, now: Instant) {
        if self.role == Role::Polite && !self.has_remote() && matches!(self.state, State::Stable) {
            self.wish = Some(Wish { restart: false });
        } else {
            self.handle_negotiate(now, false);
        }
    }

    /// The shell made and set a description. One that was overtaken meanwhile is not sent.
    pub fn handle_local(&mut self, now: Instant, kind: SdpKind, sdp: String, generation: u32, tracks: Vec<proto::MidTrack>) {
        match (&self.state, kind) {
            (&State::Making { generation: due, restart, .. }, SdpKind::Offer) if due == generation => {
                let offer = Description { kind, sdp, tracks, generation, restart };
                self.outputs.push_back(DialogOutput::SendDescription(offer.clone()));
                self.state = State::Offered { offer, resend_at: now + ANSWER_TIMEOUT, sent: 1 };
            }
            (&State::Answering { generation: due, .. }, SdpKind::Answer) if due == generation => {
                let answer = Description { kind, sdp, tracks, generation, restart: false };
                self.outputs.push_back(DialogOutput::SendDescription(answer.clone()));
                self.answer = Some(answer);
                self.state = State::Stable;
                self.handle_wish(now);
            }
            _ => {}
        }
    }

    /// The other end described itself.
    pub fn handle_remote(&mut self, now: Instant, description: Description) {
        match description.kind {
            SdpKind::Offer => self.handle_offer(now, description),
            SdpKind::Answer => self.handle_answer(now, description),
        }
    }

    fn handle_offer(&mut self, now: Instant, offer: Description) {
        if self.role == Role::Offerer {
            return;
        }
        if self.is_stale_offer(offer.generation) {
            if let Some(answer) = self.answer.clone().filter(|answer| answer.generation == offer.generation) {
                self.outputs.push_back(DialogOutput::SendDescription(answer));
            }
            return;
        }
        match &self.state {
            State::Making { .. } | State::Offered { .. } if self.role == Role::Impolite => return,
            // An offer that is still being made is taken back too: the shell works in order, so it will have set it by then.
            State::Making { restart, .. } | State::Offered { offer: Description { restart, .. }, .. } => {
                self.wish = Some(Wish { restart: *restart });
                self.outputs.push_back(DialogOutput::Rollback);
            }
            State::Stable | State::Answering { .. } => {}
        }
        let generation = offer.generation;
        if !self.set_remote(offer) {
            return;
        }
        self.remote_generation = generation;
        self.answer = None;
        self.state = State::Answering { generation, until: now + LOCAL_TIMEOUT };
        self.outputs.push_back(DialogOutput::CreateAnswer { generation });
        self.release();
    }

    fn handle_answer(&mut self, now: Instant, answer: Description) {
        match &self.state {
            State::Offered { offer, .. } if offer.generation == answer.generation => {}
            _ => return,
        }
        if self.set_remote(answer) {
            self.state = State::Stable;
            self.release();
            self.handle_wish(now);
        }
    }

    /// Says whether the text could be used.
    fn set_remote(&mut self, description: Description) -> bool {
        match sdp::Description::parse(&description.sdp) {
            Ok(parsed) => {
                self.remote_ufrag = Some(parsed.ufrag().unwrap_or_default().to_owned());
                self.outputs.push_back(DialogOutput::SetRemote(description));
                true
            }
            Err(error) => {
                self.outputs.push_back(DialogOutput::Failed(error.into()));
                false
            }
        }
    }

    fn handle_wish(&mut self, now: Instant) {
        if let Some(wish) = self.wish.take() {
            self.handle_negotiate(now, wish.restart);
        }
    }

    /// The shell found a candidate.
    pub fn handle_local_candidate(&mut self, candidate: proto::Candidate) {
        self.outputs.push_back(DialogOutput::SendCandidate(candidate));
    }

    /// The other end found a candidate.
    pub fn handle_remote_candidate(&mut self, candidate: proto::Candidate) {
        if self.belongs(&candidate) {
            self.outputs.push_back(DialogOutput::AddCandidate(candidate));
            return;
        }
        if self.held.len() >= MAX_HELD_CANDIDATES {
            self.held.pop_front();
        }
        self.held.push_back(candidate);
    }

    /// Of the ICE generation of the remote description; a candidate that names none belongs to whichever there is.
    fn belongs(&self, candidate: &proto::Candidate) -> bool {
        self.remote_ufrag.as_ref().is_some_and(|ufrag| candidate.ufrag.is_empty() || candidate.ufrag == *ufrag)
    }

    fn release(&mut self) {
        let (ready, held) = std::mem::take(&mut self.held).into_iter().partition(|candidate| self.belongs(candidate));
        self.held = held;
        let ready: VecDeque<_> = ready;
        self.outputs.extend(ready.into_iter().map(DialogOutput::AddCandidate));
    }

    /// Repeats an offer without an answer, gives up on a shell that is stuck.
    pub fn handle_timeout(&mut self, now: Instant) {
        let failed = match &mut self.state {
            State::Offered { offer, resend_at, sent } if *resend_at <= now => {
                if *sent >= MAX_OFFERS {
                    // Until the leg is built anew the other end may still offer, which our open offer would forbid.
                    self.outputs.push_back(DialogOutput::Rollback);
                    DialogError::NoAnswer(offer.generation)
                } else {
                    self.outputs.push_back(DialogOutput::SendDescription(offer.clone()));
                    *resend_at = now + ANSWER_TIMEOUT * (1 << *sent);
                    *sent += 1;
                    return;
                }
            }
            State::Making { generation, until, .. } | State::Answering { generation, until } if *until <= now => {
                DialogError::NoLocalDescription(*generation)
            }
            _ => return,
        };
        self.state = State::Stable;
        self.wish = None;
        self.outputs.push_back(DialogOutput::Failed(failed));
    }

    /// When [`Dialog::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Stable => None,
            State::Offered { resend_at, .. } => Some(*resend_at),
            State::Making { until, .. } | State::Answering { until, .. } => Some(*until),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<DialogOutput> {
        self.outputs.pop_front()
    }
}
