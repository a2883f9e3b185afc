//! What cannot be avoided: for each receiver a copy of the packet behind a header of its own, and a seal with its own key.

use std::net::SocketAddr;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use segue_relay::shard::in_memory::{Burst, Outlet};

use super::room::{HEADER_LEN, PAYLOAD, Shape, TAG_LEN};

/// Bytes of the buffer packets are sealed in: a run of one receiver.
const SLAB: usize = 64 * 1024;

/// Seals what the relay seals, with as many keys, in the same order, in the same sizes.
pub struct Floor {
    keys: Vec<LessSafeKey>,
    shape: Shape,
    plain: Vec<u8>,
    slab: Vec<u8>,
    number: u64,
}

impl Floor {
    /// A key for each receiver.
    ///
    /// # Errors
    /// Where a key is refused.
    pub fn new(shape: Shape) -> Result<Self, String> {
        let key = |leg: usize| UnboundKey::new(&AES_128_GCM, &[leg as u8; 16]).map(LessSafeKey::new);
        let keys = (0..shape.legs).map(key).collect::<Result<_, _>>().map_err(|_| "a key was refused".to_owned())?;
        let plain = (0..shape.batch * PAYLOAD).map(|at| at as u8).collect();
        Ok(Self { keys, shape, plain, slab: vec![0; SLAB], number: 0 })
    }

    /// Seals about so many packets and says how many.
    pub fn run(&mut self, packets: usize) -> u64 {
        let batches = packets / (self.shape.legs * self.shape.batch);
        for _ in 0..batches {
            for leg in 0..self.shape.legs {
                let sealed = self.seal(leg, self.shape.batch);
                std::hint::black_box(&self.slab[..sealed]);
            }
        }
        (batches * self.shape.legs * self.shape.batch) as u64
    }

    /// Seals and sends runs of these lengths, to one receiver after the other, and says how many packets that were.
    pub fn replay(&mut self, runs: &[usize], receivers: &[SocketAddr], outlet: &dyn Outlet) -> u64 {
        let mut packets = 0;
        for (run, (leg, &to)) in runs.iter().zip(receivers.iter().enumerate().cycle()) {
            let sealed = self.seal(leg, *run);
            let segment = (*run > 1).then_some(HEADER_LEN + PAYLOAD + TAG_LEN);
            outlet.send(Burst { to, bytes: &self.slab[..sealed], segment });
            packets += *run as u64;
        }
        packets
    }

    /// One run for one receiver, at the beginning of the slab: its length.
    fn seal(&mut self, leg: usize, packets: usize) -> usize {
        const LEN: usize = HEADER_LEN + PAYLOAD + TAG_LEN;
        self.number += 1;
        let mut sealed = 0;
        for (index, packet) in self.slab.chunks_exact_mut(LEN).take(packets).enumerate() {
            let payload = &self.plain[index % self.shape.batch * PAYLOAD..][..PAYLOAD];
            packet[..HEADER_LEN].copy_from_slice(&[0x90; HEADER_LEN]);
            packet[HEADER_LEN..HEADER_LEN + PAYLOAD].copy_from_slice(payload);
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&self.number.to_be_bytes());
            nonce[8] = index as u8;
            let (clear, text) = packet.split_at_mut(HEADER_LEN);
            let (text, tag) = text.split_at_mut(PAYLOAD);
            let nonce = Nonce::assume_unique_for_key(nonce);
            if let Ok(seal) = self.keys[leg].seal_in_place_separate_tag(nonce, Aad::from(&*clear), text) {
                tag.copy_from_slice(seal.as_ref());
            }
            sealed += LEN;
        }
        sealed
    }
}
