//! In the place of the codecs where the feature `codecs` is off: the same names, of which nothing can be made. So nobody above needs to know
//! how this crate was built, and a platform without a C++ compiler can be built for.

pub mod h264;
pub mod opus;

/// What an encoder refuses here.
const WITHOUT: &str = "codec: this build has none (feature `codecs`); publish encoded frames instead";
