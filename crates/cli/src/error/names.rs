//! Which name may have been meant by one that does not exist. Pure.

/// A hint with the names that are like `wrong`, nearest first; nothing when none is.
pub(crate) fn meant<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 3;
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (if name.starts_with(wrong) { 1 } else { distance(wrong, name) }, name))
        .filter(|(distance, name)| *distance <= 1 + wrong.len().min(name.len()) / 4)
        .collect();
    near.sort();
    let names: Vec<String> = near.iter().take(SHOWN).map(|(_, name)| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("there is a VM called {one}")),
        [first @ .., last] => Some(format!("there are VMs called {} and {last}", first.join(", "))),
    }
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to make one of the other (optimal
/// string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [("", "abc", 3), ("box", "box", 0), ("bxo", "box", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn near_names_are_offered_nearest_first() {
        let known = ["box", "boxes", "brisk-heron", "calm-owl"];
        assert_eq!(meant("brisk-herno", known).unwrap(), "there is a VM called `brisk-heron`");
        assert_eq!(meant("bo", known).unwrap(), "there are VMs called `box` and `boxes`");
        assert_eq!(meant("zebra", known), None);
    }
}
