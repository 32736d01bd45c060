//! Which validators are meant? `n3`, `3`, `0-3/4-6`.

use std::collections::BTreeSet;

/// The index of a validator called by name, or by number alone.
pub(crate) fn find(word: &str, names: &[String]) -> Result<usize, String> {
    let known = || format!("no validator is called {word:?}; there are {} to {}", names[0], names[names.len() - 1]);
    let by_name = names.iter().position(|name| name == word);
    by_name.or_else(|| names.iter().position(|name| *name == format!("n{word}"))).ok_or_else(known)
}

/// The indices of validators called by name, each once; `all` is everyone.
pub(crate) fn find_all(words: &[String], names: &[String]) -> Result<Vec<usize>, String> {
    if words.iter().any(|word| word == "all") {
        return Ok((0..names.len()).collect());
    }
    let found: BTreeSet<usize> = words.iter().map(|word| find(word, names)).collect::<Result<_, _>>()?;
    Ok(found.into_iter().collect())
}

/// Reads `0-3/4-6` or `n0,n2/n1,n3-n6`: at least two groups, nobody in two of them.
pub(crate) fn parse(text: &str, names: &[String]) -> Result<Vec<Vec<usize>>, String> {
    let groups: Vec<Vec<usize>> = text.split('/').map(|group| parse_group(group, names)).collect::<Result<_, _>>()?;
    if groups.len() < 2 {
        return Err(format!("{text:?} names {} group, not two or more: write 0-3/4-6", groups.len()));
    }
    let mut seen = BTreeSet::new();
    for &node in groups.iter().flatten() {
        if !seen.insert(node) {
            return Err(format!("{} is named twice in {text:?}", names[node]));
        }
    }
    Ok(groups)
}

fn parse_group(text: &str, names: &[String]) -> Result<Vec<usize>, String> {
    let mut group = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err("a group is empty: write 0-3/4-6".into());
        }
        match part.split_once('-') {
            None => group.push(find(part, names)?),
            Some((first, last)) => {
                let (first, last) = (find(first.trim(), names)?, find(last.trim(), names)?);
                if first > last {
                    return Err(format!("{part:?} runs backwards"));
                }
                group.extend(first..=last);
            }
        }
    }
    Ok(group)
}

/// Writes a group as it was read: `n0-n3` when it is a run, `n0,n2` otherwise.
pub(crate) fn format_group(group: &[usize], names: &[String]) -> String {
    let is_run = group.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match group {
        [] => String::new(),
        [only] => names[*only].clone(),
        [first, .., last] if is_run && group.len() > 2 => format!("{}-{}", names[*first], names[*last]),
        _ => group.iter().map(|&node| names[node].as_str()).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        (0..7).map(|i| format!("n{i}")).collect()
    }

    #[test]
    fn groups_are_runs_and_lists() {
        let parse = |text: &str| parse(text, &names());
        assert_eq!(parse("0-3/4-6"), Ok(vec![vec![0, 1, 2, 3], vec![4, 5, 6]]));
        assert_eq!(parse("n0,n2/n1,n3-n6"), Ok(vec![vec![0, 2], vec![1, 3, 4, 5, 6]]));
        assert_eq!(parse(" 0 / 1 / 2 - 2 "), parse("0/1/2-2"));
        assert_eq!(parse("0/1/2-2"), Ok(vec![vec![0], vec![1], vec![2]]));
    }

    #[test]
    fn a_wrong_group_is_explained() {
        for (text, words) in [
            ("0-3", "names 1 group"),
            ("0-3/", "a group is empty"),
            ("0-3/3-6", "n3 is named twice"),
            ("0-3/4-7", "no validator is called \"7\"; there are n0 to n6"),
            ("3-0/4", "\"3-0\" runs backwards"),
            ("", "a group is empty"),
        ] {
            let error = parse(text, &names()).expect_err(text);
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn nodes_are_found_by_name_and_number_once() {
        let find =
            |words: &[&str]| find_all(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &names());
        assert_eq!(find(&["n5", "5", "2"]), Ok(vec![2, 5]));
        assert_eq!(find(&["all"]), Ok((0..7).collect()));
        assert!(find(&["n7"]).is_err());
    }

    #[test]
    fn groups_are_written_as_they_are_read() {
        for (group, text) in
            [(vec![0, 1, 2, 3], "n0-n3"), (vec![5, 6], "n5,n6"), (vec![4], "n4"), (vec![0, 2, 3], "n0,n2,n3")]
        {
            assert_eq!(format_group(&group, &names()), text);
        }
    }
}
