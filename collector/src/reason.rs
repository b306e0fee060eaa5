//! Why spans were refused or dropped: one enum that is at once the ledger's label, the log field
//! and the documented row.

use std::fmt;
use std::time::Duration;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $meaning:literal;)*) => {
        /// Why spans were refused (the sender was told) or dropped (by an exporter).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The name in logs and metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Reason::$name => $label,)*
                }
            }

            /// What it means, as the reference says it.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    Malformed = "malformed", "The request is not valid OTLP: broken protobuf or JSON, text that is not UTF-8, a missing or zero id.";
    TooLarge = "too_large", "The request is larger than the receiver's limit, as sent or inflated.";
    Unsupported = "unsupported", "The request has an encoding, a content type, a method or a path that the receiver does not speak.";
    Incomplete = "incomplete", "The request did not arrive whole in time, or the sender hung up.";
    Overloaded = "overloaded", "The byte budget for requests in memory is used up.";
    Stopping = "stopping", "The collector is stopping and cannot finish the work in time.";
    DestinationUnavailable = "destination_unavailable", "The destination did not take the spans for a passing cause, and retrying did not help in time.";
    DestinationRejected = "destination_rejected", "The destination refused the request for good.";
    PartialSuccess = "partial_success", "The destination took the request but rejected some of its spans.";
    StoreFailed = "store_failed", "The trace store could not keep the spans.";
    SenderGone = "sender_gone", "The sender gave up waiting before the outcome was known; the spans may have arrived.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A failure's message is at most about this long, whatever it quotes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A request that was not taken: what the sender is told, in whichever protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, for the ledger, the logs and the answer's code.
    pub reason: Reason,
    /// What happened, for people.
    pub message: String,
    /// How long the sender should wait before it tries again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without advice about when to try again. The message may quote foreign text: it is
    /// shortened and stripped of control characters, since it goes into logs and headers.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push_str("...");
        }
        if message.contains(char::is_control) {
            message = message.replace(char::is_control, " ");
        }
        Self {
            reason,
            message,
            retry_after: None,
        }
    }

    /// The same, to be tried again no sooner than after `delay`, where there is one.
    pub fn retry_after(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.retry_after = delay.into();
        self
    }

    /// Whether sending the same request again may succeed.
    pub const fn is_passing(&self) -> bool {
        match self.reason {
            Reason::Incomplete
            | Reason::Overloaded
            | Reason::Stopping
            | Reason::DestinationUnavailable
            | Reason::StoreFailed
            | Reason::SenderGone => true,
            Reason::Malformed
            | Reason::TooLarge
            | Reason::Unsupported
            | Reason::DestinationRejected
            | Reason::PartialSuccess => false,
        }
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_in_a_message_is_shortened_and_cannot_break_lines() {
        let failure = Failure::new(
            Reason::Malformed,
            "a\n\x1b[31m".to_owned() + &"\u{e9}".repeat(5000),
        );
        assert!(failure.message.starts_with("a  [31m"));
        assert!(failure.message.len() < MESSAGE_BYTES_MAX + 8);
    }

    #[test]
    fn labels_are_unique_and_in_number_order() {
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            let same = Reason::ALL
                .iter()
                .filter(|other| other.label() == reason.label())
                .count();
            assert_eq!(same, 1, "{reason}");
        }
    }
}
