use super::*;

const HEAD: &str = "System,nodes,nodenumz,node prod,node decom,Prob Started,Prob Fixed";

fn text(lines: &[&str]) -> Vec<u8> {
    format!("{HEAD}\n{}\n", lines.join("\n")).into_bytes()
}

/// What does a file with one good line and this one say?
#[track_caller]
fn check(line: &str, error: &str) {
    let good = "2,4,0,Jan-97,current,6/21/2005 10:54,6/21/2005 11:00";
    assert_eq!(parse(&text(&[good, line])).expect_err("the line is odd"), format!("line 3: {error}"));
}

#[test]
fn nodes_that_never_failed_are_known_by_the_size_of_their_system() {
    let lines = [
        "2,4,2,Jan-97,current,6/21/2005 10:54,6/21/2005 11:00",
        "2,4,0,Jan-97,5-Nov,6/20/2005 9:00,6/20/2005 9:01",
        "3,1,7,before tracking,current,1/2/2004 0:00,1/2/2004 0:00",
        "17,,,,,1/2/2004 0:00,1/2/2004 0:00",
    ];
    let trace = parse(&text(&lines)).expect("a good file");
    let names: Vec<_> = trace.nodes.iter().map(|node| (node.system, node.number)).collect();
    assert_eq!(names, [(2, 0), (2, 1), (2, 2), (2, 3), (3, 7)]);
    assert_eq!((trace.unscathed(), trace.nameless), (2, 1));
    assert_eq!(trace.failures.iter().map(|down| down.node).collect::<Vec<_>>(), [4, 0, 2]);
    assert_eq!(trace.nodes[1].from, year(1997));
    assert_eq!(trace.nodes[4].from, trace.failures[0].start);
}

#[test]
fn numbers_go_on_from_the_lowest_that_failed() {
    let lines = ["14,3,129,Jan-97,current,6/21/2005 10:54,6/21/2005 11:00"];
    let trace = parse(&text(&lines)).expect("a good file");
    assert_eq!(trace.nodes.iter().map(|node| node.number).collect::<Vec<_>>(), [129, 130, 131]);
}

#[test]
fn a_node_serves_at_least_from_its_first_failure_to_its_last() {
    let lines = [
        "2,1,0,3-Jan,3-Feb,12/31/2002 23:59,1/1/2003 0:00",
        "2,1,0,3-Jan,3-Feb,6/1/2003 0:00,6/1/2003 0:00",
        "2,1,0,3-Jan,3-Feb,7/1/2003 0:00,7/1/2003 0:00",
    ];
    let trace = parse(&text(&lines)).expect("a good file");
    assert_eq!(trace.nodes[0].from, year(2003) - 1);
    assert_eq!(trace.nodes[0].until, trace.failures[2].start + 1);
}

#[test]
fn months_are_read_in_both_ways_a_spreadsheet_left_them() {
    assert_eq!(month("m", "Jan-97", "current", 0), Ok(Some(year(1997))));
    assert_eq!(month("m", "5-Jan", "current", 0), Ok(Some(year(2005))));
    assert_eq!(month("m", "Dec-98", "current", 1), Ok(Some(year(1999))));
    assert_eq!(month("m", "current", "current", 1), Ok(None));
}

#[test]
fn an_odd_line_is_named_with_what_is_odd() {
    check("2,4,x,Jan-97,current,6/21/2005 10:54,6/21/2005 11:00", "nodenumz \"x\" is not a number");
    check("2,10001,0,Jan-97,current,6/21/2005 10:54,6/21/2005 11:00", "nodes 10001 is above 10000");
    check(
        "2,4,0,Jan-97,current,21/6/2005 10:54,6/21/2005 11:00",
        "Prob Started \"21/6/2005 10:54\" is not like 6/21/2005 10:54, from 1990 on",
    );
    check("2,4,0,Jan-97,current,6/21/2005 10:54,6/21/2005 10:53", "it was mended before it failed");
    check(
        "2,4,0,97,current,6/21/2005 10:54,6/21/2005 11:00",
        "node prod \"97\" is neither a month like Jan-97 or 5-Jun nor \"before tracking\"",
    );
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    assert_eq!(parse(b"a,b\n1,2\n"), Err("line 1: no column \"System\"".into()));
    assert_eq!(parse(&text(&[])), Err("no line names a node that failed".into()));
    let short = parse(&text(&["2,4"])).expect_err("a line is short");
    assert!(short.contains("line: 2"), "{short}");
}

#[test]
fn a_folder_without_the_file_is_named_with_what_to_do() {
    let failure = read(Path::new("/nowhere")).expect_err("there is no such folder");
    assert!(failure.message.starts_with("/nowhere/lanl.csv: "), "{}", failure.message);
    assert!(failure.help.contains("--data"));
}
