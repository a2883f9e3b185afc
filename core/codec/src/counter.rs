//! To come with the sources.
