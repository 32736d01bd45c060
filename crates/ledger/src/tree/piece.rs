//! How is a tree handed over in pieces, each of which can be checked by itself?
//!
//! A piece is a subtree in which some subtrees are replaced by their hashes, which are pieces of their own. Whoever knows
//! the hash of a subtree can tell whether a piece is that subtree, and so can ask a stranger for it: nothing but the right
//! bytes have that hash. The hash of the whole tree leads to all the others.
//!
//! A piece is written from its top down, each branch before what is below it. It takes no more bytes than it is allowed,
//! whatever the shape of the tree: of what does not fit, the largest subtrees are opened first, so that what is left to
//! ask for is of about the same size.
//!
//! The same form proves what is stored under a prefix, and that it is all: the subtree is there, and of the rest the hashes.

use super::{BIT_END, BYTE_BITS, KEY_BYTES_MAX, Leaf, Node, Tree, branch_hash, is_one, leaf_hash, nearest};
use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    digest,
    types::Hash,
};
use std::{cmp::Reverse, collections::BinaryHeap, fmt};

/// The bytes that a piece takes at most, unless it is a single entry: a few of them are under way at the same time.
pub const PIECE_BYTES_MAX: usize = 512 << 10;

/// Subtrees that are looked at when a piece is cut. Half of them are hashes in the end, 70 KiB.
const CUTS_MAX: usize = 4_096;
/// What a hash takes in a piece.
const STUB_BYTES: usize = 1 + 32;
/// No bit decides behind the longest key.
const TURNS_MAX: u16 = KEY_BYTES_MAX as u16 * BYTE_BITS;
/// The longest value that is read from a piece: far more than any entry has.
const VALUE_BYTES_MAX: usize = 1 << 20;

const LEAF: u8 = 0;
const BRANCH: u8 = 1;
const STUB: u8 = 2;
const EMPTY: u8 = 3;

/// Which way from the root of a tree to one of its subtrees: to the left or to the right at each branch.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    turns: Vec<bool>,
}

impl Path {
    /// The way to the whole tree.
    pub const fn root() -> Self {
        Self { turns: Vec::new() }
    }

    fn then(&self, turn: bool) -> Self {
        let mut turns = Vec::with_capacity(self.turns.len() + 1);
        turns.extend_from_slice(&self.turns);
        turns.push(turn);
        Self { turns }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.turns.iter().try_for_each(|turn| f.write_str(if *turn { "1" } else { "0" }))
    }
}

impl Encode for Path {
    fn write(&self, out: &mut Vec<u8>) {
        u16::try_from(self.turns.len()).expect("a tree is not so deep").write(out);
        for turns in self.turns.chunks(8) {
            out.push(turns.iter().zip(0..).fold(0, |byte, (turn, at)| byte | u8::from(*turn) << at));
        }
    }
}

impl Decode for Path {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u16::read(r)?;
        if count > TURNS_MAX {
            return Err(DecodeError::TooLong { what: "path", got: count.into(), max: TURNS_MAX.into() });
        }
        let count = usize::from(count);
        let bytes = r.take(count.div_ceil(8))?;
        let mut turns: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1)).collect();
        if turns[count..].contains(&true) {
            return Err(DecodeError::Text { what: "path", rule: "zero behind its end" });
        }
        turns.truncate(count);
        Ok(Self { turns })
    }
}

impl Tree {
    /// How many bytes all entries take in pieces. Computed with the hashes, and kept like them.
    pub fn bytes(&self) -> u64 {
        self.root.as_deref().map_or(1, Node::bytes)
    }

    /// The piece at the end of a path; nothing where the path leads nowhere.
    pub fn piece(&self, path: &Path) -> Option<Vec<u8>> {
        let Some(mut node) = self.root.as_deref() else { return path.turns.is_empty().then(|| vec![EMPTY]) };
        for turn in &path.turns {
            let Node::Branch(branch) = node else { return None };
            node = &branch.children[usize::from(*turn)];
        }
        Some(Cuts::of(node).write())
    }

