//! What a log record is and what survives a crash.
