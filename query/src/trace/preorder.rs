//! The order in which the rows of a trace are drawn: each parent before its children.

/// A forest in preorder. Row numbers index the columns; all columns are equally long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preorder {
    /// Which node stands in the row.
    pub(crate) node: Vec<u32>,
    /// The row of the parent; `None` for a root.
    pub(crate) parent: Vec<Option<u32>>,
    /// How many ancestors the row has.
    pub(crate) depth: Vec<u32>,
    /// The first row that is not below this one: `row + 1` for a leaf.
    pub(crate) subtree_end: Vec<u32>,
}

/// Orders nodes by their parents. Siblings, and roots, keep the order of their numbers.
///
/// Foreign ids may form circles. Each circle is cut above its node of the lowest number, which
/// becomes a root, so every node has exactly one row. Time and memory are linear in the number of
/// nodes, and nothing recurses.
pub(crate) fn preorder(parents: &[Option<u32>]) -> Preorder {
    let mut walk = Walk::new(parents);
    for node in nodes(parents) {
        if parents[node as usize].is_none() {
            walk.descend(node);
        }
    }
    // Whatever no root leads to hangs below a circle.
    let mut circles = Circles::new(parents);
    for node in nodes(parents) {
        if walk.row[node as usize].is_none() {
            walk.descend(circles.cut(node));
        }
    }
    walk.finish()
}

fn nodes(parents: &[Option<u32>]) -> std::ops::Range<u32> {
    0..u32::try_from(parents.len()).expect("a trace in memory has fewer than 2^32 spans")
}

/// The children of all nodes in one array: those of `node` stand at `starts[node]..starts[node + 1]`.
struct Children {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Children {
    fn new(parents: &[Option<u32>]) -> Self {
        let mut starts = vec![0; parents.len() + 1];
        for parent in parents.iter().flatten() {
            starts[*parent as usize + 1] += 1;
        }
        for i in 0..parents.len() {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut children = vec![0; starts[parents.len()] as usize];
        for (node, parent) in nodes(parents).zip(parents) {
            if let Some(parent) = parent {
                let place = &mut next[*parent as usize];
                children[*place as usize] = node;
                *place += 1;
            }
        }
        Self {
            starts,
            nodes: children,
        }
    }

    fn of(&self, node: u32) -> &[u32] {
        let [start, end] = [self.starts[node as usize], self.starts[node as usize + 1]];
        &self.nodes[start as usize..end as usize]
    }
}

struct Walk {
    children: Children,
    /// The row of each node that has one already.
    row: Vec<Option<u32>>,
    order: Preorder,
    /// Nodes to visit next with the rows of their parents, the next one last.
    stack: Vec<(u32, Option<u32>)>,
}

impl Walk {
    fn new(parents: &[Option<u32>]) -> Self {
        let with_capacity = parents.len();
        Self {
            children: Children::new(parents),
            row: vec![None; with_capacity],
            order: Preorder {
                node: Vec::with_capacity(with_capacity),
                parent: Vec::with_capacity(with_capacity),
                depth: Vec::with_capacity(with_capacity),
                subtree_end: Vec::new(),
            },
            stack: Vec::new(),
        }
    }

    /// Gives rows to `root` and everything below it.
    fn descend(&mut self, root: u32) {
        let Self {
            children,
            row: row_of,
            order,
            stack,
        } = self;
        stack.push((root, None));
        while let Some((node, parent)) = stack.pop() {
            if row_of[node as usize].is_some() {
                // Only the node above which a circle was cut is met again, from its parent.
                continue;
            }
            let row = order.node.len() as u32;
            row_of[node as usize] = Some(row);
            order.node.push(node);
            order.parent.push(parent);
            order
                .depth
                .push(parent.map_or(0, |parent| order.depth[parent as usize] + 1));
            stack.extend(
                children
                    .of(node)
                    .iter()
                    .rev()
                    .map(|&child| (child, Some(row))),
            );
        }
    }

    fn finish(self) -> Preorder {
        let mut order = self.order;
        order.subtree_end = (1..).take(order.node.len()).collect();
        // Children come after their parents, so backwards every subtree is whole when it is read.
        for row in (0..order.node.len()).rev() {
            if let Some(parent) = order.parent[row] {
                let end = order.subtree_end[row];
                let parent_end = &mut order.subtree_end[parent as usize];
                *parent_end = end.max(*parent_end);
            }
        }
        order
    }
}

/// Finds where to cut circles.
struct Circles<'a> {
    parents: &'a [Option<u32>],
    /// From which start a node was met on the way up.
    met_from: Vec<Option<u32>>,
}

impl<'a> Circles<'a> {
    fn new(parents: &'a [Option<u32>]) -> Self {
        Self {
            parents,
            met_from: vec![None; parents.len()],
        }
    }

    /// The node of the lowest number in the circle above `start`.
    ///
    /// Everything met on the way lies below that circle, and so has its row before the next call:
    /// no node is met from two starts.
    fn cut(&mut self, start: u32) -> u32 {
        let mut node = start;
        while self.met_from[node as usize].is_none() {
            self.met_from[node as usize] = Some(start);
            node = self.above(node);
        }
        let entry = node;
        let mut lowest = entry;
        node = self.above(entry);
        while node != entry {
            lowest = lowest.min(node);
            node = self.above(node);
        }
        lowest
    }

