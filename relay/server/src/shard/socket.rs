//! One shard's UDP socket: batches in (GRO), runs out (GSO), and sleep until there is something to do.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::egress::{Burst, Outlet};

/// Kernel buffers: 50 ms of 1 Gbit/s, what may come while a batch is worked on.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes the kernel gives at once: one datagram, or several of one sender joined (GRO).
const MAX_RECEIVED: usize = 65_536;

const SOCKET: mio::Token = mio::Token(0);
const WAKER: mio::Token = mio::Token(1);

/// The half that sends: usable while a received batch is looked at.
pub(super) struct Sender {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
}

/// The socket with its buffers.
pub(super) struct ShardSocket {
    sender: Sender,
    poll: mio::Poll,
    events: mio::Events,
    buffers: Box<[Box<[u8]>; BATCH_SIZE]>,
    metas: [RecvMeta; BATCH_SIZE],
    local: SocketAddr,
}

impl ShardSocket {
    /// Binds; port 0 is any.
    pub(super) fn bind(address: SocketAddr) -> io::Result<(Self, mio::Waker)> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&address.into())?;
        // Limits of the system may be lower: then it is what they allow.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let mut socket = mio::net::UdpSocket::from_std(socket.into());
        let poll = mio::Poll::new()?;
        poll.registry().register(&mut socket, SOCKET, mio::Interest::READABLE)?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let local = socket.local_addr()?;
        let buffers = Box::new(std::array::from_fn(|_| vec![0; MAX_RECEIVED].into_boxed_slice()));
        let metas = [RecvMeta::default(); BATCH_SIZE];
        let sender = Sender { socket, state };
        Ok((Self { sender, poll, events: mio::Events::with_capacity(8), buffers, metas, local }, waker))
    }

    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Sleeps until a datagram or a command comes, at most so long.
    pub(super) fn wait(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, at_most) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Receives one batch; `datagram` sees each of its datagrams. False where nothing waits any more: whatever comes later wakes
    /// [`Self::wait`].
    pub(super) fn receive(&mut self, mut datagram: impl FnMut(&Sender, SocketAddr, &mut [u8])) -> bool {
        let mut slices = self.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let socket = UdpSockRef::from(&self.sender.socket);
        let received = match self.sender.state.recv(socket, &mut slices, &mut self.metas) {
            Ok(received) => received,
            // An error of a former send (ICMP) is not the end of the socket: look again.
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        for (buffer, meta) in self.buffers.iter_mut().zip(&self.metas).take(received) {
            let stride = meta.stride.max(1);
            for bytes in buffer.get_mut(..meta.len).unwrap_or_default().chunks_mut(stride) {
                datagram(&self.sender, meta.addr, bytes);
            }
        }
        received == BATCH_SIZE
    }
}

impl Outlet for Sender {
    fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn send(&self, burst: Burst<'_>) -> bool {
        let transmit =
            Transmit { destination: burst.to, ecn: None, contents: burst.bytes, segment_size: burst.segment, src_ip: None };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_ok()
    }
}
