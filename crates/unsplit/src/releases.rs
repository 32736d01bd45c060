//! Which programs and models may run, by agreement?

use std::path::Path;

use api::{CertifiedView, Releases};
use ledger::Hash;

use crate::{
    cli::{Certify, Global},
    client::Client,
    failure::{Exit, Failure},
    files,
    output::Output,
};

/// The list that holds, and what validators propose instead.
pub(crate) async fn show(global: &Global, output: Output) -> Result<Exit, Failure> {
    let certified = Client::of(global)?.certified().await?;
    output.data(&page(&certified), &certified);
    Ok(Exit::Ok)
}

/// Has the validator propose a list.
pub(crate) async fn certify(verb: &Certify, global: &Global, output: Output) -> Result<Exit, Failure> {
    let hashes = |names: &[String]| names.iter().map(|name| hash(name)).collect::<Result<Vec<String>, Failure>>();
    let proposed = Releases { programs: hashes(&verb.programs)?, models: hashes(&verb.models)? };
    let client = Client::of(global)?;
    let status = client.certify(&proposed).await?;
    let name = client.snapshot().await?.status.name;
    output.data(&format!("{name} proposes this once {} is final; see: unsplit certified", status.id), &status);
    Ok(Exit::Ok)
}

/// A hash as it is, or that of a file.
fn hash(name: &str) -> Result<String, Failure> {
    let path = Path::new(name);
    let hash = match name.to_ascii_lowercase().parse::<Hash>() {
        Ok(hash) if !path.exists() => hash,
        Ok(_) | Err(_) => files::sha256(path).map_err(Failure::file("read", path))?,
    };
    Ok(hash.to_string())
}

fn page(view: &CertifiedView) -> String {
    let mut lines = vec![match view.since_height {
        0 => "certified by the genesis file".to_owned(),
        height => format!("certified since block {height}"),
    }];
    lines.extend(list(&view.certified));
    for proposal in &view.proposals {
        lines.push(format!("{} proposes ({} validators have to propose the same)", proposal.node, view.needed));
        lines.extend(list(&proposal.proposed));
    }
    lines.join("\n")
}

fn list(releases: &Releases) -> Vec<String> {
    let lines = |what: &str, hashes: &[String]| match hashes {
        [] => vec![format!("  any {what}")],
        hashes => hashes.iter().map(|hash| format!("  {what} {hash}")).collect(),
    };
    [lines("program", &releases.programs), lines("model", &releases.models)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_comes_first_and_an_empty_list_is_any() {
        let proposed = Releases { programs: vec!["ab".into()], models: Vec::new() };
        let proposal = api::ProposalView { node: "n2".into(), proposed };
        let view = CertifiedView { proposals: vec![proposal], needed: 3, ..CertifiedView::default() };
        let expected = "certified by the genesis file\n  any program\n  any model\n\
                        n2 proposes (3 validators have to propose the same)\n  program ab\n  any model";
        assert_eq!(page(&view), expected);
    }

    #[test]
    fn a_release_is_named_by_its_hash_or_by_its_file() {
        let digits = "AB".repeat(32);
        assert_eq!(hash(&digits).expect("a hash"), digits.to_lowercase());
        let path = std::env::temp_dir().join(format!("unsplit-release-{}", std::process::id()));
        std::fs::write(&path, "abc").expect("a temporary file");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(path.to_str().expect("text")).expect("our own file"), abc);
        std::fs::remove_file(&path).expect("our own file");
        assert!(hash("/no/such/file").is_err());
    }
}
