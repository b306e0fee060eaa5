//! The part of the protobuf wire format that OTLP uses: tags, varints, fixed words, lengths.
//! Source: the protobuf encoding guide.

/// One field as it stands in a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// What ends the reading of a message before its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A field runs past the end of its message.
    Truncated,
    /// A varint of more than 64 bits, or a tag of more than 32.
    Varint,
    /// Field number zero.
    FieldNumber,
    /// The begin or the end of a group, which proto3 does not have.
    Group,
    /// A wire type that does not exist.
    WireType,
}

/// Reads the fields of one message, in order.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

// Always in line: what each returns is taken apart at once by its caller, and returned through memory
// it makes checking a request two to three times slower.
impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field with its number; `None` at the end.
    #[inline(always)]
    pub(crate) fn try_next(&mut self) -> Option<Result<(u32, Field<'a>), Malformed>> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // A reader that goes on after an error would read garbage: end here.
            self.rest = &[];
        }
        Some(field)
    }

    #[inline(always)]
    fn field(&mut self) -> Result<(u32, Field<'a>), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Varint)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed::FieldNumber);
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                Field::Bytes(self.take(length)?)
            }
            3 | 4 => return Err(Malformed::Group),
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::WireType),
        };
        Ok((number, field))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Almost every tag and most lengths are one byte.
        if let [byte @ 0..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && byte > 1 {
                // More than 64 bits. Some readers drop them; those of Go and Rust refuse, and would
                // refuse a whole batch that we forward.
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed::Truncated)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// The lenient reading: a malformed field ends the message. Views use it, since what they read was
/// validated before.
impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    #[inline]
    fn next(&mut self) -> Option<(u32, Field<'a>)> {
        self.try_next()?.ok()
    }
}

/// Appends `value` as a base-128 varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number << 3));
    put_varint(out, value);
}

pub(crate) fn put_fixed64_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32_field(out: &mut Vec<u8>, number: u32, value: u32) {
    put_varint(out, u64::from(number << 3 | 5));
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes `value` takes as a varint.
pub(crate) const fn varint_bytes(value: u64) -> usize {
    let n_bits = u64::BITS - (value | 1).leading_zeros();
    n_bits.div_ceil(7) as usize
}

/// Appends a message field whose body `write` appends.
///
/// The length comes before the body and is known after it. One byte is left for it, which is right
/// for most attributes; a body of 128 bytes or more is moved up by the bytes that its length takes.
pub(crate) fn put_message_field(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(number << 3 | 2));
    let length_at = out.len();
    out.push(0);
    write(out);
    put_length(out, length_at);
}

/// Writes the length of the body that begins behind the one byte left for it at `length_at`.
fn put_length(out: &mut Vec<u8>, length_at: usize) {
    let length = out.len().saturating_sub(length_at + 1);
    if length < 0x80
        && let Some(byte) = out.get_mut(length_at)
    {
        *byte = length as u8;
        return;
    }
    let n_bits = usize::BITS - (length | 1).leading_zeros();
    let n_more_bytes = (n_bits.div_ceil(7) - 1) as usize;
    out.resize(out.len() + n_more_bytes, 0);
    let Some(field) = out.get_mut(length_at..) else {
        return;
    };
    if n_more_bytes > 0 && n_more_bytes <= field.len() {
        field.rotate_right(n_more_bytes);
    }
    let mut rest = length;
    for byte in field.iter_mut().take(1 + n_more_bytes) {
        let more = rest >= 0x80;
        *byte = rest as u8 & 0x7f | u8::from(more) << 7;
        rest >>= 7;
    }
}
