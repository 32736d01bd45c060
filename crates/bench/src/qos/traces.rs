//! Which heartbeats were sent when, and when did they arrive?

use crate::{Failure, random::Random};
use std::{collections::BTreeMap, path::Path};

/// The most heartbeats of a file.
const BEATS_MAX: usize = 20_000_000;

/// One heartbeat, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beat {
    pub(super) sent: f64,
    /// `None`: lost.
    pub(super) arrived: Option<f64>,
}

/// A trace.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) name: String,
    /// Mean time between sendings.
    pub(super) interval: f64,
    pub(super) beats: Vec<Beat>,
    /// Which heartbeat arrived when, in the order of arrival.
    pub(super) arrivals: Vec<(usize, f64)>,
}

impl Trace {
    fn new(name: String, beats: Vec<Beat>) -> Self {
        let span = beats.last().map_or(0.0, |beat| beat.sent) - beats.first().map_or(0.0, |beat| beat.sent);
        let interval = span / (beats.len() - 1) as f64;
        let placed = beats.iter().enumerate().filter_map(|(index, beat)| beat.arrived.map(|at| (index, at)));
        let mut arrivals: Vec<(usize, f64)> = placed.collect();
        arrivals.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self { name, interval, beats, arrivals }
    }
}

/// How long heartbeats take.
#[derive(Clone, Copy, Debug)]
enum Delay {
    /// A fraction of a millisecond, and once in a thousand some tens of milliseconds.
    Lan,
    /// 40 ms and a long-tailed jitter of about 5 ms, and once in a thousand a hundred milliseconds.
    Wan,
}

/// How heartbeats are lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Each by itself.
    Independent(f64),
    /// In bursts of this mean length, this share in all (Gilbert, Bell System Technical Journal 39, 1960).
    Bursts(f64, f64),
}

/// The traces that detectors are usually judged on, and two with bursts.
pub(super) fn generated(beats: usize, random: &Random) -> Vec<Trace> {
    let independent = |interval, delay, loss| (interval, delay, Loss::Independent(loss));
    let kinds = [
        independent(1.0, Delay::Lan, 0.0),
        independent(1.0, Delay::Lan, 0.05),
        independent(1.0, Delay::Lan, 0.2),
        independent(1.0, Delay::Wan, 0.01),
        independent(1.0, Delay::Wan, 0.05),
        independent(1.0, Delay::Wan, 0.2),
        independent(0.1, Delay::Wan, 0.01),
        (1.0, Delay::Lan, Loss::Bursts(0.05, 3.0)),
        (1.0, Delay::Wan, Loss::Bursts(0.05, 3.0)),
    ];
    let parts = kinds.into_iter().zip(0..);
    parts.map(|((interval, delay, loss), part)| generate(beats, interval, delay, loss, random.part(part))).collect()
}

fn generate(beats: usize, interval: f64, delay: Delay, loss: Loss, mut random: Random) -> Trace {
    let mut losing = false;
    let mut beat = |index: usize| {
        let sent = (index + 1) as f64 * interval;
        losing = lost(loss, losing, &mut random);
        let took = draw(delay, &mut random);
        Beat { sent, arrived: (!losing).then_some(sent + took) }
    };
    Trace::new(name(interval, delay, loss), (0..beats).map(&mut beat).collect())
}

fn name(interval: f64, delay: Delay, loss: Loss) -> String {
    let place = match delay {
        Delay::Lan => "lan",
        Delay::Wan => "wan",
    };
    match loss {
        Loss::Independent(share) => format!("{place} {interval} s {} %", share * 100.0),
        Loss::Bursts(share, mean) => format!("{place} {interval} s {} % bursts of {mean}", share * 100.0),
    }
}

fn lost(loss: Loss, losing: bool, random: &mut Random) -> bool {
    match loss {
        Loss::Independent(share) => random.chance(share),
        Loss::Bursts(_, mean) if losing => !random.chance(1.0 / mean),
        Loss::Bursts(share, mean) => random.chance(share / (1.0 - share) / mean),
    }
}

fn draw(delay: Delay, random: &mut Random) -> f64 {
    let (usual, rare) = match delay {
        Delay::Lan => (0.000_1 + random.exponential(0.000_2), 0.05),
        Delay::Wan => (0.04 + 0.005 * (0.8 * random.normal()).exp(), 0.1),
    };
    if random.chance(0.001) { usual + random.exponential(rare) } else { usual }
}

