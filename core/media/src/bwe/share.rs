//! Dividing a rate.

use segue_model::DataRate;

/// One who wants a part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// Served before anything else: voice.
    pub(super) first: DataRate,
    /// Of use in all.
    pub(super) useful: DataRate,
    /// Can be taken in all.
    pub(super) most: DataRate,
}

/// Parts of `total`, in the order of the claims: what comes first to everyone, then equal parts up to what is of use to each (those who
/// want less leave it to the others), then what is left likewise, up to what each can take.
pub(super) fn divide(total: DataRate, claims: &[Claim]) -> Vec<DataRate> {
    let mut parts = vec![DataRate::ZERO; claims.len()];
    let mut left = total;
    for bound in [|claim: &Claim| claim.first, |claim: &Claim| claim.useful.min(claim.most), |claim: &Claim| claim.most] {
        left = fill(left, &mut parts, claims, bound);
    }
    parts
}

/// Raises all parts evenly up to their bounds; says what is left.
fn fill(total: DataRate, parts: &mut [DataRate], claims: &[Claim], bound: fn(&Claim) -> DataRate) -> DataRate {
    let mut left = total;
    // Each round satisfies one claim at least.
    for _ in 0..claims.len() {
        let wanting = |(part, claim): &(&mut DataRate, &Claim)| **part < bound(claim);
        let count = parts.iter_mut().zip(claims).filter(wanting).count() as u64;
        let each = left / count.max(1);
        if count == 0 || each == DataRate::ZERO {
            break;
        }
        for (part, claim) in parts.iter_mut().zip(claims).filter(wanting) {
            let more = (bound(claim) - *part).min(each);
            *part = *part + more;
            left = left - more;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(first: u64, useful: u64, most: u64) -> Claim {
        Claim { first: DataRate::kbps(first), useful: DataRate::kbps(useful), most: DataRate::kbps(most) }
    }

    fn parts(total: u64, claims: &[Claim]) -> Vec<u64> {
        divide(DataRate::kbps(total), claims).iter().map(|part| part.as_kbps()).collect()
    }

    #[test]
    fn voice_comes_first_then_equal_parts_then_the_rest() {
        let claims = [claim(70, 1_000, 5_000), claim(70, 300, 5_000), claim(70, 1_000, 400)];
        assert_eq!(parts(150, &claims), [50, 50, 50]);
        assert_eq!(parts(900, &claims), [300, 300, 300]);
        assert_eq!(parts(1_200, &claims), [500, 300, 400]);
        assert_eq!(parts(3_700, &claims), [2_000, 1_300, 400]);
        assert_eq!(parts(100, &[]), Vec::<u64>::new());
    }
}
