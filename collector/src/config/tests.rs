//! What a configuration becomes, and what is said of a wrong one.
