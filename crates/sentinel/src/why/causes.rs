//! What is not as it should be?

use super::Scene;
use crate::{
    partition::{Class, Damage, Link, Picture},
    vitals::Ailment,
};
use std::collections::BTreeMap;

/// Something that is not as it should be. Validators are named by their places, in ascending order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Nobody whose word is known hears these: they are down, or cut off from all of those.
    Unheard {
        /// Who.
        nodes: Vec<usize>,
        /// The region, if they are all that is there.
        region: Option<String>,
    },
    /// These do not hear each other, over whatever ways.
    Split {
        /// The sides, the largest first.
        sides: Vec<(Vec<usize>, Class)>,
        /// The region that is a side of its own.
        region: Option<String>,
    },
    /// These reach each other only through one validator.
    Through {
        /// Which.
        bridge: usize,
        /// The parts that its side would fall into.
        parts: Vec<Vec<usize>>,
    },
    /// Of each of these pairs of groups nobody hears anybody of the other.
    Cut {
        /// The pairs.
        groups: Vec<(Vec<usize>, Vec<usize>)>,
        /// Links that are cut, in all of them.
        links: usize,
        /// Links that there are between validators whose word is known.
        of: usize,
    },
    /// Of each of these pairs of groups the first do not hear the second, which hear them.
    Deaf {
        /// The pairs.
        groups: Vec<(Vec<usize>, Vec<usize>)>,
    },
    /// Of these nothing is known, although somebody else hears them.
    Unknown {
        /// Who.
        nodes: Vec<usize>,
    },
    /// These are there and sign nothing: their vote guards were lost.
    Observing {
        /// Who.
        nodes: Vec<usize>,
    },
    /// These are there and not well.
    Ill {
        /// What ails them.
        ailment: Ailment,
        /// Who, and what was measured.
        nodes: Vec<(usize, u32)>,
    },
}

impl Cause {
    /// One word for its kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unheard { .. } => "unheard",
            Self::Split { .. } => "split",
            Self::Through { .. } => "bridge",
            Self::Cut { .. } => "cut",
            Self::Deaf { .. } => "one_way",
            Self::Unknown { .. } => "unknown",
            Self::Observing { .. } => "observing",
            Self::Ill { ailment, .. } => ailment.name(),
        }
    }

    /// All validators that it speaks of. Of a one-way link both ends.
    pub fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = match self {
            Self::Unheard { nodes, .. } | Self::Unknown { nodes } | Self::Observing { nodes } => nodes.clone(),
            Self::Split { sides, .. } => sides.iter().flat_map(|(members, _)| members.clone()).collect(),
            Self::Through { bridge, parts } => parts.concat().into_iter().chain([*bridge]).collect(),
            Self::Cut { groups, .. } | Self::Deaf { groups } => {
                groups.iter().flat_map(|(a, b)| [a.as_slice(), b].concat()).collect()
            }
            Self::Ill { nodes, .. } => nodes.iter().map(|(node, _)| *node).collect(),
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether it is about who hears whom among validators whose word is known.
    pub const fn is_a_cut(&self) -> bool {
        match self {
            Self::Split { .. } | Self::Through { .. } | Self::Cut { .. } | Self::Deaf { .. } => true,
            Self::Unheard { .. } | Self::Unknown { .. } | Self::Observing { .. } | Self::Ill { .. } => false,
        }
    }
}

/// The causes that `picture` and what is known of each validator show, the gravest first.
pub(super) fn of(scene: &Scene, picture: &Picture, observers: &[usize]) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !picture.unheard.is_empty() {
        let nodes = picture.unheard.clone();
        causes.push(Cause::Unheard { region: region(scene, &nodes), nodes });
    }
    let parted = parted(scene, picture);
    let is_cut = |it: &&Damage| it.link == Link::Cut;
    let sides: Vec<Vec<usize>> = picture.sides.iter().map(|side| side.members.clone()).collect();
    let is_split = picture.damaged.iter().filter(is_cut).any(|it| side_of(picture, it.a) != side_of(picture, it.b));
    if is_split && are_told_apart(scene, &sides) {
        causes.push(Cause::Split {
            region: region(scene, &sides[1..].concat()),
            sides: picture.sides.iter().map(|side| (side.members.clone(), side.class)).collect(),
        });
    }
    causes.extend(parted.iter().map(|(bridge, parts)| Cause::Through { bridge: *bridge, parts: parts.clone() }));
    let told = if causes.iter().any(|cause| matches!(cause, Cause::Split { .. })) { sides } else { Vec::new() };
    let is_told = |it: &Damage| {
        let apart = |parts: &Vec<Vec<usize>>| {
            let part = |node| parts.iter().position(|part| part.contains(&node));
            part(it.a).zip(part(it.b)).is_some_and(|(a, b)| a != b)
        };
        apart(&told) || parted.iter().any(|(_, parts)| apart(parts))
    };
    let cut: Vec<(usize, usize)> =
        picture.damaged.iter().filter(is_cut).filter(|it| !is_told(it)).map(|it| (it.a, it.b)).collect();
    if !cut.is_empty() {
        let known: usize = picture.sides.iter().map(|side| side.members.len()).sum();
        causes.push(Cause::Cut { links: cut.len(), of: known * (known - 1) / 2, groups: both_ways(&cut) });
    }
    let deaf = picture.damaged.iter().filter_map(|it| match it.link {
        Link::OneWay { from, to } => Some((from, to)),
        Link::Usable | Link::Cut | Link::Broken { .. } | Link::Unknown => None,
    });
    let deaf = one_way(deaf);
    if !deaf.is_empty() {
        causes.push(Cause::Deaf { groups: deaf });
    }
    // Of whom is heard here and has said nothing there is nothing to tell: it has just started, or its rows go to others.
    let unknown: Vec<usize> = picture.unknown.iter().copied().filter(|node| !scene.nodes[*node].heard).collect();
    if !unknown.is_empty() {
        causes.push(Cause::Unknown { nodes: unknown });
    }
    if !observers.is_empty() {
        causes.push(Cause::Observing { nodes: observers.to_vec() });
    }
    causes.extend(ill(scene));
    causes
}

