//! The ABI's form of a header map, also used for maps and lists among properties.
//!
//! All numbers are little-endian `u32`: the number of pairs; for each pair the length of its name
//! and of its value; then for each pair the name, a zero byte, the value, a zero byte.

/// The headers of a block, in order. A block that ends too early ends the iteration.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    n_left: u32,
    lengths: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads `block`.
    pub fn new(block: &'a [u8]) -> Self {
        const EMPTY: Headers<'static> = Headers {
            n_left: 0,
            lengths: &[],
            texts: &[],
        };
        let Some((n, rest)) = block.split_first_chunk() else {
            return EMPTY;
        };
        let n = u32::from_le_bytes(*n);
        let n_length_bytes = usize::try_from(n).unwrap_or(usize::MAX).saturating_mul(8);
        match rest.split_at_checked(n_length_bytes) {
            Some((lengths, texts)) => Headers {
                n_left: n,
                lengths,
                texts,
            },
            None => EMPTY,
        }
    }

    /// The first value of `name`, which must be in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.clone()
            .find(|header| header.0 == name)
            .map(|header| header.1)
    }

    fn length(&mut self) -> Option<usize> {
        let (length, rest) = self.lengths.split_first_chunk()?;
        self.lengths = rest;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    }

    fn text(&mut self, length: usize) -> Option<&'a [u8]> {
        let (text, rest) = self.texts.split_at_checked(length)?;
        self.texts = rest.get(1..)?;
        Some(text)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.n_left = self.n_left.checked_sub(1)?;
        let name_length = self.length()?;
        let value_length = self.length()?;
        Some((self.text(name_length)?, self.text(value_length)?))
    }
}

/// Writes a block of these headers.
pub fn write(headers: &[(&str, &str)]) -> Vec<u8> {
    let word = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    let mut block = Vec::with_capacity(256);
    block.extend_from_slice(&word(headers.len()));
    for (name, value) in headers {
        block.extend_from_slice(&word(name.len()));
        block.extend_from_slice(&word(value.len()));
    }
    for (name, value) in headers {
        for text in [name, value] {
            block.extend_from_slice(text.as_bytes());
            block.push(0);
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_writes() {
        let block = write(&[
            (":method", "GET"),
            ("x", ""),
            ("accept", "a"),
            ("accept", "b"),
        ]);
        let headers = Headers::new(&block);
        assert_eq!(headers.clone().count(), 4);
        assert_eq!(headers.get(b":method"), Some(&b"GET"[..]));
        assert_eq!(headers.get(b"x"), Some(&b""[..]));
        assert_eq!(headers.get(b"accept"), Some(&b"a"[..]));
        assert_eq!(headers.get(b"absent"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_yield_at_most_what_they_hold(block: Vec<u8>) {
            let n: usize = Headers::new(&block).map(|(name, value)| name.len() + value.len() + 10).sum();
            prop_assert!(n <= block.len());
        }

        #[test]
        fn a_cut_block_ends_early(n in 0usize..40) {
            let block = write(&[("traceparent", "00-1"), ("b", "c")]);
            let cut = &block[..n.min(block.len())];
            prop_assert!(Headers::new(cut).count() <= 2);
        }
    }
}