    /// The entries under these prefixes, with what proves that they are all of them.
    pub fn proof(&self, prefixes: &[&[u8]]) -> Vec<u8> {
        let Some(root) = self.root.as_deref() else { return vec![EMPTY] };
        let mut out = Vec::new();
        prove(root, prefixes, &mut out);
        out
    }
}

/// What becomes of a subtree in a piece.
enum Cut {
    Stub,
    Whole,
    Opened([usize; 2]),
}

/// A subtree, cut to size.
struct Cuts<'a> {
    nodes: Vec<(&'a Node, Cut)>,
}

impl<'a> Cuts<'a> {
    fn of(root: &'a Node) -> Self {
        let mut cuts = Self { nodes: vec![(root, Cut::Whole)] };
        if root.bytes() > PIECE_BYTES_MAX as u64 && matches!(root, Node::Branch(_)) {
            let left = cuts.open();
            cuts.fill(left);
        }
        cuts
    }

    /// Opens the largest subtrees, and gives those that are not opened.
    fn open(&mut self) -> Vec<(u64, usize)> {
        let mut closed = BinaryHeap::from([(self.nodes[0].0.bytes(), Reverse(0))]);
        while let Some((bytes, Reverse(at))) = closed.peek().copied() {
            let Node::Branch(branch) = self.nodes[at].0 else { break };
            if bytes <= PIECE_BYTES_MAX as u64 || self.nodes.len() >= CUTS_MAX {
                break;
            }
            closed.pop();
            let children = [self.nodes.len(), self.nodes.len() + 1];
            self.nodes[at].1 = Cut::Opened(children);
            for (child, at) in branch.children.iter().zip(children) {
                self.nodes.push((child, Cut::Stub));
                closed.push((child.bytes(), Reverse(at)));
            }
        }
        closed.into_iter().map(|(bytes, Reverse(at))| (bytes, at)).collect()
    }

    /// Takes the smallest whole, as far as there is room.
    fn fill(&mut self, mut closed: Vec<(u64, usize)>) {
        closed.sort_unstable();
        let mut room = (PIECE_BYTES_MAX - self.nodes.len() * STUB_BYTES) as u64;
        for (bytes, at) in closed {
            if bytes > room {
                break;
            }
            room -= bytes;
            self.nodes[at].1 = Cut::Whole;
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_at(0, &mut out);
        out
    }

    fn write_at(&self, at: usize, out: &mut Vec<u8>) {
        let (node, cut) = &self.nodes[at];
        match (cut, node) {
            (Cut::Whole, node) => write_whole(node, out),
            (Cut::Opened(children), Node::Branch(branch)) => {
                write_branch(branch.bit, out);
                children.iter().for_each(|child| self.write_at(*child, out));
            }
            (Cut::Stub | Cut::Opened(_), node) => write_stub(node, out),
        }
    }
}

fn write_branch(bit: u16, out: &mut Vec<u8>) {
    out.push(BRANCH);
    bit.write(out);
}

fn write_stub(node: &Node, out: &mut Vec<u8>) {
    out.push(STUB);
    out.extend_from_slice(&node.hash().0);
}

fn write_whole(node: &Node, out: &mut Vec<u8>) {
    match node {
        Node::Leaf(leaf) => write_leaf(leaf, out),
        Node::Branch(branch) => {
            write_branch(branch.bit, out);
            branch.children.iter().for_each(|child| write_whole(child, out));
        }
    }
}

fn write_leaf(leaf: &Leaf, out: &mut Vec<u8>) {
    out.push(LEAF);
    out.push(leaf.key_len);
    let length = u32::try_from(leaf.value().len()).expect("values are far smaller than 4 GiB");
    length.write(out);
    out.extend_from_slice(&leaf.bytes);
}

/// What a leaf takes in a piece.
pub(super) const fn leaf_bytes(leaf: &Leaf) -> u64 {
    (1 + 1 + 4 + leaf.bytes.len()) as u64
}

/// What a branch takes in a piece, apart from what is below it.
pub(super) const BRANCH_BYTES: u64 = 1 + 2;

const fn bits(prefix: &[u8]) -> u16 {
    (prefix.len() as u16).saturating_mul(BYTE_BITS)
}

/// Writes what the prefixes lead to, and of the rest the hashes. Where a prefix leads to keys that do not start with it, one
/// of them is there to show that.
fn prove(node: &Node, prefixes: &[&[u8]], out: &mut Vec<u8>) {
    if prefixes.is_empty() {
        return write_stub(node, out);
    }
    let Node::Branch(branch) = node else { return write_whole(node, out) };
    let is_whole = |prefix: &&&[u8]| branch.bit >= bits(prefix) && nearest(node, prefix).key().starts_with(prefix);
    if prefixes.iter().any(|prefix| is_whole(&prefix)) {
        return write_whole(node, out);
    }
    write_branch(branch.bit, out);
    for (child, side) in branch.children.iter().zip([false, true]) {
        let ways: Vec<&[u8]> = prefixes.iter().filter(|prefix| is_one(prefix, branch.bit) == side).copied().collect();
        prove(child, &ways, out);
    }
}

/// A piece as it was received. It holds nothing that is not in the bytes.
#[derive(Debug)]
pub struct Piece<'a> {
    top: Option<Part<'a>>,
    hash: Hash,
}

