//! Runs drawn from seeds hold against the small model of who must hear whom.

use segue_sim::random;

fn hold(seeds: impl Iterator<Item = u64>, seconds: u64) {
    for seed in seeds {
        let outcome = random::run(&mut random::runner(seed, false), seed, seconds);
        let outcome = outcome.unwrap_or_else(|failure| {
            panic!("seed {seed}: {:.3} s: {}\n{}", failure.at, failure.what, failure.lines.join("\n"))
        });
        assert!(outcome.packets > 0, "seed {seed}");
    }
}

#[test]
fn whoever_can_be_reached_is_heard_and_whoever_cannot_is_seen_to_be_gone() {
    hold(1..9, 60);
}

/// A relay that came back when the time it holds sessions was over; one that died before anybody was in; offers nobody answered; a path to
/// somebody who did not know its number yet; a hearing of the relay that could not be told; a relay that died again before everybody was back.
#[test]
fn what_once_left_somebody_silent_does_so_no_more() {
    // Long enough that the one whose relay died at once lives to see another.
    hold([18, 56, 30, 101, 90, 5019].into_iter(), 100);
}
