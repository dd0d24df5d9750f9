use super::node::{ENTRIES_MAX, Inner, Leaf, Node};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A number with a tag, so that a replaced entry can be told from the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    key: u32,
    tag: u32,
}

impl Keyed for Number {
    type Key = u32;
    type Separator = u32;

    fn compare(&self, key: &u32) -> Ordering {
        self.key.cmp(key)
    }

    fn separator(&self) -> u32 {
        self.key
    }
}

fn number(key: u32) -> Number {
    Number { key, tag: 0 }
}

fn from(tree: &CowTree<Number>, from: u32) -> Vec<Number> {
    let mut seen = Vec::new();
    let _ = tree.scan(&from, &mut |entry| {
        seen.push(*entry);
        ControlFlow::Continue(())
    });
    seen
}

/// Says what is wrong with the structure, if anything is.
fn fault(tree: &CowTree<Number>) -> Option<String> {
    let mut depths = Vec::new();
    if let Some(root) = &tree.root
        && let Some(fault) = node_fault(root, 0, None, None, &mut depths)
    {
        return Some(fault);
    }
    if depths.iter().any(|&depth| depth != depths[0]) {
        return Some(format!("leaves at depths {depths:?}"));
    }
    let keys: Vec<u32> = from(tree, 0).iter().map(|entry| entry.key).collect();
    if !keys.is_sorted_by(|a, b| a < b) {
        return Some(format!("keys do not ascend: {keys:?}"));
    }
    (keys.len() != tree.len()).then(|| format!("{} entries, len {}", keys.len(), tree.len()))
}

fn node_fault(
    node: &Node<Number>,
    depth: usize,
    low: Option<u32>,
    high: Option<u32>,
    depths: &mut Vec<usize>,
) -> Option<String> {
    if node.len() == 0 || node.len() > ENTRIES_MAX {
        return Some(format!("a node of {} at depth {depth}", node.len()));
    }
    let inner = match node {
        Node::Leaf(leaf) => {
            depths.push(depth);
            let (first, last) = (leaf.first()?.key, leaf.last()?.key);
            let outside =
                low.is_some_and(|low| first < low) || high.is_some_and(|high| last >= high);
            return outside.then(|| format!("{first}..={last} not within {low:?}..{high:?}"));
        }
        Node::Inner(inner) => inner,
    };
    (0..inner.kids.len()).find_map(|at| {
        let low = if at == 0 { low } else { Some(inner.kids[at].first) };
        let high = inner.kids.get(at + 1).map(|kid| kid.first).or(high);
        node_fault(&inner.kids[at].node, depth + 1, low, high, depths)
    })
}

fn assert_sound(tree: &CowTree<Number>) {
    assert_eq!(fault(tree), None);
}

#[derive(Clone, Debug)]
enum Step {
    /// So many keys above all others.
    Append(u32),
    /// So many keys, scattered in a way that depends on the first number.
    Insert(u32, u32),
    /// The same for removals, which may name absent keys.
    Remove(u32, u32),
    /// All keys from the first number on, so many.
    RemoveRun(u32, u32),
    View,
}

/// Enough for three levels of nodes.
const KEYS: u32 = 40_000;

/// `count` keys in an order without order.
fn scattered(seed: u32, count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |n| (seed.wrapping_add(n).wrapping_mul(2_654_435_761) >> 7) % KEYS)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..400_u32).prop_map(Step::Append),
        4 => (any::<u32>(), 1..4_000_u32).prop_map(|(seed, count)| Step::Insert(seed, count)),
        4 => (any::<u32>(), 1..9_000_u32).prop_map(|(seed, count)| Step::Remove(seed, count)),
        4 => (0..KEYS, 0..9_000_u32).prop_map(|(from, count)| Step::RemoveRun(from, count)),
        2 => Just(Step::View),
    ];
    prop::collection::vec(step, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_and_its_views_hold_what_a_plain_map_holds(steps in steps(), probe in 0..KEYS) {
        let mut tree = CowTree::new();
        let mut model = BTreeMap::new();
        let mut views = Vec::new();
        for (tag, step) in (1_u32..).zip(steps) {
            let next = model.last_key_value().map_or(0, |(key, _)| key + 1);
            match step {
                Step::Append(count) => {
                    (next..next + count).for_each(|key| put(&mut tree, &mut model, key, tag));
                }
                Step::Insert(seed, count) => {
                    scattered(seed, count).for_each(|key| put(&mut tree, &mut model, key, tag));
                }
                Step::Remove(seed, count) => {
                    scattered(seed, count).for_each(|key| take(&mut tree, &mut model, key));
                }
                Step::RemoveRun(from, count) => {
                    (from..from + count).for_each(|key| take(&mut tree, &mut model, key));
                }
                Step::View => views.push((tree.clone(), model.clone())),
            }
            prop_assert_eq!(fault(&tree), None);
        }
        views.push((tree, model));
        for (tree, model) in views {
            prop_assert_eq!(fault(&tree), None);
            prop_assert!(from(&tree, 0).iter().eq(model.values()));
            prop_assert!(from(&tree, probe).iter().eq(model.range(probe..).map(|(_, entry)| entry)));
            for key in [probe, probe / 2, probe + 1] {
                prop_assert_eq!(tree.get(&key), model.get(&key));
            }
            prop_assert_eq!(tree.last(), model.values().last());
        }
    }
}

fn put(tree: &mut CowTree<Number>, model: &mut BTreeMap<u32, Number>, key: u32, tag: u32) {
    let entry = Number { key, tag };
    assert_eq!(tree.insert(entry), model.insert(key, entry), "insert {key}");
}

