//! Reading numbers of any width, most significant bit first.

use crate::packet::PacketError;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits read.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `width` bits, 32 at most: `f(width)`.
    pub(super) fn take(&mut self, width: u32) -> Result<u32, PacketError> {
        debug_assert!(width <= 32);
        let mut value = 0u64;
        let mut left = width as usize;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(PacketError::Truncated)?;
            let free = 8 - self.at % 8;
            let taken = free.min(left);
            let chunk = (u32::from(byte) >> (free - taken)) & ((1 << taken) - 1);
            value = (value << taken) | u64::from(chunk);
            self.at += taken;
            left -= taken;
        }
        Ok(value as u32)
    }

    pub(super) fn byte(&mut self, width: u32) -> Result<u8, PacketError> {
        debug_assert!(width <= 8);
        self.take(width).map(|value| value as u8)
    }

    pub(super) fn flag(&mut self) -> Result<bool, PacketError> {
        self.take(1).map(|bit| bit != 0)
    }

    /// A number below `count`, which is 1 at least: `ns(count)` (AV1 specification section 4.10.7).
    pub(super) fn below(&mut self, count: u32) -> Result<u32, PacketError> {
        let width = count.max(1).ilog2() + 1;
        let short = (1 << width) - count;
        let value = self.take(width - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + self.take(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_most_significant_first_and_end() {
        let mut bits = Bits::new(&[0b1010_0110, 0xff, 0, 0, 1]);
        assert_eq!(bits.take(3), Ok(0b101));
        assert_eq!(bits.take(6), Ok(0b00_1101));
        assert_eq!(bits.take(31), Ok((0x7f << 24) | 1));
        assert_eq!(bits.take(1), Err(PacketError::Truncated));
    }

    #[test]
    fn numbers_below_five_take_two_or_three_bits() {
        let read = |byte: u8| Bits::new(&[byte]).below(5);
        assert_eq!([0x00, 0x40, 0x80, 0xc0, 0xe0].map(read), [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
        assert_eq!(Bits::new(&[]).below(1), Ok(0));
    }
}
