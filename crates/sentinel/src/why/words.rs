//! The explanation in a sentence, and what would mend it.

use super::{Cause, Finality, Scene, Why, collectors, repair};
use crate::{
    partition::{Reach, Repair},
    vitals::Ailment,
};
use ledger::faults;

/// Causes that the sentence names; the others are in the details.
const NAMED: usize = 3;

/// Pairs of groups, and links, that one cause names.
const PAIRS: usize = 3;

pub(super) fn sentence(scene: &Scene, why: &Why, assumed: &Reach) -> String {
    let (silent_ms, _) = scene.silence();
    let (n, needed, height, seconds) = (scene.nodes.len(), why.quorum, scene.height, silent_ms / 1_000);
    let (voters, mutual) = (why.reachable.len(), why.mutual.members.len());
    let at_least = if why.mutual.is_largest { "" } else { "at least " };
    let head = match why.finality {
        Finality::Starting => {
            format!("STARTING: {voters} of {n} validators reachable from {}, {needed} needed", scene.looks)
        }
        Finality::Live => {
            format!(
                "LIVE at height {height}: {at_least}{mutual} of {n} validators vote and hear each other, {needed} needed"
            )
        }
        Finality::Degraded if why.slack() < 0 => format!(
            "DEGRADED at height {height}: finality needs {needed} of {n} validators that vote and all hear each other, and \
             there are {at_least}{mutual}: blocks become final only while {} leads",
            list(scene, &collectors(assumed, why))
        ),
        Finality::Degraded => format!(
            "DEGRADED at height {height}: {mutual} of {n} validators vote and hear each other, exactly the {needed} needed; one \
             more failure halts finality"
        ),
        Finality::Halted if why.slack() < 0 => format!(
            "HALTED (safe) at height {height} for {seconds} s: finality needs {needed} of {n} validators that vote and all hear \
             each other, and from {} there are {at_least}{mutual}",
            scene.looks
        ),
        Finality::Halted => format!(
            "HALTED (safe) at height {height} for {seconds} s although {mutual} of {n} validators vote and hear each other and \
             {needed} are needed"
        ),
    };
    let mut parts = vec![head];
    parts.extend(why.details.iter().take(NAMED).cloned());
    match why.details.len() {
        0 if why.finality == Finality::Halted => parts.push("nothing that is known explains it".into()),
        count if count > NAMED => parts.push(format!("and {} things more", count - NAMED)),
        _ => {}
    }
    let end = if why.finality == Finality::Halted { ". No fork is possible." } else { "." };
    parts.join("; ") + end
}

