//! Plays a scenario: `play NAME|FILE [FIRST_SEED [COUNT [JOBS]]]`. One seed prints the report, more print the sweep.

use simulator::{Scenario, run, sweep};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "four-nodes".into());
    let mut number = |default| arguments.next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(default);
    let (first, count, jobs) = (number(0), number(1), number(2));
    let scenario = match std::fs::read_to_string(&name) {
        Ok(text) => Scenario::parse(&text),
        Err(_) => Ok(Scenario::named(&name).expect("the name of a scenario or of a file with one")),
    };
    let scenario = scenario.unwrap_or_else(|problem| panic!("{name}: {problem}"));
    let json = match count {
        1 => serde_json::to_string_pretty(&run(&scenario, first)),
        _ => serde_json::to_string_pretty(&sweep(&scenario, first..first + count, usize::try_from(jobs).unwrap_or(2))),
    };
    println!("{}", json.unwrap_or_else(|error| error.to_string()));
}