#[derive(Debug)]
enum Part<'a> {
    Leaf { key: &'a [u8], value: &'a [u8] },
    Branch { bit: u16, children: Box<[Self; 2]> },
    Stub(Hash),
}

/// What is in a piece, from the left to the right: entries in the order of their keys, and what is to be asked for in between.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An entry.
    Entry {
        /// Its key.
        key: &'a [u8],
        /// What is stored under it.
        value: &'a [u8],
    },
    /// A piece of its own.
    Rest {
        /// Where it is in the whole tree.
        path: Path,
        /// The hash that it must have.
        hash: Hash,
    },
}

impl<'a> Piece<'a> {
    /// Reads a piece that fills `bytes`.
    ///
    /// # Errors
    /// When that is none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let piece = if bytes == [EMPTY] {
            r.take(1)?;
            Self { top: None, hash: digest::hash(digest::EMPTY, &[]) }
        } else {
            let (top, hash) = Part::read(&mut r, None)?;
            Self { top: Some(top), hash }
        };
        r.finish()?;
        Ok(piece)
    }

    /// The hash of the subtree that this is a piece of.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// What is in it, when it is the piece at the end of `path`.
    pub fn items(&self, path: &Path) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        if let Some(top) = &self.top {
            top.list(path, &mut items);
        }
        items
    }

    /// All entries whose keys start with `prefix`, in the order of their keys; nothing if this does not tell which they are.
    pub fn prefix(&self, prefix: &[u8]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let mut part = self.top.as_ref();
        while let Some(Part::Branch { bit, children }) = part
            && *bit < bits(prefix)
        {
            part = Some(&children[usize::from(is_one(prefix, *bit))]);
        }
        let Some(part) = part else { return Some(Vec::new()) };
        if !part.one_key(prefix)?.starts_with(prefix) {
            return Some(Vec::new());
        }
        let mut items = Vec::new();
        part.list(&Path::root(), &mut items);
        items
            .into_iter()
            .map(|item| match item {
                Item::Entry { key, value } => Some((key, value)),
                Item::Rest { .. } => None,
            })
            .collect()
    }
}

