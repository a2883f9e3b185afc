//! Change of sample rate by any ratio of whole numbers.
//!
//! A polyphase filter bank over one windowed-sinc prototype (Kaiser window): the classical method of Crochiere and Rabiner, without
//! their multistage form, since sources run at 8 to 48 kHz and one stage is cheap enough.

use std::f64::consts::PI;

/// Filter taps per phase: the transition band is then about a tenth of the band, and 16 kHz speech keeps all of its 7 kHz.
const TAPS_PER_PHASE: usize = 32;

/// Kaiser window shape for about 70 dB of stop-band attenuation, below what 16-bit speech recordings hold as noise.
const KAISER_BETA: f64 = 7.0;

/// Share of the narrower band that is kept; the rest is the filter's slope.
const PASS_BAND: f64 = 0.92;

/// Sample rates taken: what sound files have.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Most phases of a filter bank. 44.1 to 48 kHz needs 160; a ratio beyond this comes from a rate nobody uses.
const MAX_PHASES: u32 = 1_024;

/// The two rates have no ratio this resampler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot convert {from} Hz to {to} Hz")]
pub struct UnsupportedRates {
    /// Rate of the input.
    pub from: u32,
    /// Rate of the output.
    pub to: u32,
}

/// Converts one channel, piece by piece. The output is delayed by half the filter (16 input samples).
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Output samples per `down` input samples.
    up: usize,
    down: usize,
    /// `up` filters of [`TAPS_PER_PHASE`] taps, newest sample first.
    phases: Vec<[f32; TAPS_PER_PHASE]>,
    /// The last inputs, oldest first, at least `TAPS_PER_PHASE - 1` of them.
    history: Vec<f32>,
    /// Where the next output lies behind the oldest sample not yet passed, in units of `1 / up` input samples.
    position: usize,
}

impl Resampler {
    /// A resampler between two rates in Hz.
    ///
    /// # Errors
    /// When a rate is outside 4 to 192 kHz, or the ratio needs too large a filter bank.
    pub fn new(from: u32, to: u32) -> Result<Self, UnsupportedRates> {
        let unsupported = UnsupportedRates { from, to };
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return Err(unsupported);
        }
        let divisor = greatest_common_divisor(from, to);
        let (up, down) = (to / divisor, from / divisor);
        if up > MAX_PHASES {
            return Err(unsupported);
        }
        Ok(Self {
            up: up as usize,
            down: down as usize,
            phases: filter_bank(up as usize, down as usize),
            history: vec![0.0; TAPS_PER_PHASE - 1],
            position: 0,
        })
    }

    /// Converts the next samples; gives as many as are complete.
    pub fn push(&mut self, input: &[i16]) -> Vec<i16> {
        if self.up == self.down {
            return input.to_vec();
        }
        self.history.extend(input.iter().map(|&sample| f32::from(sample)));
        let mut output = Vec::with_capacity(input.len() * self.up / self.down + 1);
        loop {
            let (start, phase) = (self.position / self.up, self.position % self.up);
            let Some(window) = self.history.get(start..start + TAPS_PER_PHASE) else { break };
            let sum: f32 = self.phases[phase].iter().zip(window.iter().rev()).map(|(tap, sample)| tap * sample).sum();
            output.push(sum.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16);
            self.position += self.down;
        }
        let passed = (self.position / self.up).min(self.history.len());
        self.history.drain(..passed);
        self.position -= passed * self.up;
        output
    }
}

fn filter_bank(up: usize, down: usize) -> Vec<[f32; TAPS_PER_PHASE]> {
    // Designed at the rate `from * up`; the cutoff is that of the narrower of the two bands, as a share of the input's band.
    let cutoff = PASS_BAND * (up as f64 / down as f64).min(1.0);
    let centre = (TAPS_PER_PHASE * up) as f64 / 2.0;
    let tap = |index: usize| {
        let offset = (index as f64 - centre) / up as f64;
        let reach = (index as f64 - centre) / centre;
        cutoff * sinc(cutoff * offset) * bessel_i0(KAISER_BETA * (1.0 - reach * reach).max(0.0).sqrt()) / bessel_i0(KAISER_BETA)
    };
    (0..up)
        .map(|phase| {
            let taps: [f64; TAPS_PER_PHASE] = std::array::from_fn(|at| tap(at * up + phase));
            // Each phase passes a constant unchanged, so that no phase is louder than the next.
            let sum: f64 = taps.iter().sum();
            taps.map(|tap| (tap / sum) as f32)
        })
        .collect()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Modified Bessel function of the first kind, order zero, by its power series (converges fast for the arguments of a window).
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..32 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, frequency: f64, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|at| (10_000.0 * (2.0 * PI * frequency * at as f64 / f64::from(rate)).sin()) as i16).collect()
    }

    /// Root mean square of what differs from the best-fitting sine of the frequency, in dB below it.
    fn noise_db(samples: &[i16], rate: u32, frequency: f64) -> f64 {
        let step = 2.0 * PI * frequency / f64::from(rate);
        let scale = 2.0 / samples.len() as f64;
        let project = |wave: fn(f64) -> f64| -> f64 {
            samples.iter().enumerate().map(|(at, &sample)| f64::from(sample) * wave(step * at as f64)).sum::<f64>() * scale
        };
        let (sine, cosine) = (project(f64::sin), project(f64::cos));
        let noise: f64 = samples
            .iter()
            .enumerate()
            .map(|(at, &sample)| {
                let angle = step * at as f64;
                (f64::from(sample) - sine * angle.sin() - cosine * angle.cos()).powi(2)
            })
            .sum();
        10.0 * ((noise / samples.len() as f64) / ((sine * sine + cosine * cosine) / 2.0)).log10()
    }

    #[test]
    fn tones_pass_cleanly_at_all_usual_rates() {
        for (from, to) in
            [(8_000, 48_000), (16_000, 48_000), (22_050, 48_000), (44_100, 48_000), (48_000, 16_000), (96_000, 48_000)]
        {
            let output = Resampler::new(from, to).unwrap().push(&sine(from, 1_000.0, 1.0));
            let expected = to as usize;
            assert!(output.len().abs_diff(expected) <= TAPS_PER_PHASE * 4, "{from} -> {to}: {} samples", output.len());
            let settled = &output[to as usize / 10..to as usize * 6 / 10];
            let noise = noise_db(settled, to, 1_000.0);
            assert!(noise < -60.0, "{from} -> {to}: noise at {noise:.1} dB");
        }
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let input = sine(16_000, 440.0, 0.5);
        let whole = Resampler::new(16_000, 48_000).unwrap().push(&input);
        let mut resampler = Resampler::new(16_000, 48_000).unwrap();
        let pieces: Vec<i16> = input.chunks(37).flat_map(|piece| resampler.push(piece)).collect();
        assert_eq!(pieces, whole);
    }

    #[test]
    fn what_the_output_cannot_hold_is_filtered_out() {
        let output = Resampler::new(48_000, 16_000).unwrap().push(&sine(48_000, 11_000.0, 0.2));
        let loudest = output[200..].iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!(loudest < 60, "an alias of amplitude {loudest} is left");
    }

    #[test]
    fn odd_rates_are_refused() {
        assert!(Resampler::new(0, 48_000).is_err());
        assert!(Resampler::new(47_999, 48_000).is_err());
        assert_eq!(Resampler::new(48_000, 48_000).unwrap().push(&[1, 2, 3]), [1, 2, 3]);
    }
}
