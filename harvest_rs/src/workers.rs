//! Sharing a fixed list of work items among threads.
//!
//! The items and the order in which their results are combined never depend on the number of threads, so
//! neither do the results.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Pools by their number of helper threads; made once and kept, their threads sleep between calls.
static POOLS: OnceLock<Mutex<HashMap<usize, Arc<ThreadPool>>>> = OnceLock::new();

fn pool(helpers: usize) -> Option<Arc<ThreadPool>> {
    let pools = POOLS.get_or_init(|| Mutex::new(HashMap::new()));
    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&helpers) {
        return Some(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(helpers)
        .thread_name(|index| format!("spd-kernel-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(pool);
    pools.insert(helpers, Arc::clone(&pool));
    Some(pool)
}

/// Run `work` on every item, with at most `threads` threads including the calling one.
///
/// `scratch` makes what one thread reuses from item to item. With one thread (or when the system refuses
/// new threads) everything runs inline. The caller takes items too, so that a helper that wakes late, or
/// finds its core busy with another library's spinning thread, costs nothing but its own share.
pub fn for_each<Items, Scratch>(
    threads: usize,
    items: Items,
    scratch: impl Fn() -> Scratch + Sync,
    work: impl Fn(&mut Scratch, Items::Item) + Sync,
) where
    Items: Iterator + Send,
    Items::Item: Send,
{
    let queue = Mutex::new(items);
    let drain = || {
        let mut mine = scratch();
        loop {
            let item = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            match item {
                Some(item) => work(&mut mine, item),
                None => break,
            }
        }
    };
    let helpers = if threads > 1 { pool(threads - 1) } else { None };
    match helpers {
        None => drain(),
        Some(helpers) => helpers.in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| drain());
            }
            drain();
        }),
    }
}

/// Elements an elementwise kernel handles as one item; below two of these it runs inline.
pub const ELEMENTS: usize = 16 * 1024;

/// How many threads are worth waking for an elementwise kernel over `elements` values.
pub fn worth(threads: usize, elements: usize) -> usize {
    // A wake-up costs about as much as 16k elements take.
    threads.min(elements / (2 * ELEMENTS)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_whatever_the_threads() {
        for threads in [1, 2, 5] {
            let mut seen = vec![0_u8; 1000];
            for_each(
                threads,
                seen.chunks_mut(7),
                || (),
                |(), chunk| {
                    for value in chunk {
                        *value += 1;
                    }
                },
            );
            assert!(seen.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn small_work_stays_on_the_calling_thread() {
        assert_eq!(worth(8, 100), 1);
        assert_eq!(worth(2, 10 * ELEMENTS), 2);
    }
}
