//! `segue-relay check`: does the media port answer from where clients are told to find it, and what does the relay lack to serve others?

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::{Config, Tls};
use crate::transport::answer_stun;

/// Attempts per address: UDP may lose one.
const ATTEMPTS: usize = 3;

/// Wait for an answer. The far end is this machine or its NAT.
const WAIT: Duration = Duration::from_millis(700);

/// Header of a STUN message (RFC 8489 section 5).
const STUN_HEADER: usize = 20;

const MAGIC_COOKIE: [u8; 4] = 0x2112_A442u32.to_be_bytes();
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// What there is to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Something, before others than this machine can use the relay.
    Lacks,
    /// Something.
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fine => "fine: ",
            Self::Lacks => "lacks:",
            Self::Wrong => "wrong:",
        })
    }
}

/// One thing that was looked at, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether there is something to do about it.
    pub verdict: Verdict,
    /// What was found and, where it is not fine, what to do.
    pub text: String,
}

impl Finding {
    fn fine(text: String) -> Self {
        Self { verdict: Verdict::Fine, text }
    }

    fn lacks(text: &str) -> Self {
        Self { verdict: Verdict::Lacks, text: text.to_owned() }
    }

    fn wrong(text: String) -> Self {
        Self { verdict: Verdict::Wrong, text }
    }
}

/// Looks at every media port of a configuration (asks a relay that runs, or stands in for one that does not), and at what a relay for
/// others needs besides.
#[must_use]
pub fn check(config: &Config) -> Vec<Finding> {
    let media = &config.media;
    let mut findings = Vec::new();
    for announced in media.announce.iter().filter(|announced| announced.is_loopback() && !media.bind.is_loopback()) {
        findings.push(Finding::wrong(format!(
            "{announced} is announced, which every client takes for itself; set media.announce (--udp-announce) to an address of this machine"
        )));
    }
    let ports = if media.port == 0 { 1 } else { media.shards };
    for shard in 0..ports {
        let Ok(port) = u16::try_from(usize::from(media.port) + if media.port == 0 { 0 } else { shard }) else {
            findings.push(Finding::wrong("there are more shards than ports above media.port; choose a lower port".to_owned()));
            break;
        };
        findings.extend(check_port(media.bind, port, &media.announce));
    }
    findings.extend(lacking(config));
    findings
}

/// Whether the relay does what it is configured for. One for this machine only may lack what others would need.
#[must_use]
pub fn serves_as_it_is(config: &Config, findings: &[Finding]) -> bool {
    let tolerated = if is_for_this_machine(config) { Verdict::Lacks } else { Verdict::Fine };
    findings.iter().all(|finding| matches!(finding.verdict, Verdict::Fine) || finding.verdict == tolerated)
}

fn is_for_this_machine(config: &Config) -> bool {
    config.http.ip().is_loopback() && config.public_url.is_none()
}

/// What a relay needs that people reach over a network.
fn lacking(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut need = |missing: bool, text: &str| findings.extend(missing.then(|| Finding::lacks(text)));
    need(
        is_for_this_machine(config),
        "HTTP listens on this machine only; for others set http.listen (--http-listen) to 0.0.0.0:443, or http.public_url where a proxy on \
         this machine stands before it",
    );
    need(
        config.keys.is_empty(),
        "a development key signs tokens, another with every start where others reach the relay; set auth.key_files (--key-file) or auth.keys",
    );
    let public = config.public_url.as_deref().unwrap_or_default();
    need(
        config.tls == Tls::Off && !public.starts_with("https://"),
        "there is no TLS, and browsers give cameras to HTTPS only; set tls.certificate and tls.key, or http.public_url to the https:// address \
         of the proxy that has them",
    );
    need(
        config.tls == Tls::SelfSigned,
        "the certificate is made at start: browsers warn of it and applications refuse it; set tls.certificate and tls.key",
    );
    need(
        config.media.port == 0,
        "media.port is 0, so the ports change with every start; set media.port (--udp-port) to open them in a firewall",
    );
    need(
        config.media.bind.is_loopback(),
        "media is bound to this machine only; set media.bind (--udp-bind) to 0.0.0.0 and media.announce to the address others reach it at",
    );
    let private = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_private());
    if config.media.announce.iter().all(private) {
        let text = "only addresses of a private network are announced, where people outside do not reach the relay; for them set \
                    media.announce (--udp-announce) to its public address";
        findings.push(Finding::fine(text.to_owned()));
    }
    findings
}

fn check_port(bind: IpAddr, port: u16, announce: &[IpAddr]) -> Vec<Finding> {
    // Where the port is free no relay runs on it: stand in for one.
    let stand_in = UdpSocket::bind(SocketAddr::new(bind, port));
    let (port, running) = match &stand_in {
        Ok(socket) => (socket.local_addr().map_or(port, |address| address.port()), false),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => (port, true),
        Err(error) => {
            return vec![Finding::wrong(format!(
                "cannot bind UDP {bind} port {port}: {error}; set media.bind to an address of this machine"
            ))];
        }
    };
    let answered = |address: IpAddr| ask(SocketAddr::new(address, port), stand_in.as_ref().ok());
    announce.iter().map(|&address| verdict(address, port, running, answered(address))).collect()
}