impl<'a> Part<'a> {
    /// Reads a subtree that decides by bits after `above` only, which bounds how deep it is.
    fn read(r: &mut Reader<'a>, above: Option<u16>) -> Result<(Self, Hash), DecodeError> {
        match u8::read(r)? {
            LEAF => {
                let (key_len, value_len) = (usize::from(u8::read(r)?), u32::read(r)? as usize);
                let too_long = |what, got, max| Err(DecodeError::TooLong { what, got, max });
                if key_len > KEY_BYTES_MAX {
                    return too_long("key", key_len, KEY_BYTES_MAX);
                }
                if value_len > VALUE_BYTES_MAX {
                    return too_long("value", value_len, VALUE_BYTES_MAX);
                }
                let bytes = r.take(key_len + value_len)?;
                let (key, value) = bytes.split_at(key_len);
                Ok((Self::Leaf { key, value }, leaf_hash(key_len as u8, bytes)))
            }
            BRANCH => {
                let bit = u16::read(r)?;
                if above.is_some_and(|above| bit <= above) || bit >= TURNS_MAX {
                    return Err(DecodeError::Text { what: "branch", rule: "at a later bit than the one above" });
                }
                let (zero, zero_hash) = Self::read(r, Some(bit))?;
                let (one, one_hash) = Self::read(r, Some(bit))?;
                let hash = branch_hash(bit, &zero_hash, &one_hash);
                Ok((Self::Branch { bit, children: Box::new([zero, one]) }, hash))
            }
            STUB => {
                let hash = Hash(r.array()?);
                Ok((Self::Stub(hash), hash))
            }
            got => Err(DecodeError::Tag { what: "part of a tree", got }),
        }
    }

    fn list(&self, path: &Path, items: &mut Vec<Item<'a>>) {
        match self {
            Self::Leaf { key, value } => items.push(Item::Entry { key, value }),
            Self::Stub(hash) => items.push(Item::Rest { path: path.clone(), hash: *hash }),
            Self::Branch { children, .. } => {
                for (child, turn) in children.iter().zip([false, true]) {
                    child.list(&path.then(turn), items);
                }
            }
        }
    }

    /// The key that `prefix` leads to from here on: whatever all keys here have in common, it has too.
    fn one_key(&self, prefix: &[u8]) -> Option<&'a [u8]> {
        match self {
            Self::Leaf { key, .. } => Some(key),
            Self::Stub(_) => None,
            Self::Branch { bit, children } => children[usize::from(is_one(prefix, *bit))].one_key(prefix),
        }
    }
}

