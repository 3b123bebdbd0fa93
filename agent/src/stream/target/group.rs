//! Which transactions of a group may be made at the same time: those that touch no row of each
//! other's.

use std::collections::HashMap;

/// Splits `transactions`, given as what each touches (see [`super::tables::Ops::touched`]) and how much
/// work it is, over at most `workers`. Transactions that touch the same go to the same worker, in
/// their order.
pub fn split(transactions: &[(&[u64], usize)], workers: usize) -> Vec<Vec<usize>> {
    let mut parent: Vec<usize> = (0..transactions.len()).collect();
    let mut first_with: HashMap<u64, usize> = HashMap::new();
    for (i, (touched, _)) in transactions.iter().enumerate() {
        for key in *touched {
            match first_with.get(key) {
                Some(&first) => {
                    let (a, b) = (root(&mut parent, first), root(&mut parent, i));
                    parent[a.max(b)] = a.min(b);
                }
                None => {
                    first_with.insert(*key, i);
                }
            }
        }
    }
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    for (i, (_, work)) in transactions.iter().enumerate() {
        *sizes.entry(root(&mut parent, i)).or_default() += work;
    }
    // The largest first, each to the worker that has the least to do.
    let mut components: Vec<(usize, usize)> = sizes.into_iter().collect();
    components.sort_unstable_by_key(|&(root, size)| (std::cmp::Reverse(size), root));
    let mut loads = vec![0usize; workers.max(1)];
    let mut worker_of: HashMap<usize, usize> = HashMap::new();
    for (component, size) in components {
        let least = (0..loads.len()).min_by_key(|&w| loads[w]).unwrap_or(0);
        loads[least] += size;
        worker_of.insert(component, least);
    }
    let mut split = vec![Vec::new(); loads.len()];
    for i in 0..transactions.len() {
        split[worker_of[&root(&mut parent, i)]].push(i);
    }
    split.retain(|part| !part.is_empty());
    split
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transactions_without_a_common_row_are_spread() {
        let touched: Vec<Vec<u64>> = (0..8).map(|i| vec![i]).collect();
        let transactions: Vec<(&[u64], usize)> = touched.iter().map(|t| (&t[..], 1)).collect();
        let split = split(&transactions, 4);
        assert_eq!(split.len(), 4);
        assert!(split.iter().all(|part| part.len() == 2), "{split:?}");
    }

    proptest! {
        #[test]
        fn what_touches_the_same_stays_in_order_with_one_worker(
            touched in prop::collection::vec(prop::collection::vec(0u64..30, 0..4), 0..40),
            workers in 1usize..5,
        ) {
            let transactions: Vec<(&[u64], usize)> = touched.iter().map(|t| (&t[..], t.len())).collect();
            let split = split(&transactions, workers);
            let mut all: Vec<usize> = split.iter().flatten().copied().collect();
            prop_assert!(split.iter().all(|part| part.is_sorted()));
            prop_assert!(split.len() <= workers);
            all.sort_unstable();
            prop_assert_eq!(all, (0..touched.len()).collect::<Vec<_>>());
            let worker_of = |i: usize| split.iter().position(|part| part.contains(&i));
            for a in 0..touched.len() {
                for b in 0..a {
                    if touched[a].iter().any(|key| touched[b].contains(key)) {
                        prop_assert_eq!(worker_of(a), worker_of(b));
                    }
                }
            }
        }
    }
}
