//! What can go wrong, for every language: eight kinds, each with a stable code and a sentence that says what to do.

use segue::Error;

/// Why a call failed. The kind is for `catch`, `code` is stable and for programs, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum CallError {
    /// What was passed cannot be used: codes `url`, `size`, `stride`, `buffer`, `frame_rate`, `timestamp`, `kind`, `channels`,
    /// `queue`, `token_claims`, `token_secret`, `data_too_long`.
    #[error("{detail}")]
    InvalidArgument {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The call does not fit what was before: codes `already_published`, `no_track`, `not_joined`, `data_backlog`, `logger`.
    #[error("{detail}")]
    InvalidState {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The room was left or its connection ended for good: code `left`.
    #[error("{detail}")]
    Left {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The relay did not answer in time: code `timeout`.
    #[error("{detail}")]
    Timeout {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The relay said no: its own code, such as `token_expired`.
    #[error("{detail}")]
    Refused {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The call was cancelled: code `cancelled`.
    #[error("{detail}")]
    Cancelled {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A callback of the host failed: codes `callback`, `token_provider`.
    #[error("{detail}")]
    Callback {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// Not the application's fault: codes `encoder`, `runtime`, `panic`.
    #[error("{detail}")]
    Internal {
        /// Stable.
        code: String,
        /// What is wrong and what to do.
        detail: String,
    },
}

impl CallError {
    pub(crate) fn argument(code: &str, detail: impl Into<String>) -> Self {
        Self::InvalidArgument { code: code.to_owned(), detail: detail.into() }
    }

    pub(crate) fn state(code: &str, detail: impl Into<String>) -> Self {
        Self::InvalidState { code: code.to_owned(), detail: detail.into() }
    }

    pub(crate) fn internal(code: &str, detail: impl Into<String>) -> Self {
        Self::Internal { code: code.to_owned(), detail: detail.into() }
    }

    pub(crate) fn callback(code: &str, detail: impl Into<String>) -> Self {
        Self::Callback { code: code.to_owned(), detail: detail.into() }
    }

    pub(crate) fn cancelled() -> Self {
        Self::Cancelled { code: "cancelled".to_owned(), detail: "the call was cancelled".to_owned() }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        let (code, detail) = (error.code().to_owned(), error.to_string());
        match (error, code.as_str()) {
            (Error::Url(_), _) | (Error::Data(_), "data_too_long") => Self::InvalidArgument { code, detail },
            (Error::Timeout { .. }, _) => Self::Timeout { code, detail },
            (Error::Refused { .. }, _) => Self::Refused { code, detail },
            (Error::Data(_) | Error::NoTrack, _) => Self::InvalidState { code, detail },
            (Error::Left, _) => Self::Left { code, detail },
            // Kinds the core gains are nobody's fault until they are named here.
            _ => Self::Internal { code, detail },
        }
    }
}

/// A callback of the host threw what it did not declare.
impl From<uniffi::UnexpectedUniFFICallbackError> for CallError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::callback("callback", format!("a callback of the application failed: {}", error.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_codes() {
        assert!(matches!(CallError::from(Error::Left), CallError::Left { code, .. } if code == "left"));
        let refused = Error::Refused { code: "token_expired", message: "ask for a new one".to_owned() };
        assert!(matches!(
            CallError::from(refused),
            CallError::Refused { code, detail } if code == "token_expired" && detail.contains("ask for a new one")
        ));
        let long = Error::Data(segue::DataError::TooLong { len: 2, max: 1 });
        assert!(matches!(CallError::from(long), CallError::InvalidArgument { code, .. } if code == "data_too_long"));
    }
}
