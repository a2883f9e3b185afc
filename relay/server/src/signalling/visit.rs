//! The way of a visitor into its room and out of it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom as _;
use segue_session::room::JoinRequest;
use segue_wire::proto::{self, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::hub::Hub;
use super::room_task::RoomInput;
use super::session::ResumeToken;
use super::visitor::{Patching, Purpose, VisitError, Visiting, no_session};
use crate::auth::Claims;
use crate::sdp::IceFragment;

/// Answers come from memory; a room or shard that takes longer is stuck, and the client had better ask again.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A room may end while a visitor is on its way into it; so often it finds the next one.
const ROOM_ATTEMPTS: usize = 3;

/// Random bytes that tell apart visitors who play with one token.
const VIEWER_BYTES: usize = 6;

/// A visit: who, what for, and with which offer.
pub(crate) struct Visit {
    pub(crate) claims: Claims,
    pub(crate) purpose: Purpose,
    /// Whom it plays.
    pub(crate) plays: Option<String>,
    pub(crate) sdp: String,
}

/// Lets a visitor in. Gives the secret its session is found by, and the answer.
pub(crate) async fn visit(hub: &Arc<Hub>, visit: Visit) -> Result<(String, String), VisitError> {
    let ours =
        || VisitError::new(ErrorCode::Ours, "the relay could not do it; ask again, and look at its log if that does not help");
    let (secret, hash) = ResumeToken::draw_secret(&hub.random).ok_or_else(ours)?;
    let room = visit.claims.room.clone();
    let request = request(hub, visit.claims, visit.plays).ok_or_else(ours)?;
    for _ in 0..ROOM_ATTEMPTS {
        let inputs = match &request.plays {
            None => hub.open(&room)?,
            Some(played) => hub.find(&room).ok_or_else(|| nobody(played))?,
        };
        let (reply, answer) = oneshot::channel();
        let (request, purpose, sdp) = (request.clone(), visit.purpose.clone(), visit.sdp.clone());
        let visiting = Visiting { request, purpose, sdp, secret: hash, reply };
        if let Err(mpsc::error::SendError(_)) = inputs.send(RoomInput::Visit(Box::new(visiting))).await {
            continue;
        }
        return match timeout(ANSWER_DEADLINE, answer).await {
            Ok(Ok(outcome)) => outcome.map(|answer| (secret, answer)),
            // The room ended with the visitor in its queue, or is stuck.
            Ok(Err(_)) | Err(_) => Err(ours()),
        };
    }
    Err(ours())
}

/// Ends a visitor's session; false where there is none.
pub(crate) async fn end_visit(hub: &Arc<Hub>, room: &str, secret: &str) -> bool {
    let Some((secret, inputs)) = ResumeToken::parse_secret(secret).zip(hub.find(room)) else { return false };
    let (reply, answer) = oneshot::channel();
    inputs.send(RoomInput::EndVisit { secret, reply }).await.is_ok() && answer.await.unwrap_or(false)
}

/// More of a visitor's ICE. `tag`: of the ICE session it means; `None`: it restarts. Gives the fragment that answers a restart.
pub(crate) async fn patch_visit(
    hub: &Arc<Hub>,
    room: &str,
    secret: &str,
    fragment: IceFragment,
    tag: Option<String>,
) -> Result<Option<String>, VisitError> {
    let found = ResumeToken::parse_secret(secret).zip(hub.find(room));
    let (secret, inputs) = found.ok_or_else(no_session)?;
    let (reply, answer) = oneshot::channel();
    let patching = Patching { secret, fragment, tag, reply };
    inputs.send(RoomInput::Patch(Box::new(patching))).await.map_err(|_| no_session())?;
    match timeout(ANSWER_DEADLINE, answer).await {
        Ok(Ok(outcome)) => outcome,
        // The room ended, or is stuck, or another restart took its place.
        Ok(Err(_)) | Err(_) => Err(no_session()),
    }
}

fn nobody(identity: &str) -> VisitError {
    segue_session::room::RoomError::NotHere(identity.to_owned()).into()
}

/// `None`: no randomness.
fn request(hub: &Hub, claims: Claims, plays: Option<String>) -> Option<JoinRequest> {
    let subscribe = plays.is_some();
    // Who plays with the token of somebody present does not take their place, and many may play with one token.
    let identity = match (claims.sub.is_empty(), subscribe) {
        (false, false) => claims.sub.clone(),
        (true, _) => format!("guest-{}", random_text(hub)?),
        (false, true) => format!("viewer-{}", random_text(hub)?),
    };
    let name = [claims.name, claims.sub].into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| identity.clone());
    let grants = proto::Grants { publish: !subscribe, subscribe, admin: false };
    let capabilities = proto::Capabilities { origin: false, direct: false };
    Some(JoinRequest { identity, name, metadata: claims.metadata, grants, capabilities, plays, ..JoinRequest::default() })
}

fn random_text(hub: &Hub) -> Option<String> {
    let mut bytes = [0; VIEWER_BYTES];
    hub.random.fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
