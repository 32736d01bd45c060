//! What is stored under a key, and which one hash stands for everything that is stored?
//!
//! A binary Patricia trie (a crit-bit tree): every branch names the first bit in which the keys below it differ, and has
//! exactly two children. Its shape follows from the set of keys alone, so the root does not depend on the order in which
//! they came. Nodes are shared between copies of a tree: a copy costs nothing, and a change copies only the path from
//! the root to the changed leaf, or nothing where the path belongs to one tree. Hashes are computed when asked for and
//! kept until something below changes.
//!
//! A key is read as nine bits a byte: a one that says "there is a byte", then the byte from its highest bit; past the
//! end all bits are zero. So no key is the beginning of another, keys may have different lengths, and the order of the
//! bits is the order of the bytes.

mod piece;

pub use piece::{Item, PIECE_BYTES_MAX, Path, Piece};

use crate::{digest, types::Hash};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// The longest key in bytes. It bounds the depth to 1,152 branches, so that recursion needs no care.
pub const KEY_BYTES_MAX: usize = 128;

/// Bits a byte takes: the byte, and the one that says it is there.
const BYTE_BITS: u16 = 9;

/// Lies past every bit of every key: a leaf is where no further bit decides.
const BIT_END: u16 = u16::MAX;

/// An ordered map from bytes to bytes with a Merkle root. Cloning is O(1).
#[derive(Clone, Default)]
pub struct Tree {
    root: Option<Arc<Node>>,
    len: usize,
}

/// Walks entries in the order of their keys.
#[derive(Debug)]
pub struct Iter<'a> {
    /// Subtrees still to visit, the next one last. Each is a right sibling on the path, so there are at most as many as
    /// the tree is deep.
    ahead: Vec<&'a Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

#[derive(Clone, Debug)]
struct Leaf {
    /// Key and value in one allocation: a million entries are a million allocations less.
    bytes: Box<[u8]>,
    key_len: u8,
    hash: OnceLock<Hash>,
}

#[derive(Clone, Debug)]
struct Branch {
    /// The first bit in which keys below differ.
    bit: u16,
    /// Keys in which that bit is zero, and in which it is one.
    children: [Arc<Node>; 2],
    sum: OnceLock<Sum>,
}

/// What follows from all that is below a branch.
#[derive(Clone, Copy, Debug)]
struct Sum {
    hash: Hash,
    /// What it takes in pieces.
    bytes: u64,
}

impl Tree {
    /// A tree without entries.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one hash that stands for all entries. Only what changed since it was last asked for is hashed again.
    pub fn root(&self) -> Hash {
        match &self.root {
            Some(node) => node.hash(),
            None => digest::hash(digest::EMPTY, &[]),
        }
    }

    /// What is stored under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let leaf = nearest(self.root.as_deref()?, key);
        (leaf.key() == key).then(|| leaf.value())
    }

    /// Stores `value` under `key`, in the place of what was there.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`].
    pub fn insert(&mut self, key: &[u8], value: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes exceeds {KEY_BYTES_MAX}", key.len());
        let leaf = Arc::new(Node::Leaf(Leaf::new(key, value)));
        let Some(root) = &mut self.root else {
            *self = Self { root: Some(leaf), len: 1 };
            return;
        };
        let difference = first_difference(nearest(root, key).key(), key);
        self.len += usize::from(difference.is_some());
        place(root, key, leaf, difference);
    }

    /// Takes the entry out; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        // Looked up first, so that a key that is not there leaves every kept hash alone.
        if self.get(key).is_none() {
            return false;
        }
        self.len -= 1;
        match &mut self.root {
            Some(root) if root.bit() != BIT_END => cut(root, key),
            root => *root = None,
        }
        true
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_> {
        Iter { ahead: self.root.as_deref().into_iter().collect() }
    }

    /// The entries from `start` on, in the order of their keys.
    pub fn from(&self, start: &[u8]) -> Iter<'_> {
        let mut ahead = Vec::new();
        let Some(mut node) = self.root.as_deref() else { return Iter { ahead } };
        let bit = first_difference(nearest(node, start).key(), start).unwrap_or(BIT_END);
        // Everything below here differs from `start` in no bit before `bit`, and all of it in that one.
        while let Node::Branch(branch) = node
            && branch.bit < bit
        {
            if !is_one(start, branch.bit) {
                ahead.push(&*branch.children[1]);
            }
            node = branch.child(start);
        }
        if bit == BIT_END || !is_one(start, bit) {
            ahead.push(node);
        }
        Iter { ahead }
    }

    /// The entries whose keys start with `prefix`, in the order of their keys.
    pub fn prefix(&self, prefix: &[u8]) -> Iter<'_> {
        // Keys that share the prefix share all of its bits, so they are one whole subtree: the first that is decided by a
        // later bit. It holds either only such keys or none.
        let bits = u16::try_from(prefix.len()).map_or(BIT_END, |len| len.saturating_mul(BYTE_BITS));
        let mut node = self.root.as_deref();
        while let Some(Node::Branch(branch)) = node
            && branch.bit < bits
        {
            node = Some(branch.child(prefix));
        }
        let matching = node.filter(|node| nearest(node, prefix).key().starts_with(prefix));
        Iter { ahead: matching.into_iter().collect() }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} entries)", self.len)
    }
}

