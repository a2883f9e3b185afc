use super::*;

fn sdp(ufrag: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n"
    )
}

fn candidate(ufrag: &str) -> proto::Candidate {
    proto::Candidate { candidate: "candidate:1".into(), mid: "0".into(), mline: 0, ufrag: ufrag.into() }
}

/// A dialog with the shell that carries its outputs out at once.
struct Side {
    dialog: Dialog,
    name: &'static str,
    /// What is set: offers and answers of both ends, as a peer connection would insist.
    signalling: &'static str,
    added: usize,
    sent: Vec<DialogOutput>,
    failed: Option<DialogError>,
}

impl Side {
    fn new(role: Role, name: &'static str) -> Self {
        Self { dialog: Dialog::new(role, 0, 0), name, signalling: "stable", added: 0, sent: Vec::new(), failed: None }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.dialog.poll_output() {
            match output {
                DialogOutput::CreateOffer { generation, .. } => {
                    assert_eq!(self.signalling, "stable");
                    self.signalling = "have-local-offer";
                    let text = sdp(&format!("{}{generation}", self.name));
                    self.dialog.handle_local(now, SdpKind::Offer, text, generation, Vec::new());
                }
                DialogOutput::CreateAnswer { generation } => {
                    assert_eq!(self.signalling, "have-remote-offer");
                    self.signalling = "stable";
                    self.dialog.handle_local(now, SdpKind::Answer, sdp(&format!("{}a", self.name)), generation, Vec::new());
                }
                DialogOutput::SetRemote(description) => {
                    let (from, to) = match description.kind {
                        SdpKind::Offer => ("stable", "have-remote-offer"),
                        SdpKind::Answer => ("have-local-offer", "stable"),
                    };
                    assert_eq!(self.signalling, from);
                    self.signalling = to;
                }
                DialogOutput::Rollback => {
                    assert_eq!(self.signalling, "have-local-offer");
                    self.signalling = "stable";
                }
                DialogOutput::AddCandidate(_) => {
                    assert!(self.dialog.has_remote());
                    self.added += 1;
                }
                DialogOutput::Failed(error) => self.failed = Some(error),
                sent => self.sent.push(sent),
            }
        }
    }

    fn receive(&mut self, now: Instant, sent: DialogOutput) {
        match sent {
            DialogOutput::SendDescription(description) => self.dialog.handle_remote(now, description),
            DialogOutput::SendCandidate(candidate) => self.dialog.handle_remote_candidate(candidate),
            other => panic!("not for the other end: {other:?}"),
        }
        self.drain(now);
    }
}

fn settle(now: Instant, a: &mut Side, b: &mut Side) {
    a.drain(now);
    b.drain(now);
    while !a.sent.is_empty() || !b.sent.is_empty() {
        for sent in std::mem::take(&mut a.sent) {
            b.receive(now, sent);
        }
        for sent in std::mem::take(&mut b.sent) {
            a.receive(now, sent);
        }
    }
}

#[test]
fn an_offer_is_answered() {
    let now = Instant::now();
    let (mut a, mut b) = (Side::new(Role::Impolite, "a"), Side::new(Role::Polite, "b"));
    a.dialog.handle_negotiate(now, false);
    settle(now, &mut a, &mut b);
    assert_eq!((a.signalling, b.signalling), ("stable", "stable"));
    assert!(a.dialog.has_remote() && b.dialog.has_remote());
    assert_eq!(a.dialog.poll_timeout(), None);
}

#[test]
fn two_offers_that_cross_end_in_both_being_answered() {
    let now = Instant::now();
    let (mut a, mut b) = (Side::new(Role::Impolite, "a"), Side::new(Role::Polite, "b"));
    a.dialog.handle_negotiate(now, false);
    b.dialog.handle_negotiate(now, false);
    a.drain(now);
    b.drain(now);
    settle(now, &mut a, &mut b);
    assert_eq!((a.signalling, b.signalling), ("stable", "stable"));
    // The polite side's own offer followed after it had yielded.
    assert_eq!(b.dialog.generations(), (2, 1));
    assert_eq!(a.dialog.generations(), (1, 2));
}

#[test]
fn a_lost_answer_is_had_by_repeating_the_offer() {
    let now = Instant::now();
    let (mut a, mut b) = (Side::new(Role::Offerer, "a"), Side::new(Role::Answerer, "b"));
    a.dialog.handle_negotiate(now, false);
    a.drain(now);
    for sent in std::mem::take(&mut a.sent) {
        b.receive(now, sent);
    }
    b.sent.clear();
    let later = a.dialog.poll_timeout().unwrap();
    a.dialog.handle_timeout(later);
    settle(later, &mut a, &mut b);
    assert!(a.dialog.has_remote());
    assert_eq!(b.dialog.generations(), (0, 1));
}

#[test]
fn an_offer_nobody_answers_fails_in_the_end_and_is_taken_back() {
    let mut a = Side::new(Role::Offerer, "a");
    a.dialog.handle_negotiate(Instant::now(), false);
    a.drain(Instant::now());
    for _ in 0..MAX_OFFERS {
        let at = a.dialog.poll_timeout().unwrap();
        a.dialog.handle_timeout(at);
        a.drain(at);
    }
    assert_eq!((a.failed, a.signalling), (Some(DialogError::NoAnswer(1)), "stable"));
    assert_eq!(a.sent.len(), MAX_OFFERS as usize);
}

#[test]
fn candidates_wait_for_the_description_of_their_generation() {
    let now = Instant::now();
    let (mut a, mut b) = (Side::new(Role::Offerer, "a"), Side::new(Role::Answerer, "b"));
    b.dialog.handle_remote_candidate(candidate("a1"));
    b.dialog.handle_remote_candidate(candidate("a2"));
    b.drain(now);
    assert_eq!(b.added, 0);
    a.dialog.handle_negotiate(now, false);
    settle(now, &mut a, &mut b);
    assert_eq!(b.added, 1);
    a.dialog.handle_negotiate(now, true);
    settle(now, &mut a, &mut b);
    assert_eq!(b.added, 2);
}

#[test]
fn stale_answers_and_foreign_offers_change_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = (Side::new(Role::Offerer, "a"), Side::new(Role::Answerer, "b"));
    a.dialog.handle_negotiate(now, false);
    a.drain(now);
    let wrong = Description { kind: SdpKind::Answer, sdp: sdp("x"), tracks: Vec::new(), generation: 7, restart: false };
    a.receive(now, DialogOutput::SendDescription(wrong.clone()));
    a.receive(now, DialogOutput::SendDescription(Description { kind: SdpKind::Offer, ..wrong }));
    assert!(!a.dialog.has_remote());
    settle(now, &mut a, &mut b);
    assert!(a.dialog.has_remote());
}

#[test]
fn text_that_is_no_description_fails_the_dialog() {
    let now = Instant::now();
    let mut b = Side::new(Role::Answerer, "b");
    let offer = Description { kind: SdpKind::Offer, sdp: "hello".into(), tracks: Vec::new(), generation: 1, restart: false };
    b.receive(now, DialogOutput::SendDescription(offer));
    assert_eq!(b.failed, Some(DialogError::BadSdp(sdp::SdpError::NotSdp)));
}