fn side_of(picture: &Picture, node: usize) -> Option<usize> {
    picture.sides.iter().position(|side| side.members.contains(&node))
}

/// The bridges, each with the parts that its side would fall into without it. A validator that hangs on another alone is
/// told by its cut links, unless its side consists of such parts only.
fn parted(scene: &Scene, picture: &Picture) -> Vec<(usize, Vec<Vec<usize>>)> {
    let parts = |bridge: &usize| {
        let side = picture.sides.iter().find(|side| side.members.contains(bridge))?;
        let rest: Vec<usize> = side.members.iter().copied().filter(|node| node != bridge).collect();
        Some((*bridge, scene.reach.sides(&rest)))
    };
    picture.bridges.iter().filter_map(parts).filter(|(_, parts)| are_told_apart(scene, parts)).collect()
}

/// Whether of each two in different ones of these at least one says that it does not hear the other: who has just started says
/// nothing yet, and then nobody can tell.
fn are_told_apart(scene: &Scene, parts: &[Vec<usize>]) -> bool {
    let is_told = |a: usize, b: usize| scene.reach.link(a, b) != Link::Unknown;
    parts
        .iter()
        .enumerate()
        .all(|(i, part)| part.iter().all(|a| parts[i + 1..].iter().flatten().all(|b| is_told(*a, *b))))
}

/// The region of which these are all.
fn region(scene: &Scene, nodes: &[usize]) -> Option<String> {
    let region = scene.regions.get(*nodes.first()?)?;
    let of_region = scene.regions.iter().filter(|other| *other == region).count();
    let is_theirs = nodes.iter().all(|node| scene.regions[*node] == *region);
    (is_theirs && nodes.len() > 1 && of_region == nodes.len() && of_region < scene.regions.len())
        .then(|| region.clone())
}

/// Puts together those that have lost the same others.
fn both_ways(links: &[(usize, usize)]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut lost: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (a, b) in links {
        lost.entry(*a).or_default().push(*b);
        lost.entry(*b).or_default().push(*a);
    }
    lost.values_mut().for_each(|others| others.sort_unstable());
    let mut groups: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    lost.iter().for_each(|(node, others)| groups.entry(others).or_default().push(*node));
    let groups: Vec<(&[usize], Vec<usize>)> = groups.into_iter().collect();
    let mut pairs = Vec::new();
    for (i, (others, a)) in groups.iter().enumerate() {
        // All of a group have lost the same ones, so a group is lost as a whole or not at all.
        pairs.extend(
            groups[i + 1..].iter().filter(|(_, b)| others.contains(&b[0])).map(|(_, b)| (a.clone(), b.clone())),
        );
    }
    pairs.iter_mut().filter(|(a, b)| a > b).for_each(|(a, b)| std::mem::swap(a, b));
    pairs.sort();
    pairs
}

/// Puts together those that do not hear the same others.
fn one_way(links: impl Iterator<Item = (usize, usize)>) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut unheard: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    links.for_each(|(deaf, to)| unheard.entry(deaf).or_default().push(to));
    unheard.values_mut().for_each(|others| others.sort_unstable());
    let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    unheard.into_iter().for_each(|(deaf, others)| groups.entry(others).or_default().push(deaf));
    let mut pairs: Vec<_> = groups.into_iter().map(|(to, deaf)| (deaf, to)).collect();
    pairs.sort();
    pairs
}

/// Who is not well, by what ails them.
fn ill(scene: &Scene) -> Vec<Cause> {
    let of = |ailment: Ailment| -> Vec<(usize, u32)> {
        let measure = |node: usize| scene.nodes[node].ailments.iter().find(|(what, _)| *what == ailment);
        (0..scene.nodes.len()).filter_map(|node| measure(node).map(|(_, measure)| (node, *measure))).collect()
    };
    let causes = Ailment::ALL.map(|ailment| Cause::Ill { ailment, nodes: of(ailment) });
    let mut causes: Vec<Cause> = causes.into_iter().filter(|cause| !cause.nodes().is_empty()).collect();
    for cause in &mut causes {
        if let Cause::Ill { ailment: Ailment::Clock, nodes } = cause {
            let Some(me) = scene.me else { continue };
            // It takes a round trip to compare them.
            let is_compared = |node: &usize| scene.reach.link(me, *node) == Link::Usable;
            let others = (0..scene.nodes.len()).filter(is_compared).count();
            // If the clocks of most others are off, it is one's own.
            if others >= 2 && 2 * nodes.len() > others {
                *nodes = vec![(me, nodes[0].1)];
            }
        }
    }
    causes
}