impl<'a> IntoIterator for &'a Tree {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut node = self.ahead.pop()?;
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf.key(), leaf.value())),
                Node::Branch(branch) => {
                    self.ahead.push(&branch.children[1]);
                    node = &branch.children[0];
                }
            }
        }
    }
}

impl Node {
    fn bit(&self) -> u16 {
        match self {
            Self::Leaf(_) => BIT_END,
            Self::Branch(branch) => branch.bit,
        }
    }

    fn hash(&self) -> Hash {
        match self {
            Self::Leaf(leaf) => *leaf.hash.get_or_init(|| leaf.compute_hash()),
            Self::Branch(branch) => branch.sum().hash,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => piece::leaf_bytes(leaf),
            Self::Branch(branch) => branch.sum().bytes,
        }
    }
}

impl Leaf {
    fn new(key: &[u8], value: &[u8]) -> Self {
        let key_len = u8::try_from(key.len()).expect("a key has at most KEY_BYTES_MAX bytes");
        Self { bytes: [key, value].concat().into(), key_len, hash: OnceLock::new() }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_len)..]
    }

    fn compute_hash(&self) -> Hash {
        leaf_hash(self.key_len, &self.bytes)
    }
}

impl Branch {
    /// A branch at `bit` over two subtrees, of which `key` lies in the second named.
    fn new(bit: u16, other: Arc<Node>, key: &[u8], child: Arc<Node>) -> Self {
        let children = if is_one(key, bit) { [other, child] } else { [child, other] };
        Self { bit, children, sum: OnceLock::new() }
    }

    fn child(&self, key: &[u8]) -> &Node {
        &self.children[usize::from(is_one(key, self.bit))]
    }

    /// The child on the way to `key`, and the other one.
    fn children_mut(&mut self, key: &[u8]) -> (&mut Arc<Node>, &mut Arc<Node>) {
        let [zero, one] = &mut self.children;
        if is_one(key, self.bit) { (one, zero) } else { (zero, one) }
    }

    fn sum(&self) -> Sum {
        *self.sum.get_or_init(|| {
            let [zero, one] = self.children.each_ref();
            let hash = branch_hash(self.bit, &zero.hash(), &one.hash());
            Sum { hash, bytes: piece::BRANCH_BYTES + zero.bytes() + one.bytes() }
        })
    }
}

/// `bytes` is the key, and the value right behind it.
fn leaf_hash(key_len: u8, bytes: &[u8]) -> Hash {
    digest::hash(digest::LEAF, &[&[key_len], bytes])
}

fn branch_hash(bit: u16, zero: &Hash, one: &Hash) -> Hash {
    digest::hash(digest::BRANCH, &[&bit.to_be_bytes(), &zero.0, &one.0])
}

/// The one leaf that can hold `key`; if it does not, it shares with `key` every bit in which leaves here agree.
fn nearest<'a>(mut node: &'a Node, key: &[u8]) -> &'a Leaf {
    loop {
        match node {
            Node::Leaf(leaf) => return leaf,
            Node::Branch(branch) => node = branch.child(key),
        }
    }
}

/// Puts `leaf` where its key first differs from those below `node`, or in the place of the leaf with the same key.
fn place(node: &mut Arc<Node>, key: &[u8], leaf: Arc<Node>, difference: Option<u16>) {
    if let Some(branch) = open(node, difference.unwrap_or(BIT_END)) {
        return place(branch.children_mut(key).0, key, leaf, difference);
    }
    *node = match difference {
        Some(bit) => Arc::new(Node::Branch(Branch::new(bit, Arc::clone(node), key, leaf))),
        None => leaf,
    };
}

