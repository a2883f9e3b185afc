//! Who may come in, and as whom.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};
use segue_session::room::{JoinRequest, RoomError};
use segue_wire::limits::JOIN_CONTEXT;
use segue_wire::proto::{self, ErrorCode, LeaveReason};

use crate::auth::{Keys, TokenError};

/// The one version of the protocol this relay speaks.
const PROTOCOL: u32 = 1;

/// Length of an Ed25519 public key.
const DEVICE_KEY_LEN: usize = 32;

/// Bytes in the identity of a guest: too many for somebody else to find a device key that gives the same.
const GUEST_BYTES: usize = 12;

/// Why a Join is not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("the relay speaks version {PROTOCOL} of the protocol, the client version {0}; update the older one")]
    Protocol(u32),
    #[error("a device key has {DEVICE_KEY_LEN} bytes (Ed25519) or is left empty; this one has {0}")]
    DeviceKey(usize),
    #[error(
        "device_signature is not of this device_key: sign \"segue.v1 join \" and the token with it (Ed25519), or leave the signature empty"
    )]
    DeviceSignature,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error("the relay has its full number of rooms ({0}); try again later or raise `limits.rooms`")]
    Rooms(usize),
    #[error("the relay has as much to do as it can; try again in a few seconds, or another relay")]
    Overloaded,
    #[error("the relay is shutting down; connect again in a moment")]
    Closing,
    #[error("the relay could not do it; connect again, and look at its log if that does not help")]
    Ours,
}

impl JoinError {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Protocol(_) => ErrorCode::ProtocolVersion,
            Self::DeviceKey(_) | Self::DeviceSignature => ErrorCode::Malformed,
            Self::Token(error) => error.code(),
            Self::Room(error) => error.code(),
            Self::Rooms(_) => ErrorCode::Limit,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Closing => ErrorCode::Shutdown,
            Self::Ours => ErrorCode::Ours,
        }
    }

    /// The last word to a client that is not let in. What may be different in a moment says when to come back.
    pub(super) fn goodbye(&self) -> proto::Goodbye {
        let retry_after_ms = match self {
            Self::Overloaded => 5000,
            Self::Closing | Self::Ours => 1000,
            _ => 0,
        };
        let message = self.to_string();
        proto::Goodbye { reason: LeaveReason::Refused.into(), code: self.code().into(), message, retry_after_ms }
    }
}

/// Checks a Join. Gives the room and the request to it.
pub(super) fn check(
    keys: &Keys,
    random: &SystemRandom,
    asked: Option<&str>,
    join: proto::Join,
) -> Result<(String, JoinRequest), JoinError> {
    if join.protocol != PROTOCOL {
        return Err(JoinError::Protocol(join.protocol));
    }
    let claims = keys.verify(&join.token, asked)?;
    let device = device(&join)?;
    let policy = join.policy();
    let identity = if claims.sub.is_empty() { guest(random, &device)? } else { claims.sub };
    let first = |choices: [&str; 3]| choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_default().to_owned();
    let request = JoinRequest {
        // What the issuer signed goes before what the client says of itself.
        name: first([&claims.name, &join.name, &identity]),
        metadata: first([&claims.metadata, &join.metadata, ""]),
        identity,
        // What others are shown is proven; an unproven key knows a guest again, and no more.
        peer_id: if join.device_signature.is_empty() { Vec::new() } else { device },
        grants: claims.grants.into(),
        capabilities: join.capabilities.unwrap_or_default(),
        policy,
        rejoin: join.rejoin,
        plays: None,
        resume_token: String::new(),
    };
    Ok((claims.room, request))
}

/// The hash of the device key; empty where there is none. Where a signature is shown, the private half of the key made it.
fn device(join: &proto::Join) -> Result<Vec<u8>, JoinError> {
    match join.device_key.len() {
        0 if join.device_signature.is_empty() => return Ok(Vec::new()),
        DEVICE_KEY_LEN => {}
        other => return Err(JoinError::DeviceKey(other)),
    }
    if !join.device_signature.is_empty() {
        let signed = [JOIN_CONTEXT, join.token.as_bytes()].concat();
        let key = UnparsedPublicKey::new(&ED25519, &join.device_key);
        key.verify(&signed, &join.device_signature).map_err(|_| JoinError::DeviceSignature)?;
    }
    Ok(digest(&SHA256, &join.device_key).as_ref().to_vec())
}

/// An identity for somebody whose token names none: that of the device, so that it is the same person after the relay was started anew, or
/// any where there is no device key. Others learn no more than the hash of the key, and so cannot come as this one.
fn guest(random: &SystemRandom, peer_id: &[u8]) -> Result<String, JoinError> {
    let mut bytes = [0; GUEST_BYTES];
    match peer_id.get(..GUEST_BYTES) {
        Some(device) => bytes.copy_from_slice(device),
        None => random.fill(&mut bytes).map_err(|_| JoinError::Ours)?,
    }
    Ok(format!("guest-{}", URL_SAFE_NO_PAD.encode(bytes)))
}