/// Reads a trace.
///
/// # Errors
/// A file that cannot be read, that is no trace, or that is too long or too short.
pub(super) fn read(path: &Path) -> Result<Trace, Failure> {
    let refuse = |message: String| Failure {
        message: format!("{}: {message}", path.display()),
        help: "give the output of `ping -D`, or lines of `seconds,delay_ms` and `seconds,lost`, decompressed".into(),
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let ping = text.lines().any(|line| line.contains("icmp_seq="));
    let beats = if ping { from_ping(&text) } else { from_lines(&text) }.map_err(refuse)?;
    let heard = beats.iter().filter(|beat| beat.arrived.is_some()).count();
    if beats.len() < 100 || heard < 2 {
        return Err(refuse(format!("{} heartbeats, of which {heard} arrived, are too few", beats.len())));
    }
    let name = path.file_name().map_or_else(|| "trace".into(), |name| name.to_string_lossy().into_owned());
    Ok(Trace::new(name, beats))
}

/// Times in the file are those of the answer; what was lost was sent evenly between its neighbours.
fn from_ping(text: &str) -> Result<Vec<Beat>, String> {
    let mut answers: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    let (mut epochs, mut before) = (0, 0);
    for (line, answer) in text.lines().zip(1..).filter_map(|(text, line)| answer(text).map(|answer| (line, answer))) {
        let (sequence, at, took) = answer.ok_or_else(|| format!("line {line}: no time or sequence number"))?;
        // 16 bits on the wire.
        epochs += usize::from(sequence + 32_768 < before);
        before = sequence;
        answers.entry(epochs * 65_536 + sequence).or_insert((at - took, at));
    }
    between(&answers)
}

/// Of a line of ping that is an answer: sequence, time, round trip. The inner one is `None` when it is cut short.
fn answer(line: &str) -> Option<Option<(usize, f64, f64)>> {
    let word = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
    let sequence = word("icmp_seq=").filter(|_| line.contains("bytes from"))?;
    let read = || {
        let at = line.strip_prefix('[')?.split(']').next()?.parse().ok()?;
        Some((sequence.parse().ok()?, at, word("time=")?.parse::<f64>().ok()? / 1_000.0))
    };
    Some(read())
}

fn between(answers: &BTreeMap<usize, (f64, f64)>) -> Result<Vec<Beat>, String> {
    let first = answers.iter().next().ok_or("no answers")?;
    let (mut beats, mut before) = (Vec::new(), (*first.0, first.1.0));
    for (sequence, (sent, arrived)) in answers {
        let missing = sequence - before.0;
        if beats.len() + missing > BEATS_MAX {
            return Err(format!("more than {BEATS_MAX} heartbeats"));
        }
        let step = (sent - before.1) / missing.max(1) as f64;
        beats.extend((1..missing).map(|n| Beat { sent: before.1 + step * n as f64, arrived: None }));
        beats.push(Beat { sent: *sent, arrived: Some(*arrived) });
        before = (*sequence, *sent);
    }
    Ok(beats)
}

fn from_lines(text: &str) -> Result<Vec<Beat>, String> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut beats: Vec<Beat> = Vec::new();
    for (line, number) in lines {
        let beat = from_line(line)
            .ok_or_else(|| format!("line {number}: `{line}` is not `seconds,delay_ms` or `seconds,lost`"))?;
        if beats.last().is_some_and(|last| last.sent >= beat.sent) {
            return Err(format!("line {number}: sent at {}, not after the line before", beat.sent));
        }
        if beats.len() == BEATS_MAX {
            return Err(format!("more than {BEATS_MAX} heartbeats"));
        }
        beats.push(beat);
    }
    Ok(beats)
}

fn from_line(line: &str) -> Option<Beat> {
    let (sent, delay) = line.split_once(',')?;
    let sent: f64 = sent.trim().parse().ok().filter(|sent: &f64| sent.is_finite() && *sent >= 0.0)?;
    match delay.trim() {
        "lost" => Some(Beat { sent, arrived: None }),
        delay => {
            let delay: f64 = delay.parse().ok().filter(|delay: &f64| delay.is_finite() && *delay >= 0.0)?;
            Some(Beat { sent, arrived: Some(sent + delay / 1_000.0) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_traces_lose_as_much_as_their_names_say() {
        for trace in generated(100_000, &Random::new(1)) {
            let lost = 1.0 - trace.arrivals.len() as f64 / trace.beats.len() as f64;
            let percent: f64 = trace.name.split(' ').nth(3).and_then(|share| share.parse().ok()).expect("in the name");
            assert!((lost * 100.0 - percent).abs() < 0.5, "{}: {lost}", trace.name);
        }
    }

    #[test]
    fn bursts_have_their_mean_length() {
        let trace = generated(100_000, &Random::new(1)).pop().expect("the last");
        let lost = trace.beats.iter().filter(|beat| beat.arrived.is_none()).count();
        let begun =
            trace.beats.windows(2).filter(|pair| pair[0].arrived.is_some() && pair[1].arrived.is_none()).count();
        assert!((lost as f64 / begun as f64 - 3.0).abs() < 0.2);
    }

    #[test]
    fn a_ping_is_read_with_what_it_lost() {
        let text = "PING x\n[10.100] 64 bytes from x: icmp_seq=1 ttl=63 time=100 ms\n\
                    [10.500] 64 bytes from x: icmp_seq=4 ttl=63 time=200 ms\n";
        let beats = from_ping(text).expect("a ping");
        let sent: Vec<u64> = beats.iter().map(|beat| (beat.sent * 1_000.0).round() as u64).collect();
        assert_eq!(sent, [10_000, 10_100, 10_200, 10_300]);
        assert_eq!(beats.iter().map(|beat| beat.arrived).collect::<Vec<_>>(), [Some(10.1), None, None, Some(10.5)]);
        assert!(from_ping("[10.1] 64 bytes from x: icmp_seq=1 ttl=63").is_err());
    }

    #[test]
    fn lines_are_read_and_wrong_ones_named() {
        let beats = from_lines("# sent, delay\n0.5,100\n1.5,lost\n").expect("lines");
        let expected = [Beat { sent: 0.5, arrived: Some(0.6) }, Beat { sent: 1.5, arrived: None }];
        assert_eq!(beats, expected);
        for (text, words) in
            [("1,2\nx,2", "line 2"), ("1,2\n1,2", "not after"), ("1,-2", "line 1"), ("inf,2", "line 1")]
        {
            let said = from_lines(text).expect_err("wrong");
            assert!(said.contains(words), "{said}");
        }
    }
}
