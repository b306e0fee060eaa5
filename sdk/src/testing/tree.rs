//! Spans as an indented text.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

/// A span, ready to be drawn.
pub(super) struct Node {
    pub(super) id: Vec<u8>,
    pub(super) parent: Vec<u8>,
    pub(super) start: SystemTime,
    pub(super) line: String,
}

impl Node {
    /// How a status of error is written.
    pub(super) fn error(description: &str) -> String {
        match description {
            "" => " ERROR".to_owned(),
            description => format!(" ERROR: {description}"),
        }
    }
}

/// Roots first, and children under their parent in the order of their start. A parent that is not
/// among the nodes, because it belongs to another process, makes a root.
pub(super) fn draw(nodes: impl Iterator<Item = Node>) -> String {
    let nodes: Vec<_> = nodes.collect();
    let known: HashSet<&[u8]> = nodes.iter().map(|node| node.id.as_slice()).collect();
    let mut children: HashMap<Option<&[u8]>, Vec<&Node>> = HashMap::new();
    for node in &nodes {
        let parent = Some(node.parent.as_slice()).filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(node);
    }
    for siblings in children.values_mut() {
        // Reversed, since the stack below takes the last first. Lines part equal times.
        siblings.sort_by(|a, b| (b.start, &b.line).cmp(&(a.start, &a.line)));
    }
    let mut text = String::new();
    let roots = children.remove(&None).unwrap_or_default();
    let mut stack: Vec<_> = roots.into_iter().map(|root| (0, root)).collect();
    while let Some((depth, node)) = stack.pop() {
        text.push_str(&"  ".repeat(depth));
        text.push_str(&node.line);
        text.push('\n');
        // Taken out, so that ids that form a ring end the walk.
        let below = children
            .remove(&Some(node.id.as_slice()))
            .unwrap_or_default();
        stack.extend(below.into_iter().map(|child| (depth + 1, child)));
    }
    text
}
