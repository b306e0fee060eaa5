//! Insertions into a text. Text is only ever added, or takes the place of as much, and never a line
//! break before the end of the file, so every line keeps its number and every column up to its first
//! insertion.

/// Insertions into one file, in the order in which they apply at the same place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Edits {
    insertions: Vec<Insertion>,
}

/// One insertion, before the byte at `at` of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insertion {
    /// Byte offset in the original.
    pub at: usize,
    /// What is inserted.
    pub text: String,
    /// Bytes of the original that it takes the place of: none, or as many as it has.
    pub covers: usize,
}

impl Edits {
    /// Adds an insertion before the byte at `at`. Line breaks become spaces.
    pub fn insert(&mut self, at: usize, text: &str) {
        let text = text.lines().collect::<Vec<_>>().join(" ");
        let covers = 0;
        self.insertions.push(Insertion { at, text, covers });
    }

    /// Puts `text` in the place of as many bytes from `at` on.
    pub fn cover(&mut self, at: usize, text: &str) {
        let (text, covers) = (text.to_owned(), text.len());
        self.insertions.push(Insertion { at, text, covers });
    }

    /// Appends whole lines at the end of a file of `length` bytes.
    pub fn append(&mut self, length: usize, text: &str) {
        self.insertions.push(Insertion {
            at: length,
            text: format!("\n{text}"),
            covers: 0,
        });
    }

    /// True when nothing is inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.insertions.is_empty()
    }

    /// The insertions from the file's start to its end.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Insertion> {
        let mut sorted: Vec<&Insertion> = self.insertions.iter().collect();
        sorted.sort_by_key(|insertion| insertion.at);
        sorted
    }

    /// Adds the insertions of `other`, which apply after these at the same place.
    pub fn extend(&mut self, other: Self) {
        self.insertions.extend(other.insertions);
    }

    /// Takes the insertions of `others` out again.
    pub(crate) fn remove(&mut self, others: &Self) {
        for other in &others.insertions {
            let place = self.insertions.iter().position(|one| one == other);
            place.map(|place| self.insertions.remove(place));
        }
    }

    /// The text with everything inserted.
    #[must_use]
    pub fn apply(&self, original: &str) -> String {
        let added: usize = self
            .insertions
            .iter()
            .map(|insertion| insertion.text.len())
            .sum();
        let mut out = String::with_capacity(original.len() + added);
        let mut done = 0;
        for insertion in self.sorted() {
            let at = insertion.at.min(original.len());
            out.push_str(original.get(done..at).unwrap_or_default());
            out.push_str(&insertion.text);
            done = at + insertion.covers;
        }
        out.push_str(original.get(done..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insertions_keep_every_line_where_it_was() {
        let original = "fn a() {\n    b()\n}\n";
        let mut edits = Edits::default();
        edits.insert(18, " after");
        edits.insert(8, " one\n  two");
        edits.append(original.len(), "mod last {}");
        assert_eq!(
            edits.apply(original),
            "fn a() { one   two\n    b()\n} after\n\nmod last {}"
        );
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest() {
        let (mut all, mut some) = (Edits::default(), Edits::default());
        all.insert(1, "x");
        some.insert(1, "y");
        some.insert(2, "z");
        all.extend(some.clone());
        all.remove(&some);
        assert_eq!(all.apply("ab"), "axb");
    }

    #[test]
    fn what_covers_keeps_the_columns() {
        let mut edits = Edits::default();
        edits.cover(4, "xyz");
        edits.insert(7, "!");
        assert_eq!(edits.apply("one two three"), "one xyz! three");
    }

    #[test]
    fn at_one_place_the_first_insertion_comes_first() {
        let mut edits = Edits::default();
        edits.insert(1, "x");
        edits.insert(1, "y");
        assert_eq!(edits.apply("ab"), "axyb");
    }
}
