//! Datagrams of strangers at a relay's socket: demultiplexing (RFC 7983), STUN with and without credentials, DTLS, and what claims to
//! be SRTP. The input is a series of datagrams, each led by its length in two bytes.

#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use segue_relay::transport::{Demux, IceCredentials, RelayIdentity, SessionConfig, TransportSession, answer_stun};

static IDENTITY: LazyLock<Arc<RelayIdentity>> = LazyLock::new(|| Arc::new(RelayIdentity::generate().expect("a certificate")));

/// Virtual time has to begin somewhere; nothing depends on where.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|data: &[u8]| {
    let credentials = IceCredentials { ufrag: "fuzz".to_owned(), pwd: "fuzzfuzzfuzzfuzzfuzzfuzz".to_owned() };
    let mut session = TransportSession::new(SessionConfig { identity: IDENTITY.clone(), credentials });
    let mut demux: Demux<u8> = Demux::new();
    demux.insert_ufrag("fuzz", 0).expect("room for one");
    let from: SocketAddr = ([127, 0, 0, 1], 5000).into();
    let mut now = *BEGINNING;
    let mut rest = data;
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, after) = tail.split_at(len);
        rest = after;
        let _route = demux.route(from, datagram);
        let mut answer = Vec::new();
        let _answered = answer_stun(datagram, from, &mut answer);
        let mut datagram = datagram.to_vec();
        let _inbound = session.handle_datagram(now, from, &mut datagram);
        while session.poll_transmit().is_some() {}
        while session.poll_event().is_some() {}
        now += Duration::from_millis(50);
        if session.poll_timeout().is_some_and(|timeout| timeout <= now) {
            session.handle_timeout(now);
        }
    }
});