impl Cause {
    pub(super) fn words(&self, scene: &Scene) -> String {
        let of = |nodes: &[usize]| list(scene, nodes);
        match self {
            Self::Unheard { nodes, .. } if nodes.len() + usize::from(scene.me.is_some()) == scene.nodes.len() => {
                format!("{} hears nobody: it is cut off, or all others are down", scene.looks)
            }
            Self::Unheard { nodes, region } => {
                let are = if nodes.len() == 1 { "is" } else { "are" };
                let all = region.as_ref().map(|region| format!(", all of region {region},")).unwrap_or_default();
                format!("{}{all} {are} not heard by anybody: down or cut off", of(nodes))
            }
            Self::Split { sides, region } => {
                let side = |(members, class): &(Vec<usize>, crate::partition::Class)| {
                    format!("{} ({})", of(members), class.name())
                };
                let sides = sides.iter().map(side).collect::<Vec<_>>().join(" | ");
                let region = region.as_ref().map(|region| format!(": region {region} is cut off")).unwrap_or_default();
                format!("split {sides}{region}")
            }
            Self::Through { bridge, parts } => {
                let parts = parts.iter().map(|part| of(part)).collect::<Vec<_>>().join(" and ");
                format!("{parts} reach each other only through {}", scene.names[*bridge])
            }
            Self::Cut { groups, .. } if groups.len() <= PAIRS => {
                let pair =
                    |(a, b): &(Vec<usize>, Vec<usize>)| format!("{} and {} do not hear each other", of(a), of(b));
                groups.iter().map(pair).collect::<Vec<_>>().join(", ")
            }
            Self::Cut { groups, links, of: all } => {
                let pairs =
                    groups.iter().flat_map(|(a, b)| a.iter().flat_map(move |a| b.iter().map(move |b| (*a, *b))));
                let pair = |(a, b): (usize, usize)| format!("{}-{}", scene.names[a], scene.names[b]);
                let named = pairs.take(PAIRS).map(pair).collect::<Vec<_>>().join(" ");
                format!("{links} of {all} links are cut: {named} and {} more", links - PAIRS)
            }
            Self::Deaf { groups } => {
                let pair = |(deaf, to): &(Vec<usize>, Vec<usize>)| {
                    let (does, hears) =
                        (if deaf.len() == 1 { "does" } else { "do" }, if to.len() == 1 { "s" } else { "" });
                    let whom = if deaf.len() == 1 { "it" } else { "them" };
                    format!("{} {does} not hear {}, which hear{hears} {whom}", of(deaf), of(to))
                };
                let more = groups.len().saturating_sub(PAIRS);
                let more = if more > 0 { format!(", and {more} pairs more are one-way") } else { String::new() };
                groups.iter().take(PAIRS).map(pair).collect::<Vec<_>>().join(", ") + &more
            }
            Self::Unknown { nodes } => format!("of {} nothing is known", of(nodes)),
            Self::Observing { nodes } => format!("observing without a vote: {}", of(nodes)),
            Self::Ill { ailment, nodes } => {
                let one =
                    |(node, measure): &(usize, u32)| format!("{} {}", scene.names[*node], ailing(*ailment, *measure));
                nodes.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

fn ailing(ailment: Ailment, measure: u32) -> String {
    match ailment {
        Ailment::Consensus => format!("has not voted for {} s while blocks become final", measure / 1_000),
        Ailment::Executor => "does no work, or does it wrong".into(),
        Ailment::Disk => format!("has a slow disk: {measure} ms to make a vote durable"),
        Ailment::Clock => format!("has a wrong clock: {} s off", measure / 1_000),
    }
}

pub(super) fn fix(scene: &Scene, why: &Why, assumed: &Reach) -> Option<String> {
    if why.causes.is_empty() && why.finality != Finality::Halted {
        return None;
    }
    let f = faults(scene.nodes.len());
    let needed = usize::try_from(-why.slack()).unwrap_or(0);
    if why.finality == Finality::Halted && why.observers.len() > f {
        return Some(format!(
            "{} validators lost their vote guard, more than f = {f}: they cannot sit out, because nothing becomes final without \
             them. Find out what destroyed the guards, then run `unsplit node reinstate` on {} of them, one at a time, and start \
             them again; it explains the risk before it acts.",
            why.observers.len(),
            why.observers.len().min(needed.max(1)),
        ));
    }
    if let Some(repair) = repair(assumed, why) {
        return Some(format!(
            "{}; nothing has to be done on the others, they go on by themselves.",
            mend(scene, why, &repair)
        ));
    }
    let steps: Vec<String> = why.causes.iter().filter_map(|cause| step(scene, cause)).collect();
    Some(if steps.is_empty() {
        "look at the logs of those that are heard: they say what they wait for.".into()
    } else {
        steps.join("; ") + "."
    })
}

/// The least that gives a quorum back.
fn mend(scene: &Scene, why: &Why, repair: &Repair) -> String {
    let mut steps = Vec::new();
    if repair.returning > 0 {
        let mut away = [why.missing.as_slice(), &why.observers].concat();
        away.sort_unstable();
        steps.push(format!("bring back or reconnect {} of {}", repair.returning, list(scene, &away)));
    }
    // If all the links have an end in common, it is that one's connection that matters.
    let common = |node: &usize| repair.links.iter().all(|(a, b)| a == node || b == node);
    match repair.links.as_slice() {
        [] => {}
        [(a, b)] => steps.push(format!("mend the link between {} and {}", scene.names[*a], scene.names[*b])),
        [(a, b), ..] => match [*a, *b].iter().find(|node| common(node)) {
            Some(node) => {
                let others = repair.links.iter().map(|(a, b)| if a == node { *b } else { *a });
                let mut others: Vec<usize> = others.collect();
                others.sort_unstable();
                steps.push(format!("mend the links between {} and {}", scene.names[*node], list(scene, &others)));
            }
            None => {
                let pairs = repair.links.iter().map(|(a, b)| format!("{}-{}", scene.names[*a], scene.names[*b]));
                steps.push(format!("mend {} links: {}", repair.links.len(), pairs.collect::<Vec<_>>().join(" ")));
            }
        },
    }
    if !repair.is_cheapest {
        steps.push("less may do".into());
    }
    steps.join(", and ")
}

/// What to do about one thing, when nothing is urgent.
fn step(scene: &Scene, cause: &Cause) -> Option<String> {
    Some(match cause {
        Cause::Unheard { nodes, .. } => format!("restart or reconnect {}", list(scene, nodes)),
        Cause::Split { sides, .. } => {
            let smaller: Vec<usize> = sides.iter().skip(1).flat_map(|(members, _)| members.clone()).collect();
            format!("reconnect {}", list(scene, &smaller))
        }
        Cause::Through { .. } | Cause::Cut { .. } | Cause::Deaf { .. } => {
            format!("mend the links named; `unsplit matrix` shows each ({})", cause.name())
        }
        Cause::Unknown { nodes } => format!("look at the links of {}", list(scene, nodes)),
        Cause::Observing { .. } => "observers vote again by themselves once they have sat out".into(),
        Cause::Ill { ailment, nodes } => {
            let what = match ailment {
                Ailment::Consensus => "see why it does not vote in the log of",
                Ailment::Executor => "restart the executor of",
                Ailment::Disk => "look at the disk of",
                Ailment::Clock => "set the clock and restart",
            };
            let nodes: Vec<usize> = nodes.iter().map(|(node, _)| *node).collect();
            format!("{what} {}", list(scene, &nodes))
        }
    })
}

fn list(scene: &Scene, nodes: &[usize]) -> String {
    nodes.iter().map(|node| scene.names[*node].as_str()).collect::<Vec<_>>().join(" ")
}
