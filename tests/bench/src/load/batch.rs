//! Many datagrams of one socket in one call, each with the kernel's time of its arrival.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// Datagrams of one call: what a receiver of a few Mbit/s gets while a busy generator looks elsewhere.
const BATCH: usize = 32;

/// Bytes of one: an Ethernet frame and some.
const MAX_DATAGRAM: usize = 2048;

/// Room for one control message with a `timespec`.
const CONTROL: usize = 64;

/// Buffers for one call.
pub struct Batch {
    data: Vec<u8>,
    control: Vec<u8>,
}

/// Asks the kernel to stamp what arrives (`SO_TIMESTAMPNS`).
///
/// # Errors
/// The system does not.
pub fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed, and `on` outlives the call, which reads `len` bytes of it.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, std::ptr::from_ref(&on).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Default for Batch {
    fn default() -> Self {
        Self { data: vec![0; BATCH * MAX_DATAGRAM], control: vec![0; BATCH * CONTROL] }
    }
}

impl Batch {
    /// Receives what waits, at most a batch; `datagram` sees each, and its arrival in nanoseconds since 1970 (0: not stamped). True where
    /// more may wait.
    pub fn receive(&mut self, socket: &UdpSocket, mut datagram: impl FnMut(&mut [u8], u64)) -> bool {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: all zeroes is a valid `mmsghdr`: null pointers and zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let places = self.data.chunks_exact_mut(MAX_DATAGRAM).zip(self.control.chunks_exact_mut(CONTROL));
        for ((vector, header), (data, control)) in vectors.iter_mut().zip(&mut headers).zip(places) {
            *vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.len();
        }
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: `headers` has BATCH entries whose vectors and control buffers point into `self`, which is borrowed for the call.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as libc::c_uint, flags, std::ptr::null_mut())
        };
        let received = usize::try_from(received).unwrap_or(0);
        for (header, data) in headers.iter().zip(self.data.chunks_exact_mut(MAX_DATAGRAM)).take(received) {
            let at = arrival(&header.msg_hdr);
            datagram(&mut data[..header.msg_len as usize], at);
        }
        received == BATCH
    }
}

/// The time stamp among the control messages of a received datagram.
fn arrival(header: &libc::msghdr) -> u64 {
    // SAFETY: `header` was filled in by `recvmmsg`, and its control buffer is alive; the macros walk it within `msg_controllen`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_TIMESTAMPNS {
                let stamp: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                return stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64;
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_whole_in_order_and_stamped() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        stamp_arrivals(&receiver).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..40u8 {
            sender.send_to(&vec![number; 100 + usize::from(number)], receiver.local_addr().unwrap()).unwrap();
        }
        let mut got = Vec::new();
        let mut batch = Batch::default();
        while batch.receive(&receiver, |datagram, at| got.push((datagram[0], datagram.len(), at))) {}
        batch.receive(&receiver, |datagram, at| got.push((datagram[0], datagram.len(), at)));
        assert_eq!(got.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
        assert!(got.iter().all(|(number, len, at)| *len == 100 + usize::from(*number) && *at > 1_600_000_000_000_000_000));
    }
}
