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
    Append(u32),
    Insert(u32),
    Remove(u32),
    RemoveRun(u32, u32),
    View,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..200_u32).prop_map(Step::Append),
        6 => (0..3_000_u32).prop_map(Step::Insert),
        4 => (0..3_000_u32).prop_map(Step::Remove),
        2 => (0..3_000_u32, 0..400_u32).prop_map(|(from, len)| Step::RemoveRun(from, len)),
        1 => Just(Step::View),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_and_its_views_hold_what_a_plain_map_holds(steps in steps(), probe in 0..3_000_u32) {
        let mut tree = CowTree::new();
        let mut model = BTreeMap::new();
        let mut views = Vec::new();
        for (tag, step) in (1_u32..).zip(steps) {
            let put = |key: u32, tree: &mut CowTree<Number>, model: &mut BTreeMap<u32, Number>| {
                let entry = Number { key, tag };
                assert_eq!(tree.insert(entry), model.insert(key, entry), "insert {key}");
            };
            match step {
                Step::Append(count) => {
                    let next = model.last_key_value().map_or(0, |(key, _)| key + 1);
                    (next..next + count).for_each(|key| put(key, &mut tree, &mut model));
                }
                Step::Insert(key) => put(key, &mut tree, &mut model),
                Step::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                Step::RemoveRun(from, len) => {
                    for key in from..from + len {
                        prop_assert_eq!(tree.remove(&key), model.remove(&key));
                    }
                }
                Step::View => views.push((tree.clone(), model.clone())),
            }
            prop_assert_eq!(fault(&tree), None);
        }
        views.push((tree, model));
        for (tree, model) in views {
            prop_assert_eq!(fault(&tree), None);
            let expected: Vec<Number> = model.values().copied().collect();
            prop_assert_eq!(from(&tree, 0), expected);
            let expected: Vec<Number> = model.range(probe..).map(|(_, entry)| *entry).collect();
            prop_assert_eq!(from(&tree, probe), expected);
            prop_assert_eq!(tree.get(&probe), model.get(&probe));
            prop_assert_eq!(tree.last(), model.values().last());
        }
    }
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