fn take(tree: &mut CowTree<Number>, model: &mut BTreeMap<u32, Number>, key: u32) {
    assert_eq!(tree.remove(&key), model.remove(&key), "remove {key}");
}

#[test]
fn appending_leaves_packed_leaves_with_and_without_views() {
    for turn in [1, 7, 256] {
        let mut tree = CowTree::new();
        let mut view = tree.clone();
        for key in 0..64 * 64 * 3 + 5 {
            tree.insert(number(key));
            if key % turn == 0 {
                view = tree.clone();
            }
        }
        assert_sound(&tree);
        assert!(view.len() + 256 > tree.len());
        let shape = tree.shape();
        // All but the last leaf are full, and 5 entries wait in the tail.
        assert_eq!(shape.leaves, 64 * 3, "turns of {turn}");
        assert_eq!(tree.tail.len(), 5);
        let per_entry = shape.node_bytes * 100 / tree.len();
        assert!((800..925).contains(&per_entry), "{per_entry} hundredths of a byte per entry");
    }
}

#[test]
fn ascending_keys_below_others_leave_packed_leaves_too() {
    let mut tree = CowTree::new();
    tree.insert(number(u32::MAX));
    (0..64 * 100).for_each(|key| assert!(tree.insert(number(key)).is_none()));
    assert_sound(&tree);
    assert_eq!(tree.shape().leaves, 100);
}

#[test]
fn a_key_below_the_bound_of_a_leftmost_kid_is_found_after_its_parent_merged() {
    const INNER: u32 = 64 * 64;
    let mut tree = CowTree::new();
    (0..INNER * 3).for_each(|key| assert!(tree.insert(number(key)).is_none()));
    let remove = |tree: &mut CowTree<Number>, keys: std::ops::Range<u32>| {
        keys.for_each(|key| assert!(tree.remove(&key).is_some(), "{key}"));
    };
    // The second inner node loses its first leaf; a key of it comes back into the next leaf.
    remove(&mut tree, INNER..INNER + 64);
    tree.insert(number(INNER + 7));
    assert_sound(&tree);
    let before = tree.shape().inners;
    remove(&mut tree, 0..64 * 40);
    remove(&mut tree, INNER + 64 * 10..INNER * 2);
    assert!(tree.shape().inners < before, "the first two inner nodes have merged");
    assert_sound(&tree);
    assert_eq!(tree.get(&(INNER + 7)), Some(&number(INNER + 7)));
}

#[test]
fn removing_all_but_every_512th_key_leaves_few_nodes_in_any_order() {
    let count = 512 * 512_u32;
    let mut full = CowTree::new();
    (0..count).for_each(|key| assert!(full.insert(number(key)).is_none()));
    let ascending: Vec<u32> = (0..count).filter(|key| key % 512 != 0).collect();
    let descending: Vec<u32> = ascending.iter().rev().copied().collect();
    let mut scattered = ascending.clone();
    fastrand::Rng::with_seed(7).shuffle(&mut scattered);
    for (order, keys) in
        [("ascending", ascending), ("descending", descending), ("scattered", scattered)]
    {
        let mut tree = full.clone();
        for key in keys {
            assert!(tree.remove(&key).is_some());
        }
        assert_sound(&tree);
        assert_eq!(tree.len(), 512);
        let Shape { leaves, inners, node_bytes } = tree.shape();
        // Packed they would need 8.
        assert!(leaves <= 40 && inners <= 3, "{order}: {leaves} leaves, {inners} inner nodes");
        assert!(node_bytes < 512 * 40, "{order}: {node_bytes} bytes");
    }
    assert_eq!(full.len(), count as usize);
    assert_sound(&full);
}

#[test]
fn an_emptied_tree_is_as_a_new_one() {
    let mut tree = CowTree::new();
    (0..10_000).for_each(|key| assert!(tree.insert(number(key)).is_none()));
    (0..10_000).rev().for_each(|key| assert!(tree.remove(&key).is_some()));
    assert!(tree.is_empty() && tree.last().is_none() && tree.root.is_none());
    tree.insert(number(3));
    assert_eq!(from(&tree, 0), [number(3)]);
}

#[test]
fn the_structure_checker_finds_planted_faults() {
    let mut sound = CowTree::new();
    (0..200).for_each(|key| assert!(sound.insert(number(key)).is_none()));
    assert_sound(&sound);
    let kids = |tree: &mut CowTree<Number>, plant: &dyn Fn(&mut Inner<Number>)| {
        let Some(Node::Inner(inner)) = &mut tree.root else { panic!("200 entries have an inner") };
        plant(Arc::make_mut(inner));
    };
    let mut shifted = sound.clone();
    kids(&mut shifted, &|inner| inner.kids[1].first += 1);
    let mut emptied = sound.clone();
    kids(&mut emptied, &|inner| inner.kids[1].node = Node::Leaf(Arc::new(Leaf::new(Vec::new()))));
    let mut swapped = sound.clone();
    kids(&mut swapped, &|inner| {
        let node = inner.kids[0].node.clone();
        inner.kids[0].node = std::mem::replace(&mut inner.kids[1].node, node);
    });
    let mut miscounted = sound.clone();
    miscounted.len += 1;
    let mut uneven = sound.clone();
    kids(&mut uneven, &|inner| {
        let kid = inner.kids[0].clone();
        inner.kids[0].node = Node::Inner(Arc::new(Inner { kids: vec![kid] }));
    });
    for (name, tree) in [
        ("shifted", shifted),
        ("emptied", emptied),
        ("swapped", swapped),
        ("miscounted", miscounted),
        ("uneven", uneven),
    ] {
        assert!(fault(&tree).is_some(), "{name}");
    }
}