fn verdict(address: IpAddr, port: u16, running: bool, answered: bool) -> Finding {
    match (answered, running) {
        (true, true) => Finding::fine(format!("a relay answers on UDP port {port} at {address}")),
        (true, false) => Finding::fine(format!("UDP port {port} is free, and what is sent to {address} arrives on it")),
        (false, true) => Finding::wrong(format!(
            "UDP port {port} is taken, but nothing answers STUN at {address}: either another program has the port, or {address} does not \
             lead to this machine, or a firewall stands between; from inside a NAT this can also be a router that does not send packets \
             back in"
        )),
        (false, false) => Finding::wrong(format!(
            "UDP port {port} is free, but what is sent to {address} does not arrive on it: open the port in the firewall, forward it in the \
             router, or set media.announce to the right address; from inside a NAT this can also be a router that does not send packets \
             back in"
        )),
    }
}

/// Asks for a STUN binding, answering it ourselves through `stand_in` where there is no relay.
fn ask(target: SocketAddr, stand_in: Option<&UdpSocket>) -> bool {
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let Ok(socket) = UdpSocket::bind(SocketAddr::new(any, 0)) else { return false };
    let mut transaction = [0; 12];
    if SystemRandom::new().fill(&mut transaction).is_err() {
        return false;
    }
    let request = [&BINDING_REQUEST[..], &[0, 0], &MAGIC_COOKIE, &transaction].concat();
    let waits = [Some(&socket), stand_in].into_iter().flatten().all(|socket| socket.set_read_timeout(Some(WAIT)).is_ok());
    waits
        && (0..ATTEMPTS).any(|_| {
            if socket.send_to(&request, target).is_err() {
                return false;
            }
            if let Some(stand_in) = stand_in {
                answer(stand_in);
            }
            let mut response = [0; 512];
            let length = socket.recv(&mut response).unwrap_or(0);
            length >= STUN_HEADER && response[..2] == BINDING_SUCCESS && response[8..STUN_HEADER] == transaction
        })
}

fn answer(stand_in: &UdpSocket) {
    let mut datagram = [0; 512];
    let mut response = Vec::new();
    if let Ok((length, from)) = stand_in.recv_from(&mut datagram)
        && answer_stun(&datagram[..length], from, &mut response)
    {
        // Lost or refused, it counts as no answer.
        let _ = stand_in.send_to(&response, from);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Settings;

    fn wrong(findings: &[Finding], words: &str) -> bool {
        findings.iter().any(|finding| finding.verdict == Verdict::Wrong && finding.text.contains(words))
    }

    #[test]
    fn a_relay_for_this_machine_is_fine_and_lacks_what_others_need() {
        let config = Config::ephemeral();
        let findings = check(&config);
        assert!(findings.iter().any(|finding| finding.text.contains("is free")), "{findings:?}");
        let lacks = |key: &str| findings.iter().any(|it| it.verdict == Verdict::Lacks && it.text.contains(key));
        for key in ["http.listen", "auth.key_files", "tls.certificate", "media.port", "media.bind"] {
            assert!(lacks(key), "{key}: {findings:?}");
        }
        assert!(serves_as_it_is(&config, &findings));
        // The same for others is not fine.
        let config = Config { public_url: Some("https://calls.example.org".to_owned()), ..config };
        assert!(!serves_as_it_is(&config, &check(&config)));
    }

    #[test]
    fn the_configuration_of_the_readme_lacks_nothing() {
        let readme = include_str!("../../../README.md");
        let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
        let mut settings: Settings = toml::from_str(block).expect("reads");
        assert!(settings.auth.key_files.take().is_some_and(|files| !files.is_empty()), "it says where the key is");
        // The file is not here.
        settings.auth.keys = Some(vec!["service:0123456789abcdef0123456789abcdef".parse().expect("a key")]);
        let config = Config::from_settings(settings).expect("makes sense");
        assert_eq!(lacking(&config), []);
        assert!(!is_for_this_machine(&config));
    }

    #[test]
    fn a_port_of_somebody_else_is_not() {
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut config = Config::ephemeral();
        config.media.port = other.local_addr().expect("its address").port();
        let findings = check(&config);
        assert!(wrong(&findings, "nothing answers STUN"), "{findings:?}");
    }

    #[test]
    fn announcing_loopback_to_others_is_a_mistake() {
        let mut config = Config::ephemeral();
        config.media.bind = Ipv4Addr::UNSPECIFIED.into();
        let findings = check(&config);
        assert!(wrong(&findings, "takes for itself"), "{findings:?}");
    }
}
