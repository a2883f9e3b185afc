//! A machine-readable counter drawn into a picture, so that a receiver can tell whose picture it sees and which one.
//!
//! A band across the top of the picture, two rows of 32 square cells, black or white: source (16 bits), frame (32 bits, in Gray
//! code, so that consecutive frames differ in few cells and cost few bits) and a CRC-16 over both. Cells are a 32nd of the width, so
//! the band scales with the picture and survives both the ladder's halvings and strong quantisation. (Halvings that cut columns off
//! shift the cells against their places: widths should be multiples of 8.)

use crate::frame::{I420, Plane};

/// Cells in a row, and rows.
const COLUMNS: usize = 32;
const ROWS: usize = 2;

/// Smallest width of a picture that can hold a counter: below, a cell has no sample that is all its own.
pub const MIN_WIDTH: u32 = 64;

const BLACK: u8 = 24;
const WHITE: u8 = 226;
const MIDDLE: u32 = 125;
const NEUTRAL: u8 = 128;

/// A cell whose mean is nearer to the middle than this is not a cell: the picture carries no counter, or is ruined.
const LEAST_CONTRAST: u32 = 24;

/// The part of a cell that is read, in quarters of its side: the inner half, away from what bleeds over its edges.
const INNER: (usize, usize) = (1, 3);

/// Draws the counter over the top of a picture. A picture narrower than [`MIN_WIDTH`], or too low for the band, is left alone.
pub fn stamp(picture: &mut I420, source_id: u16, frame: u32) {
    let (width, height) = picture.plane_size(Plane::Y);
    let band = band_height(width);
    if width < MIN_WIDTH as usize || height < band {
        return;
    }
    let cells = encode(source_id, frame);
    for (y, row) in picture.rows_mut(Plane::Y).take(band).enumerate() {
        let cell_row = (y * COLUMNS / width).min(ROWS - 1);
        for (x, sample) in row.iter_mut().enumerate() {
            let cell = cell_row * COLUMNS + x * COLUMNS / width;
            *sample = if cells >> cell & 1 == 1 { WHITE } else { BLACK };
        }
    }
    for plane in [Plane::U, Plane::V] {
        for row in picture.rows_mut(plane).take(band.div_ceil(2)) {
            row.fill(NEUTRAL);
        }
    }
}

/// Source and frame number of a picture; `None` when it carries no counter or one too damaged to be trusted.
#[must_use]
pub fn read(picture: &I420) -> Option<(u16, u32)> {
    let (width, height) = picture.plane_size(Plane::Y);
    if width < MIN_WIDTH as usize || height < band_height(width) {
        return None;
    }
    let stride = picture.stride(Plane::Y);
    let luma = picture.plane(Plane::Y);
    let mut cells = 0u64;
    for cell in 0..ROWS * COLUMNS {
        let (row, column) = (cell / COLUMNS, cell % COLUMNS);
        let (top, bottom) = inner(row, width);
        let (left, right) = inner(column, width);
        let mut sum = 0;
        for y in top..bottom {
            sum += luma.get(y * stride + left..y * stride + right)?.iter().map(|&sample| u32::from(sample)).sum::<u32>();
        }
        let mean = sum / ((bottom - top) * (right - left)) as u32;
        if mean.abs_diff(MIDDLE) < LEAST_CONTRAST {
            return None;
        }
        cells |= u64::from(mean > MIDDLE) << cell;
    }
    decode(cells)
}

/// Height of the band in rows of pixels.
fn band_height(width: usize) -> usize {
    (ROWS * width).div_ceil(COLUMNS)
}

/// First pixel of the inner half of the `index`th cell along an axis, and the first one after it; never empty.
fn inner(index: usize, width: usize) -> (usize, usize) {
    let quarter = |quarters: usize| (4 * index + quarters) * width;
    let (from, to) = (quarter(INNER.0).div_ceil(4 * COLUMNS), quarter(INNER.1) / (4 * COLUMNS));
    (from, to.max(from + 1))
}

fn encode(source_id: u16, frame: u32) -> u64 {
    let gray = frame ^ (frame >> 1);
    let content = u64::from(gray) | u64::from(source_id) << 32;
    content | u64::from(checksum(content)) << 48
}

fn decode(cells: u64) -> Option<(u16, u32)> {
    let content = cells & ((1 << 48) - 1);
    if checksum(content) != (cells >> 48) as u16 {
        return None;
    }
    let mut frame = content as u32;
    for shift in [16, 8, 4, 2, 1] {
        frame ^= frame >> shift;
    }
    Some(((content >> 32) as u16, frame))
}

/// CRC-16/CCITT-FALSE over the six bytes of the content; not zero for an all-black band.
fn checksum(content: u64) -> u16 {
    content.to_le_bytes().iter().take(6).fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc: u16, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::FramePool;

    #[test]
    fn survives_the_ladder_and_noise() {
        let pool = FramePool::default();
        for (width, height) in [(640, 360), (640, 272), (320, 240), (1280, 720), (352, 288), (328, 250)] {
            let mut picture = I420::new(width, height).unwrap();
            stamp(&mut picture, 40_000, 123_456_789);
            for (at, sample) in picture.plane_mut(Plane::Y).iter_mut().enumerate() {
                *sample = sample.saturating_add((at * 7919 % 61) as u8);
            }
            let half = picture.half(&pool).unwrap();
            let quarter = half.half(&pool).unwrap();
            for rung in [&picture, &half, &quarter] {
                assert_eq!(read(rung), Some((40_000, 123_456_789)), "{width}x{height} as {rung:?}");
            }
        }
    }

    #[test]
    fn nothing_is_read_where_nothing_is_drawn() {
        assert_eq!(read(&I420::new(640, 360).unwrap()), None);
        let mut tiny = I420::new(32, 32).unwrap();
        stamp(&mut tiny, 1, 1);
        assert_eq!(read(&tiny), None);
        let mut flat = I420::new(640, 16).unwrap();
        stamp(&mut flat, 1, 1);
        assert_eq!(read(&flat), None);
    }

    proptest! {
        #[test]
        fn any_number_comes_back(source in any::<u16>(), frame in any::<u32>()) {
            let mut picture = I420::new(160, 90).unwrap();
            stamp(&mut picture, source, frame);
            prop_assert_eq!(read(&picture), Some((source, frame)));
        }

        #[test]
        fn a_flipped_cell_is_never_another_number(source in any::<u16>(), frame in any::<u32>(), flips in prop::collection::btree_set(0u32..64, 1..3)) {
            let damaged = flips.iter().fold(encode(source, frame), |cells, flip| cells ^ 1 << flip);
            prop_assert_eq!(decode(damaged), None);
        }
    }
}
