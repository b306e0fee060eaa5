//! Host calls that answer otherwise than they should.

/// A host call that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The name of the import.
    pub(crate) call: &'static str,
    /// What it answers; nothing else happens.
    pub(crate) status: u32,
    pub(crate) when: When,
}

/// Which of the calls of one name fail, since the fault was set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// This one, counted from zero.
    Nth(u64),
    Always,
}

/// The faults of a worker and the calls that they have seen.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<(Fault, u64)>,
    n_struck: u64,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push((fault, 0));
    }

    /// The status that this call has to answer instead of doing its work.
    pub(super) fn strike(&mut self, call: &str) -> Option<u32> {
        let mut status = None;
        for (fault, n_seen) in &mut self.faults {
            if fault.call != call {
                continue;
            }
            let strikes = match fault.when {
                When::Nth(n) => *n_seen == n,
                When::Always => true,
            };
            *n_seen += 1;
            if strikes {
                status = Some(fault.status);
            }
        }
        self.n_struck += u64::from(status.is_some());
        status
    }

    pub(super) fn n_struck(&self) -> u64 {
        self.n_struck
    }
}
