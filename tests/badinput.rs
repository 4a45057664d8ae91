//! Damaged files, a clock that is wrong and a disk that is full: each has a defined, visible
//! outcome; nothing is told twice, and nothing disappears in silence.
