//! The web page, embedded.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

/// The page loads nothing from elsewhere and talks to its own relay only.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; \
    connect-src 'self' ws: wss:; frame-ancestors 'self'";

macro_rules! files {
    ($($name:literal as $kind:literal),* $(,)?) => {
        /// Every file of the page: name, media type, content.
        const FILES: &[(&str, &str, &str)] = &[$(($name, $kind, include_str!(concat!("../../web/", $name)))),*];
    };
}

files! {
    "index.html" as "text/html; charset=utf-8",
    "style.css" as "text/css; charset=utf-8",
    "js/carrier.js" as "text/javascript; charset=utf-8",
    "js/device.js" as "text/javascript; charset=utf-8",
    "js/direct_leg.js" as "text/javascript; charset=utf-8",
    "js/edges.js" as "text/javascript; charset=utf-8",
    "js/layout.js" as "text/javascript; charset=utf-8",
    "js/main.js" as "text/javascript; charset=utf-8",
    "js/negotiation.js" as "text/javascript; charset=utf-8",
    "js/player.js" as "text/javascript; charset=utf-8",
    "js/relay_legs.js" as "text/javascript; charset=utf-8",
    "js/relay_watch.js" as "text/javascript; charset=utf-8",
    "js/reliable.js" as "text/javascript; charset=utf-8",
    "js/room.js" as "text/javascript; charset=utf-8",
    "js/senders.js" as "text/javascript; charset=utf-8",
    "js/stats.js" as "text/javascript; charset=utf-8",
    "js/tiles.js" as "text/javascript; charset=utf-8",
    "js/wire.js" as "text/javascript; charset=utf-8",
}

pub(super) async fn index() -> Response {
    respond("index.html")
}

pub(super) async fn file(Path(name): Path<String>) -> Response {
    respond(&name)
}

fn respond(name: &str) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some(&(_, kind, content)) => (
            [
                (CONTENT_TYPE, kind),
                // The relay is updated in place: a page of yesterday must not talk to it.
                (CACHE_CONTROL, "no-cache"),
                (CONTENT_SECURITY_POLICY, POLICY),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // Links hold tokens.
                (REFERRER_POLICY, "no-referrer"),
            ],
            content,
        )
            .into_response(),
        None => (StatusCode::NOT_FOUND, "no such page\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut found = BTreeSet::new();
        for folder in ["", "js/"] {
            for entry in std::fs::read_dir(web.join(folder)).expect("the page's folder") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_file() {
                    found.insert(format!("{folder}{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        let embedded: BTreeSet<_> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(found, embedded);
    }
}
