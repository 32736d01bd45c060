//! What does it take to remember a node?

use crate::{
    Cell, Failure, Report,
    update::{Bed, count},
};

/// For how many nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of nodes, such as 1000 or 1e6.
    #[arg(long, value_delimiter = ',', default_values = ["1e4", "1e5", "1e6"], value_parser = count)]
    pub nodes: Vec<u32>,
}

/// Below so many nodes the pages of everything else hide what a monitor takes.
const RESIDENT_NODES_MIN: u32 = 100_000;

/// Measures.
///
/// # Errors
/// None; the signature is that of every benchmark.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let nodes: Vec<String> = options.nodes.iter().map(u32::to_string).collect();
    let columns = vec!["nodes", "bytes_per_node", "resident_bytes_per_node"];
    let mut report = Report::new(format!("bench mem --nodes {}", nodes.join(",")), columns);
    report.rows = options.nodes.iter().map(|nodes| row(*nodes)).collect();
    report.notes = [
        "bytes_per_node: capacity times size of everything kept for timing, the wheel included, with rows coming in.",
        "resident_bytes_per_node: growth of the resident set over the same, as the kernel counts it, with the benchmark's own \
         order of nodes (4 bytes each) taken off; a counting allocator would need unsafe code.",
        "The wheel's 4,096 slots (33 KiB) are shared by all nodes. Nodes that are being probed take about 150 bytes more \
         while they are.",
    ]
    .map(String::from)
    .into();
    Ok(report)
}

fn row(nodes: u32) -> Vec<Cell> {
    let before = resident();
    let bed = Bed::new(nodes, 1);
    let grown = before.zip(resident()).map(|(before, after)| after.saturating_sub(before));
    let each = |bytes: f64| bytes / f64::from(nodes);
    let grown = grown.filter(|_| nodes >= RESIDENT_NODES_MIN).map(|bytes| each(bytes as f64) - 4.0);
    vec![u64::from(nodes).into(), each(bed.health.bytes() as f64).into(), grown.into()]
}

/// Bytes of this process in memory; `None` where the kernel does not say so in this way.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_32_bytes_at_most() {
        let bed = Bed::new(100_000, 1);
        assert!(bed.health.bytes() <= 32 * 100_000, "{}", bed.health.bytes());
    }
}
