//! The picture in one sentence, for every surface.

use super::{Class, Link, Picture};

/// What people call the validators.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Their names, in the order of their places.
    pub nodes: &'a [String],
    /// Where each stands.
    pub regions: &'a [String],
}

impl Class {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Majority => "majority without quorum",
            Self::Minority => "minority",
            Self::Isolated => "isolated",
        }
    }
}

impl Picture {
    /// `split: n0 n1 n2 (majority without quorum) | n3 (isolated); n4 is not heard`.
    pub fn sentence(&self, names: Names<'_>) -> String {
        let mut parts = vec![self.shape(names)];
        parts.extend(self.region_cut_off(names));
        let of = |nodes: &[usize]| list(names, nodes);
        match self.unheard.as_slice() {
            [] => {}
            [one] => parts.push(format!("{} is not heard by anybody", names.nodes[*one])),
            several => parts.push(format!("{} are not heard by anybody", of(several))),
        }
        if !self.unknown.is_empty() {
            parts.push(format!("of {} nothing is known", of(&self.unknown)));
        }
        if !self.bridges.is_empty() {
            parts.push(format!("only {} holds a side together", of(&self.bridges)));
        }
        if let Some(repair) = &self.repair {
            let at_least = if self.mutual.is_largest { "" } else { "at least " };
            let hear = self.mutual.members.len();
            parts.push(format!("{at_least}{hear} hear each other, which is no quorum: {}", mend(repair, names)));
        }
        parts.join("; ")
    }

    fn shape(&self, names: Names<'_>) -> String {
        if self.is_split() {
            let side = |side: &super::Side| format!("{} ({})", list(names, &side.members), side.class.name());
            return format!("split: {}", self.sides.iter().map(side).collect::<Vec<_>>().join(" | "));
        }
        match self.damaged.as_slice() {
            [] => "no link is broken between those that are heard".into(),
            links => {
                let link = |it: &super::Damage| match it.link {
                    Link::OneWay { from, to } => {
                        format!("{} does not hear {}", names.nodes[from], names.nodes[to])
                    }
                    Link::Broken { deaf, to } => format!("{} does not hear {}", names.nodes[deaf], names.nodes[to]),
                    Link::Usable | Link::Cut | Link::Unknown => {
                        format!("{} and {} do not hear each other", names.nodes[it.a], names.nodes[it.b])
                    }
                };
                const SHOWN: usize = 3;
                let more = links.len().saturating_sub(SHOWN);
                let more = if more > 0 { format!(" and {more} links more") } else { String::new() };
                format!("partial: {}{more}", links.iter().take(SHOWN).map(link).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whether exactly those of one region are away, on a side of their own or not heard at all.
    fn region_cut_off(&self, names: Names<'_>) -> Option<String> {
        let others = self.sides.iter().skip(1).flat_map(|side| &side.members);
        let mut away: Vec<usize> = others.chain(&self.unheard).copied().collect();
        away.sort_unstable();
        let region = names.regions.get(*away.first()?)?;
        let of_region: Vec<usize> = (0..names.regions.len()).filter(|node| names.regions[*node] == *region).collect();
        let is_all_there_is = of_region.len() == names.regions.len();
        (away == of_region && away.len() > 1 && !is_all_there_is).then(|| format!("region {region} is cut off"))
    }
}

fn mend(repair: &super::Repair, names: Names<'_>) -> String {
    let links = match repair.links.len() {
        0 => None,
        1 => {
            let (a, b) = repair.links[0];
            Some(format!("mend the link between {} and {}", names.nodes[a], names.nodes[b]))
        }
        count => {
            let ends = repair.links.iter().flat_map(|(a, b)| [*a, *b]);
            let mut ends: Vec<usize> = ends.collect();
            ends.sort_unstable();
            ends.dedup();
            Some(format!("mend {count} links among {}", list(names, &ends)))
        }
    };
    let returning = match repair.returning {
        0 => None,
        1 => Some("bring one more validator back".to_owned()),
        count => Some(format!("bring {count} more validators back")),
    };
    links.into_iter().chain(returning).collect::<Vec<_>>().join(", and ")
}

fn list(names: Names<'_>, nodes: &[usize]) -> String {
    nodes.iter().map(|node| names.nodes[*node].as_str()).collect::<Vec<_>>().join(" ")
}
