//! The first flight of DTLS, read before there is a DTLS endpoint: which SRTP profiles does the client offer?
//!
//! The endpoint fixes its profiles beforehand and takes the first of the *client's* list that it has, which is not the fast one for
//! every client. So the ClientHello is read here first (RFC 6347 section 4.2, RFC 5764 section 4.1.1), fragments and all.

/// Longest ClientHello that is read: with post-quantum key shares they have about 1,800 bytes.
const MAX_HELLO_LEN: usize = 8192;

/// Most fragments: a hello of the greatest length in pieces of 256 bytes, each sent twice.
const MAX_FRAGMENTS: usize = 64;

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_HEADER_LEN: usize = 12;
const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_USE_SRTP: u16 = 14;

/// What is known so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// More has to come.
    Incomplete,
    /// The profiles of `use_srtp` in the client's order; empty where the extension is missing.
    Offered(Vec<u16>),
}

/// Puts a ClientHello together.
#[derive(Debug, Default)]
pub(crate) struct HelloReader {
    body: Vec<u8>,
    have: Vec<(usize, usize)>,
}

impl HelloReader {
    /// Takes a datagram. `None` where it is no part of a ClientHello.
    pub(crate) fn handle(&mut self, datagram: &[u8]) -> Option<Hello> {
        let mut rest = datagram;
        let mut useful = false;
        while !rest.is_empty() {
            let header = rest.first_chunk::<RECORD_HEADER_LEN>()?;
            let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let record = rest.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + len)?;
            if header[0] == CONTENT_HANDSHAKE && self.handle_record(record).is_some() {
                useful = true;
            }
            rest = rest.get(RECORD_HEADER_LEN + len..)?;
        }
        if !useful {
            return None;
        }
        if !self.is_complete() {
            return Some(Hello::Incomplete);
        }
        offered(&self.body).map(Hello::Offered)
    }

    fn handle_record(&mut self, record: &[u8]) -> Option<()> {
        let header = record.first_chunk::<HANDSHAKE_HEADER_LEN>()?;
        let [kind, l0, l1, l2, _, _, o0, o1, o2, f0, f1, f2] = *header;
        let number = |a, b, c| u32::from_be_bytes([0, a, b, c]) as usize;
        let (len, offset, fragment_len) = (number(l0, l1, l2), number(o0, o1, o2), number(f0, f1, f2));
        if kind != CLIENT_HELLO || len > MAX_HELLO_LEN || offset + fragment_len > len {
            return None;
        }
        let fragment = record.get(HANDSHAKE_HEADER_LEN..HANDSHAKE_HEADER_LEN + fragment_len)?;
        if self.body.len() != len {
            self.body = vec![0; len];
            self.have.clear();
        }
        if self.have.len() >= MAX_FRAGMENTS {
            return None;
        }
        self.body.get_mut(offset..offset + fragment_len)?.copy_from_slice(fragment);
        self.have.push((offset, offset + fragment_len));
        Some(())
    }

    fn is_complete(&mut self) -> bool {
        self.have.sort_unstable();
        let reached =
            self.have.iter().fold(0, |reached, (start, end)| if *start <= reached { reached.max(*end) } else { reached });
        reached == self.body.len()
    }
}

/// The profiles in a ClientHello (RFC 5246 section 7.4.1.2 with the cookie of RFC 6347 section 4.2.1).
fn offered(hello: &[u8]) -> Option<Vec<u16>> {
    let mut reader = Reader(hello);
    reader.take(2 + 32)?; // version, random
    reader.vector::<1>()?; // session id
    reader.vector::<1>()?; // cookie
    reader.vector::<2>()?; // cipher suites
    reader.vector::<1>()?; // compression methods
    if reader.0.is_empty() {
        return Some(Vec::new());
    }
    let mut extensions = Reader(reader.vector::<2>()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.vector::<2>()?;
        if kind == EXTENSION_USE_SRTP {
            let profiles = Reader(body).vector::<2>()?;
            return Some(profiles.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect());
        }
    }
    Some(Vec::new())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A vector with a length of `N` bytes before it.
    fn vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let len = self.take(N)?.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte));
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(profiles: &[u16]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut srtp = ((profiles.len() * 2) as u16).to_be_bytes().to_vec();
        srtp.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
        srtp.push(0);
        let mut extensions = vec![0, 23, 0, 0, 0, 14];
        extensions.extend((srtp.len() as u16).to_be_bytes());
        extensions.extend(srtp);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    fn datagram(body: &[u8], from: usize, to: usize) -> Vec<u8> {
        let u24 = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
        let mut message = vec![CLIENT_HELLO];
        message.extend(u24(body.len()));
        message.extend([0, 0]);
        message.extend(u24(from));
        message.extend(u24(to - from));
        message.extend(&body[from..to]);
        let mut bytes = vec![CONTENT_HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    #[test]
    fn profiles_are_read_in_the_clients_order() {
        let body = hello(&[1, 7, 8]);
        assert_eq!(HelloReader::default().handle(&datagram(&body, 0, body.len())), Some(Hello::Offered(vec![1, 7, 8])));
    }

    #[test]
    fn fragments_come_in_any_order_and_twice() {
        let body = hello(&[7]);
        let (a, b) = (body.len() / 3, 2 * body.len() / 3);
        let mut reader = HelloReader::default();
        assert_eq!(reader.handle(&datagram(&body, b, body.len())), Some(Hello::Incomplete));
        assert_eq!(reader.handle(&datagram(&body, b, body.len())), Some(Hello::Incomplete));
        assert_eq!(reader.handle(&datagram(&body, 0, a + 5)), Some(Hello::Incomplete));
        assert_eq!(reader.handle(&datagram(&body, a, b)), Some(Hello::Offered(vec![7])));
    }

    #[test]
    fn what_is_no_hello_is_not_taken() {
        assert_eq!(HelloReader::default().handle(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]), None);
        assert_eq!(HelloReader::default().handle(&[]), None);
    }

    proptest! {
        #[test]
        fn damage_does_not_panic(at in 0usize..200, value in any::<u8>(), cut in 0usize..200) {
            let body = hello(&[1, 2, 7, 8]);
            let mut bytes = datagram(&body, 0, body.len());
            let index = at % bytes.len();
            bytes[index] = value;
            bytes.truncate(bytes.len() - cut % bytes.len());
            let _ = HelloReader::default().handle(&bytes);
        }
    }
}