    fn above(&self, node: u32) -> u32 {
        self.parents[node as usize].expect("a node without a parent was a root and has its row")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn children_follow_their_parents_in_order() {
        // 0 -> (1 -> 3, 2); 4 alone.
        let order = preorder(&[None, Some(0), Some(0), Some(1), None]);
        assert_eq!(order.node, [0, 1, 3, 2, 4]);
        assert_eq!(order.parent, [None, Some(0), Some(1), Some(0), None]);
        assert_eq!(order.depth, [0, 1, 2, 1, 0]);
        assert_eq!(order.subtree_end, [4, 3, 3, 4, 5]);
    }

    #[test]
    fn circles_are_cut_above_their_lowest_node() {
        // 4 hangs below the circle 3 -> 2 -> 1 -> 3; 0 is its own parent.
        let order = preorder(&[Some(0), Some(3), Some(1), Some(2), Some(3)]);
        assert_eq!(order.node, [0, 1, 2, 3, 4]);
        assert_eq!(order.depth, [0, 0, 1, 2, 3]);
        // The walk up from 0 meets the circle of 1 and 2 at 2.
        assert_eq!(preorder(&[Some(2), Some(2), Some(1)]).node, [1, 2, 0]);
    }

    #[test]
    fn no_nodes_no_rows() {
        assert!(preorder(&[]).node.is_empty());
    }

    #[test]
    fn a_chain_of_100_000_nodes_is_walked_without_recursion() {
        let n = 100_000;
        let parents: Vec<Option<u32>> = (0..n).map(|node: u32| node.checked_sub(1)).collect();
        let order = preorder(&parents);
        assert_eq!(order.depth.last(), Some(&(n - 1)));
        assert!(order.subtree_end.iter().all(|&end| end == n));
    }

    #[test]
    fn a_circle_of_100_000_nodes_with_a_long_tail_is_cut_once() {
        let n: u32 = 100_000;
        let circle = (0..n).map(|node| Some((node + 1) % n));
        let tail = (0..n).map(|node| Some(if node + 1 == n { 0 } else { n + node + 1 }));
        let order = preorder(&circle.chain(tail).collect::<Vec<_>>());
        assert_eq!(
            order
                .parent
                .iter()
                .filter(|parent| parent.is_none())
                .count(),
            1
        );
        assert_eq!(order.node[0], 0);
    }

    #[test]
    fn twenty_thousand_siblings_keep_their_order() {
        let parents: Vec<Option<u32>> = (0..20_001).map(|node| (node > 0).then_some(0)).collect();
        let order = preorder(&parents);
        assert!(order.node.iter().copied().eq(0..20_001));
        assert_eq!(order.subtree_end[0], 20_001);
    }

    /// Parents at random: roots, trees, circles and what hangs below them.
    fn any_parents() -> impl Strategy<Value = Vec<Option<u32>>> {
        (1_u32..60).prop_flat_map(|n| {
            proptest::collection::vec(proptest::option::weighted(0.9, 0..n), n as usize)
        })
    }

    /// How many circles there are, found the slow way: the lowest nodes that meet themselves.
    fn n_circles(parents: &[Option<u32>]) -> usize {
        let is_lowest_of_circle = |&start: &u32| {
            let mut node = start;
            for _ in 0..parents.len() {
                match parents[node as usize] {
                    Some(parent) if parent == start => return true,
                    Some(parent) if parent > start => node = parent,
                    _ => return false,
                }
            }
            false
        };
        (0..parents.len() as u32)
            .filter(is_lowest_of_circle)
            .count()
    }

    proptest! {
        #[test]
        fn every_node_has_one_row_below_its_parent(parents in any_parents()) {
            let order = preorder(&parents);
            let n = parents.len();
            let mut sorted = order.node.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.iter().copied().eq(0..n as u32));
            let mut n_cut = 0;
            for row in 0..n {
                let parent_node = parents[order.node[row] as usize];
                match order.parent[row] {
                    None => {
                        prop_assert_eq!(order.depth[row], 0);
                        n_cut += usize::from(parent_node.is_some());
                    }
                    Some(parent) => {
                        let parent = parent as usize;
                        prop_assert_eq!(Some(order.node[parent]), parent_node);
                        prop_assert!(parent < row && row < order.subtree_end[parent] as usize);
                        prop_assert_eq!(order.depth[row], order.depth[parent] + 1);
                    }
                }
                let is_below = |other: usize| {
                    let mut at = other;
                    loop {
                        if at == row { return true; }
                        match order.parent[at] {
                            Some(parent) => at = parent as usize,
                            None => return false,
                        }
                    }
                };
                for other in row..n {
                    prop_assert_eq!(other < order.subtree_end[row] as usize, is_below(other));
                }
            }
            prop_assert_eq!(n_cut, n_circles(&parents));
        }

        #[test]
        fn siblings_keep_their_order(parents in any_parents()) {
            let order = preorder(&parents);
            let mut last = std::collections::HashMap::new();
            for (node, parent) in order.node.iter().zip(&order.parent) {
                if parent.is_some() && let Some(before) = last.insert(parent, node) {
                    prop_assert!(before < node);
                }
            }
        }
    }
}
