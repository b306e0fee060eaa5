//! Why a store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk, or whatever the store stands on, failed; the message says what was being done.
    #[error("{action}")]
    Io {
        /// What was being done, with the path.
        action: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no space to write to. What was kept can still be read, and writing goes on by
    /// itself once there is space.
    #[error("no space left to write to {}: free some, or let the store take less", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error(
        "the directory {} is in use by another process: stop that one, or choose another directory",
        directory.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// A file was written in a format that this version does not know.
    #[error(
        "{} has format version {version}, and this version of Spanloom reads {known} only: \
         use a newer one, or choose another directory",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        version: u32,
        /// The version that would be read.
        known: u32,
    },
    /// A request or an answer is larger than the store handles in one piece.
    #[error("{what} is larger than {bytes_max} bytes")]
    TooLarge {
        /// What is too large, with what to do.
        what: String,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The store is shutting down, or has failed before and takes no more.
    #[error("the store is closed: {0}")]
    Closed(String),
}

impl StorageError {
    /// An error of the file system while something was done to `path`.
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full {
                path: path.to_owned(),
                source,
            },
            _ => Self::Io {
                action: format!("cannot {doing} {}", path.display()),
                source,
            },
        }
    }

    /// The same error once more: a failed sync has many to tell.
    pub(crate) fn duplicate(&self) -> Self {
        let again = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Io { action, source } => Self::Io {
                action: action.clone(),
                source: again(source),
            },
            Self::Full { path, source } => Self::Full {
                path: path.clone(),
                source: again(source),
            },
            Self::Locked { directory } => Self::Locked {
                directory: directory.clone(),
            },
            Self::Format {
                path,
                version,
                known,
            } => Self::Format {
                path: path.clone(),
                version: *version,
                known: *known,
            },
            Self::TooLarge { what, bytes_max } => Self::TooLarge {
                what: what.clone(),
                bytes_max: *bytes_max,
            },
            Self::Closed(why) => Self::Closed(why.clone()),
        }
    }
}
