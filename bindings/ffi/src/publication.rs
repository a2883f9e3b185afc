//! Tracks of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CallError;
use crate::runtime;
use crate::stats::PublicationStats;
use crate::track::TrackKind;

/// A source is being published: it may not be published a second time meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Claim(AtomicBool);

/// Gives the claim back.
pub(crate) struct Claimed<'a>(&'a AtomicBool);

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Claim {
    /// Claims a source for as long as the relay takes to answer; `published` says that it is published already.
    pub(crate) fn take(&self, published: bool) -> Result<Claimed<'_>, CallError> {
        if published || self.0.swap(true, Ordering::AcqRel) {
            let detail = "this source is published already: unpublish it first, or make another source";
            return Err(CallError::state("already_published", detail));
        }
        Ok(Claimed(&self.0))
    }
}

/// A published track. It stays published when this handle goes.
#[derive(uniffi::Object)]
pub struct Publication {
    publication: segue::TrackPublication,
}

impl Publication {
    pub(crate) fn new(publication: segue::TrackPublication) -> Arc<Self> {
        Arc::new(Self { publication })
    }
}

#[uniffi::export]
impl Publication {
    /// Given by the room.
    pub fn id(&self) -> u32 {
        u32::from(self.publication.id().0)
    }

    /// Audio or video.
    pub fn kind(&self) -> TrackKind {
        self.publication.kind().into()
    }

    /// Silences the track, or not any more: nothing is encoded or sent while it is silent, and everybody is told.
    pub async fn set_muted(&self, muted: bool) -> Result<(), CallError> {
        let publication = self.publication.clone();
        runtime::run(None, async move { Ok(publication.set_muted(muted).await?) }).await
    }

    /// Takes the track back. Its source may be published again.
    pub async fn unpublish(&self) -> Result<(), CallError> {
        let publication = self.publication.clone();
        runtime::run(None, async move {
            publication.unpublish().await?;
            // An answer to a later request says that this one was carried out.
            let _ = publication.stats().await;
            Ok(())
        })
        .await
    }

    /// What it measures.
    pub async fn stats(&self) -> Result<PublicationStats, CallError> {
        let publication = self.publication.clone();
        runtime::run(None, async move { Ok(publication.stats().await?.into()) }).await
    }
}
