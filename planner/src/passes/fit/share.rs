//! Which part of the rows of one range of keys belongs into another.

use vtplan_state::model::KeyRange;

/// Ids are told apart by so many of their first bits: enough for estimates.
const BITS: u32 = 64;

/// The bytes of `of` that belong into `to`, of `bytes` that `of` has. Ids are taken to be spread
/// evenly, as hashing vindexes spread them.
pub(super) fn share(bytes: u64, of: &KeyRange, to: &KeyRange) -> u64 {
    let (of, to) = (bounds(of), bounds(to));
    let common = of.1.min(to.1).saturating_sub(of.0.max(to.0));
    let all = (of.1 - of.0).max(1);
    // Below 2^64 times 2^64, as `common` is at most `all`.
    let share = (u128::from(bytes) * common.min(all)).div_ceil(all);
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn bounds(range: &KeyRange) -> (u128, u128) {
    let end = match range.end() {
        [] => 1 << BITS,
        end => number(end),
    };
    (number(range.start()), end)
}

fn number(id: &[u8]) -> u128 {
    let bytes = id.iter().copied().chain(std::iter::repeat(0));
    bytes
        .take(BITS as usize / 8)
        .fold(0, |number, byte| number << 8 | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::ShardName;

    fn part(of: &str, to: &str) -> u64 {
        let range = |name: &str| name.parse::<ShardName>().unwrap().key_range().clone();
        share(1000, &range(of), &range(to))
    }

    #[test]
    fn rows_are_spread_evenly_over_a_range() {
        assert_eq!(part("0", "-80"), 500);
        assert_eq!(part("-80", "40-80"), 500);
        assert_eq!(part("-80", "0"), 1000);
        assert_eq!(part("-80", "80-"), 0);
        assert_eq!(part("-80", "40-c0"), 500);
        assert_eq!(part("-", "ff-"), 4);
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        let all = KeyRange::full();
        assert_eq!(share(u64::MAX, &all, &all), u64::MAX);
        assert_eq!(share(0, &all, &all), 0);
    }
}
