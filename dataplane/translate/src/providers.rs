//! One folder per wire format, each with the same set of files.
