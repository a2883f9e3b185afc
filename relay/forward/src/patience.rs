//! How long a transport that failed is offered anew.

use std::time::Duration;

/// Wait before a subscriber transport that failed is offered anew; doubles with every failure.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Failures in a row after which a subscriber transport is offered no more: the client asks by a new publisher offer.
const MAX_FAILURES: u32 = 6;

/// The wait before the next offer, after so many failures in a row; `None`: no more offers.
#[must_use]
pub fn offer_again(failures: u32) -> Option<Duration> {
    (failures < MAX_FAILURES).then(|| OFFER_AGAIN * (1 << failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_come_less_and_less_often_and_end() {
        let waits: Vec<_> = (1..8).map(|failures| offer_again(failures).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(4), Some(8), Some(16), Some(32), None, None]);
    }
}
