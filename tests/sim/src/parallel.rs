//! Independent runs side by side: each is as it would be alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// What `f` makes of each, on all cores; `take` is handed it in the order of the items, as soon as all before it are done.
pub fn each<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync, mut take: impl FnMut(&T, R)) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    let (sender, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, f) = (sender.clone(), &next, &f);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    if sender.send((index, f(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (index, result) in done {
            early.insert(index, result);
            while let Some((item, result)) = items.get(due).zip(early.remove(&due)) {
                take(item, result);
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_none_is_left_out() {
        let items: Vec<u64> = (0..100).collect();
        let mut got = Vec::new();
        each(&items, |item| item * 2, |item, double| got.push((*item, double)));
        assert_eq!(got, items.iter().map(|item| (*item, item * 2)).collect::<Vec<_>>());
    }
}