// The bits of a prefix are compared with bits of branches, which are below this.
const _: () = assert!(TURNS_MAX < BIT_END);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn tree_of(model: &Model) -> Tree {
        let mut tree = Tree::new();
        model.iter().for_each(|(key, value)| tree.insert(key, value));
        tree
    }

    /// So many entries of so many bytes each, under keys spread evenly.
    fn large(count: u32, bytes: usize) -> Model {
        let entry = |number: u32| (digest::sha256(&number.to_be_bytes()).0.to_vec(), vec![number as u8; bytes]);
        (0..count).map(entry).collect()
    }

    /// Keys of which each is one bit longer in common with all that follow: a tree that is one long branch.
    fn skewed(bytes: usize) -> Model {
        let key = |depth: usize| {
            let mut key = vec![0; 32];
            key[depth / 8] |= 0x80 >> (depth % 8);
            key
        };
        (0..256).map(|depth| (key(depth), vec![7; bytes])).collect()
    }

    /// Fetches all pieces, each checked by its hash, and gives the entries in order, and how many pieces there were.
    fn fetch(tree: &Tree) -> (Model, usize) {
        let (mut entries, mut pieces) = (Model::new(), 0);
        let mut ahead = vec![(Path::root(), tree.root())];
        while let Some((path, hash)) = ahead.pop() {
            let bytes = tree.piece(&path).expect("a path that a piece gave");
            assert!(bytes.len() <= PIECE_BYTES_MAX, "{} bytes", bytes.len());
            let piece = Piece::read(&bytes).expect("a piece");
            assert_eq!(piece.hash(), hash, "at {path:?}");
            pieces += 1;
            for item in piece.items(&path) {
                match item {
                    Item::Entry { key, value } => drop(entries.insert(key.to_vec(), value.to_vec())),
                    Item::Rest { path, hash } => ahead.push((path, hash)),
                }
            }
        }
        (entries, pieces)
    }

    fn check(model: &Model) -> usize {
        let tree = tree_of(model);
        let (entries, pieces) = fetch(&tree);
        assert_eq!(entries, *model);
        pieces
    }

    #[test]
    fn a_small_tree_is_one_piece_and_a_large_one_is_many_of_bounded_size() {
        assert_eq!(check(&Model::new()), 1);
        assert_eq!(check(&large(1, 10)), 1);
        assert_eq!(check(&large(5_000, 50)), 1);
        let pieces = check(&large(40_000, 100));
        assert!((8..40).contains(&pieces), "{pieces} pieces for 4 MB");
    }

    #[test]
    fn a_tree_of_the_worst_shape_has_pieces_of_bounded_size_too() {
        assert!(check(&skewed(40_000)) < 256);
    }

    #[test]
    fn a_path_that_leads_nowhere_has_no_piece() {
        let tree = tree_of(&large(3, 1));
        let deep = (0..300).fold(Path::root(), |path, _| path.then(true));
        assert_eq!(tree.piece(&deep), None);
        assert_eq!(Tree::new().piece(&Path::root().then(false)), None);
    }

    #[test]
    fn a_changed_byte_anywhere_changes_the_hash_or_is_no_piece() {
        let tree = tree_of(&large(20, 5));
        let bytes = tree.piece(&Path::root()).expect("the root");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Piece::read(&bad).map_or(true, |piece| piece.hash() != tree.root()), "byte {at}");
        }
    }

    #[test]
    fn branches_that_go_back_are_refused_whatever_their_depth() {
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            write_branch(3, &mut bytes);
        }
        assert!(matches!(Piece::read(&bytes), Err(DecodeError::Text { .. })));
    }

    #[test]
    fn a_proof_that_leaves_a_part_out_tells_nothing_about_it() {
        let tree = tree_of(&[(b"aa".to_vec(), vec![]), (b"ab".to_vec(), vec![]), (b"b".to_vec(), vec![])].into());
        let proof = tree.proof(&[b"a"]);
        let piece = Piece::read(&proof).expect("a proof");
        assert_eq!(piece.hash(), tree.root());
        assert_eq!(piece.prefix(b"a").map(|entries| entries.len()), Some(2));
        assert_eq!(piece.prefix(b"b"), None);
        assert_eq!(piece.prefix(b""), None);
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0x00, 0x01, 0x7f, 0x80, 0xff]), 0..4)
    }

    fn models() -> impl Strategy<Value = Model> {
        prop::collection::btree_map(keys(), any::<Vec<u8>>(), 0..40)
    }

    proptest! {
        #[test]
        fn a_proof_holds_all_that_starts_with_a_prefix_and_nothing_else(
            model in models(), prefixes in prop::collection::vec(keys(), 1..4),
        ) {
            let tree = tree_of(&model);
            let asked: Vec<&[u8]> = prefixes.iter().map(Vec::as_slice).collect();
            let proof = tree.proof(&asked);
            let piece = Piece::read(&proof).expect("a proof");
            prop_assert_eq!(piece.hash(), tree.root());
            for prefix in &prefixes {
                let entries = piece.prefix(prefix).expect("it was asked for");
                let expected = model.iter().filter(|(key, _)| key.starts_with(prefix));
                prop_assert!(entries.into_iter().eq(expected.map(|(key, value)| (key.as_slice(), value.as_slice()))));
            }
        }

        #[test]
        fn pieces_give_the_tree_back(model in models()) {
            check(&model);
        }

        #[test]
        fn any_bytes_are_a_piece_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(piece) = Piece::read(&bytes) {
                piece.items(&Path::root());
            }
        }

        #[test]
        fn a_path_is_what_it_was_written_as(turns in prop::collection::vec(any::<bool>(), 0..40)) {
            let path = Path { turns };
            prop_assert_eq!(Path::decode(&path.encode()), Ok(path));
        }
    }
}