/// Takes out the leaf of `key`, which is somewhere below the branch `node`; its sibling takes the branch's place.
fn cut(node: &mut Arc<Node>, key: &[u8]) {
    let Some(branch) = open(node, BIT_END) else { return };
    let (child, sibling) = branch.children_mut(key);
    match **child {
        Node::Branch(_) => cut(child, key),
        Node::Leaf(_) => *node = Arc::clone(sibling),
    }
}

/// The branch at `node` for a change below it: no longer shared, its hash forgotten. Nothing if it decides `end` or a
/// later bit, as a leaf always does.
fn open(node: &mut Arc<Node>, end: u16) -> Option<&mut Branch> {
    if node.bit() >= end {
        return None;
    }
    match Arc::make_mut(node) {
        Node::Leaf(_) => None,
        Node::Branch(branch) => {
            branch.sum.take();
            Some(branch)
        }
    }
}

fn is_one(key: &[u8], bit: u16) -> bool {
    let (index, offset) = (usize::from(bit / BYTE_BITS), bit % BYTE_BITS);
    match (key.get(index), offset) {
        (None, _) => false,
        (Some(_), 0) => true,
        (Some(byte), offset) => byte >> (8 - offset) & 1 == 1,
    }
}

/// The first bit in which two keys of at most [`KEY_BYTES_MAX`] bytes differ.
fn first_difference(a: &[u8], b: &[u8]) -> Option<u16> {
    let first_bit = |index: usize| u16::try_from(index).expect("a key has at most KEY_BYTES_MAX bytes") * BYTE_BITS;
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(index) => Some(first_bit(index) + 1 + (a[index] ^ b[index]).leading_zeros() as u16),
        None => (a.len() != b.len()).then(|| first_bit(a.len().min(b.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    /// Short keys over few bytes: many are equal, and many are the beginning of another.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0x00, 0x01, 0x7f, 0x80, 0xff]), 0..4)
    }

    fn models() -> impl Strategy<Value = Model> {
        prop::collection::btree_map(keys(), any::<Vec<u8>>(), 0..40)
    }

    fn tree_of<'a>(entries: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Tree {
        let mut tree = Tree::new();
        entries.into_iter().for_each(|(key, value)| tree.insert(key, value));
        tree
    }

    /// Does the tree hold exactly what the model holds, and is its root the one of a tree built anew?
    fn check(tree: &Tree, model: &Model) {
        assert_eq!((tree.len(), tree.is_empty()), (model.len(), model.is_empty()));
        assert!(tree.iter().eq(model.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))));
        assert_eq!(tree.root(), tree_of(model).root());
    }

    #[test]
    fn a_key_may_be_the_beginning_of_another() {
        let mut tree = Tree::new();
        for key in ["ab", "", "abc", "a"] {
            tree.insert(key.as_bytes(), key.as_bytes());
        }
        assert_eq!(tree.get(b"ab"), Some(b"ab".as_slice()));
        assert_eq!(tree.get(b"abcd"), None);
        assert!(tree.iter().map(|(key, _)| key).eq([b"".as_slice(), b"a", b"ab", b"abc"]));
    }

    #[test]
    fn a_walk_starts_at_a_key_that_is_there_or_at_the_next_one() {
        let tree = tree_of(&Model::from(["b", "bb", "d"].map(|key| (key.into(), Vec::new()))));
        let first = |start: &str| tree.from(start.as_bytes()).next().map(|(key, _)| key);
        for (start, expected) in
            [("", "b"), ("a", "b"), ("b", "b"), ("ba", "bb"), ("bb", "bb"), ("bbb", "d"), ("d", "d")]
        {
            assert_eq!(first(start), Some(expected.as_bytes()), "from {start:?}");
        }
        assert_eq!((first("da"), first("e")), (None, None));
        assert_eq!(Tree::new().from(b"a").next(), None);
    }

    #[test]
    fn where_a_key_ends_and_its_value_starts_is_part_of_the_root() {
        let (mut short, mut long) = (Tree::new(), Tree::new());
        short.insert(b"a", b"bc");
        long.insert(b"ab", b"c");
        assert_ne!(short.root(), long.root());
        assert_ne!(short.root(), Tree::new().root());
    }

    #[test]
    fn a_key_of_the_longest_length_is_stored() {
        let (ones, mut other) = ([0xff; KEY_BYTES_MAX], [0xff; KEY_BYTES_MAX]);
        other[KEY_BYTES_MAX - 1] = 0xfe;
        let mut tree = Tree::new();
        tree.insert(&ones, b"1");
        tree.insert(&other, b"2");
        assert_eq!((tree.get(&ones), tree.get(&other)), (Some(b"1".as_slice()), Some(b"2".as_slice())));
    }

    #[test]
    #[should_panic(expected = "a key of 129 bytes exceeds 128")]
    fn a_longer_key_is_our_own_mistake() {
        Tree::new().insert(&[0; KEY_BYTES_MAX + 1], b"");
    }

    #[test]
    fn the_deepest_tree_is_walked_and_dropped_without_trouble() {
        let mut tree = Tree::new();
        for length in 0..=KEY_BYTES_MAX {
            tree.insert(&vec![0xff; length], b"");
            (0..8).filter(|_| length > 0).for_each(|bit| {
                let mut key = vec![0xff; length];
                key[length - 1] ^= 1 << bit;
                tree.insert(&key, b"");
            });
        }
        assert_eq!(tree.iter().count(), 1 + 9 * KEY_BYTES_MAX);
        tree.root();
    }

    proptest! {
        #[test]
        fn a_tree_behaves_like_an_ordered_map(
            changes in prop::collection::vec((keys(), prop::option::weighted(0.6, any::<u8>())), 0..80),
        ) {
            let (mut tree, mut model) = (Tree::new(), Model::new());
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        tree.insert(&key, &[value]);
                        model.insert(key.clone(), vec![value]);
                    }
                    None => prop_assert_eq!(tree.remove(&key), model.remove(&key).is_some()),
                }
                prop_assert_eq!(tree.get(&key), model.get(&key).map(Vec::as_slice));
                check(&tree, &model);
            }
        }

        #[test]
        fn a_copy_keeps_its_content_when_the_original_changes(before in models(), after in models()) {
            let mut tree = tree_of(&before);
            let copy = tree.clone();
            before.keys().for_each(|key| { tree.remove(key); });
            after.iter().for_each(|(key, value)| tree.insert(key, value));
            check(&copy, &before);
            check(&tree, &after);
        }

        #[test]
        fn the_root_does_not_depend_on_the_order_of_insertion(
            (model, shuffled) in models().prop_flat_map(|model| {
                let entries: Vec<_> = model.clone().into_iter().collect();
                (Just(model), Just(entries).prop_shuffle())
            }),
        ) {
            let tree = tree_of(shuffled.iter().map(|(key, value)| (key, value)));
            prop_assert_eq!(tree.root(), tree_of(&model).root());
        }

        #[test]
        fn the_root_differs_when_the_content_differs(a in models(), b in models()) {
            prop_assert_eq!(tree_of(&a).root() == tree_of(&b).root(), a == b);
        }

        #[test]
        fn any_changed_value_changes_the_root(model in models(), at: prop::sample::Index) {
            prop_assume!(!model.is_empty());
            let mut tree = tree_of(&model);
            let before = tree.root();
            let (key, value) = at.get(&model.iter().collect::<Vec<_>>()).to_owned();
            tree.insert(key, &[value.as_slice(), b"!"].concat());
            prop_assert_ne!(tree.root(), before);
            tree.insert(key, value);
            prop_assert_eq!(tree.root(), before);
        }

        #[test]
        fn a_prefix_selects_exactly_the_keys_that_start_with_it(model in models(), prefix in keys()) {
            let tree = tree_of(&model);
            let expected = model.iter().filter(|(key, _)| key.starts_with(&prefix));
            prop_assert!(tree.prefix(&prefix).eq(expected.map(|(key, value)| (key.as_slice(), value.as_slice()))));
        }

        #[test]
        fn a_walk_from_a_key_takes_it_and_all_that_come_after(model in models(), start in keys()) {
            let tree = tree_of(&model);
            let expected = model.range(start.clone()..);
            prop_assert!(tree.from(&start).eq(expected.map(|(key, value)| (key.as_slice(), value.as_slice()))));
        }

        #[test]
        fn a_walk_from_any_entry_or_right_behind_it_goes_on_where_a_full_walk_would(model in models()) {
            let tree = tree_of(&model);
            for (index, key) in model.keys().enumerate() {
                prop_assert!(tree.from(key).eq(tree.iter().skip(index)));
                // The smallest key that is greater.
                let behind = [key.as_slice(), &[0]].concat();
                prop_assert!(tree.from(&behind).eq(tree.iter().filter(|(other, _)| *other >= behind.as_slice())));
            }
        }
    }
}
