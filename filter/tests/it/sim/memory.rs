//! The module's memory as the host sees it.

use spanloom_filter::Status;
use wasmi::{AsContextMut, Caller, Error};

use super::host::Host;

/// The module in the middle of a host call.
pub(super) type Guest<'a> = Caller<'a, Host>;

/// Why a host call does not do what it is for.
pub(super) enum Fail {
    /// It tells the module so.
    Says(Status),
    /// The module trapped while the host called back into it.
    Trap(Error),
}

impl From<Status> for Fail {
    fn from(status: Status) -> Self {
        Fail::Says(status)
    }
}

/// `length` bytes at `at`.
pub(super) fn read(guest: &Guest<'_>, at: u32, length: u32) -> Result<Vec<u8>, Status> {
    let memory = guest.data().memory().data(guest);
    let (start, length) = (at as usize, length as usize);
    let bytes = memory.get(start..).and_then(|rest| rest.get(..length));
    bytes.map(<[u8]>::to_vec).ok_or(Status::InvalidMemoryAccess)
}

/// Text at `at`; the module names things in ASCII only.
pub(super) fn text(guest: &Guest<'_>, at: u32, length: u32) -> Result<String, Status> {
    String::from_utf8(read(guest, at, length)?).map_err(|_| Status::BadArgument)
}

/// Puts `bytes` at `at`.
pub(super) fn write(guest: &mut Guest<'_>, at: u32, bytes: &[u8]) -> Result<(), Status> {
    let memory = guest.data().memory();
    let written = memory.write(guest, at as usize, bytes);
    written.map_err(|_| Status::InvalidMemoryAccess)
}

/// Gives the module a copy of `bytes`, in memory that it allocates itself: the host calls back in
/// the middle of a host call. Nothing is allocated for nothing.
pub(super) fn hand_over(
    guest: &mut Guest<'_>,
    bytes: &[u8],
    pointer_at: u32,
    length_at: u32,
) -> Result<(), Fail> {
    let length = u32::try_from(bytes.len()).expect("a scenario fits into the module's memory");
    let mut pointer = 0;
    if length > 0 {
        let allocate = guest.data().allocate();
        pointer = allocate
            .call(guest.as_context_mut(), length)
            .map_err(Fail::Trap)?;
        if pointer == 0 {
            return Err(Status::InvalidMemoryAccess.into());
        }
        write(guest, pointer, bytes)?;
    }
    write(guest, pointer_at, &pointer.to_le_bytes())?;
    write(guest, length_at, &length.to_le_bytes())?;
    Ok(())
}
