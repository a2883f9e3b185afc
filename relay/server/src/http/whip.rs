//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one offer in, one answer out, for clients that speak nothing else.
//!
//! | request | does |
//! |---|---|
//! | `POST /v1/whip/{room}` | publishes what the offer sends |
//! | `POST /v1/whep/{room}/{participant}` | plays what the participant of this identity publishes, whenever it does |
//! | `PATCH` of the `Location` of either | takes candidates (`If-Match`: the last `ETag`), or restarts ICE (`If-Match: *`) |
//! | `DELETE` of it | ends it |
//!
//! All of them carry a join token as `Authorization: Bearer`. Whoever comes so is a participant like others. Candidates need not be
//! trickled: the relay is ICE-lite and learns addresses from checks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use segue_wire::limits::MAX_SDP;
use segue_wire::proto::ErrorCode;
use tokio::time::timeout;

use crate::auth::Claims;
use crate::media_plane::Refusal;
use crate::sdp::{IceFragment, PlayerOffer, PublisherOffer, SdpRefusal};
use crate::signalling::{Hub, Purpose, STALE, Visit, VisitError, end_visit, no_session, patch_visit, tag_of, visit};

/// The one media type of offers and answers.
const SDP: &str = "application/sdp";

/// The one media type of what a PATCH carries (RFC 8840).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// An offer is a few kilobytes: a body that takes longer is an attack or hopeless.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What a POST takes (RFC 9725 section 4.2).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// What a PATCH takes (RFC 9725 section 4.3).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Seconds after which whoever met a limit may try again.
const RETRY_AFTER_SECONDS: &str = "5";

/// A refusal: the status, and a sentence that says what to do.
struct Refused(StatusCode, String);

impl Refused {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self(status, sentence.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, sentence) = self;
        let mut response = (status, format!("{sentence}\n")).into_response();
        let header = match status {
            // RFC 6750 section 3.
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, RETRY_AFTER_SECONDS)),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Some((ACCEPT, SDP)),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<VisitError> for Refused {
    fn from(error: VisitError) -> Self {
        Self(status_of(error.code), error.message)
    }
}

impl From<SdpRefusal> for Refused {
    fn from(refusal: SdpRefusal) -> Self {
        let status = match refusal.kind() {
            Refusal::BadSdp => StatusCode::BAD_REQUEST,
            // Well formed, and not what this relay can serve.
            Refusal::Incompatible | Refusal::Limit | Refusal::Ours => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(status, refusal.to_string())
    }
}

const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TokenInvalid | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::WrongRoom | ErrorCode::NotPermitted => StatusCode::FORBIDDEN,
        ErrorCode::UnknownParticipant | ErrorCode::SessionUnknown => StatusCode::NOT_FOUND,
        ErrorCode::Replaced => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Incompatible => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Rate => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::RoomFull | ErrorCode::Limit | ErrorCode::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Ours | ErrorCode::Unspecified => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The routes.
pub(super) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/v1/whip/{room}", post(publish).options(endpoint))
        .route("/v1/whip/{room}/{session}", delete(end_publishing).patch(patch_publishing).options(resource))
        .route("/v1/whep/{room}/{participant}", post(play).options(endpoint))
        .route("/v1/whep/{room}/{participant}/{session}", delete(end_playing).patch(patch_playing).options(resource))
        .layer(DefaultBodyLimit::max(MAX_SDP))
        .layer(map_response(for_other_origins))
}

/// A page of another origin may use these with a token it has (RFC 9725 section 4.9); cookies are not looked at.
async fn for_other_origins(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag, accept-post, accept-patch, retry-after"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn endpoint() -> Response {
    (StatusCode::NO_CONTENT, [(ACCEPT_POST, SDP), (ALLOW, "POST, OPTIONS")]).into_response()
}

async fn resource() -> Response {
    (StatusCode::NO_CONTENT, [(ACCEPT_PATCH, FRAGMENT), (ALLOW, "PATCH, DELETE, OPTIONS")]).into_response()
}

async fn publish(State(hub): State<Arc<Hub>>, Path(room): Path<String>, request: Request) -> Result<Response, Refused> {
    counted(&hub, take_publisher(&hub, &room, request).await)
}

async fn play(
    State(hub): State<Arc<Hub>>,
    Path((room, participant)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    counted(&hub, take_player(&hub, &room, participant, request).await)
}

fn counted(hub: &Hub, outcome: Result<Response, Refused>) -> Result<Response, Refused> {
    outcome.inspect_err(|_| hub.metrics.offers_refused.increment())
}

async fn take_publisher(hub: &Arc<Hub>, room: &str, request: Request) -> Result<Response, Refused> {
    let claims = authorise(hub, request.headers(), room)?;
    if !claims.grants.publish {
        return Err(not_granted("publish"));
    }
    let place = request.uri().path().to_owned();
    let sdp = offer_of(request).await?;
    let offer = PublisherOffer::parse(&sdp)?;
    let sections: Vec<_> = offer.sections().iter().filter(|section| section.active).cloned().collect();
    if sections.is_empty() {
        return Err(SdpRefusal::NothingSent.into());
    }
    let purpose = Purpose::Publish(sections);
    let (secret, answer) = visit(hub, Visit { claims, purpose, plays: None, sdp }).await?;
    Ok(created(&place, &secret, answer))
}

async fn take_player(hub: &Arc<Hub>, room: &str, participant: String, request: Request) -> Result<Response, Refused> {
    let claims = authorise(hub, request.headers(), room)?;
    if !claims.grants.subscribe {
        return Err(not_granted("subscribe"));
    }
    let place = request.uri().path().to_owned();
    let sdp = offer_of(request).await?;
    PlayerOffer::parse(&sdp)?;
    let (secret, answer) = visit(hub, Visit { claims, purpose: Purpose::Play, plays: Some(participant), sdp }).await?;
    Ok(created(&place, &secret, answer))
}

async fn end_publishing(
    State(hub): State<Arc<Hub>>,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    end(&hub, &headers, &room, &session).await
}

async fn end_playing(
    State(hub): State<Arc<Hub>>,
    Path((room, _, session)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    end(&hub, &headers, &room, &session).await
}

async fn end(hub: &Arc<Hub>, headers: &HeaderMap, room: &str, session: &str) -> Result<StatusCode, Refused> {
    authorise(hub, headers, room)?;
    if end_visit(hub, room, session).await {
        return Ok(StatusCode::OK);
    }
    Err(no_session().into())
}

async fn patch_publishing(
    State(hub): State<Arc<Hub>>,
    Path((room, session)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    patch(&hub, &room, &session, request).await
}

async fn patch_playing(
    State(hub): State<Arc<Hub>>,
    Path((room, _, session)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    patch(&hub, &room, &session, request).await
}

async fn patch(hub: &Arc<Hub>, room: &str, session: &str, request: Request) -> Result<Response, Refused> {
    authorise(hub, request.headers(), room)?;
    let tag = request.headers().get(IF_MATCH).and_then(|tag| tag.to_str().ok()).map(|tag| tag.trim().to_owned());
    let fragment = body_of(request, FRAGMENT).await?;
    let sentence = "say which ICE session is meant: If-Match with the last ETag, or * to restart ICE";
    let tag = tag.ok_or_else(|| Refused::new(StatusCode::PRECONDITION_REQUIRED, sentence))?;
    let fragment =
        IceFragment::parse(&fragment).map_err(|refusal| Refused::new(StatusCode::BAD_REQUEST, refusal.to_string()))?;
    let tag = (tag != "*").then(|| tag.trim_matches('"').to_owned());
    match patch_visit(hub, room, session, fragment, tag).await {
        Ok(None) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Some(answer)) => {
            let tag = etag(&answer);
            Ok((StatusCode::OK, [(CONTENT_TYPE, FRAGMENT.to_owned()), (ETAG, tag)], answer).into_response())
        }
        Err(error) if error.message == STALE => Err(Refused::new(StatusCode::PRECONDITION_FAILED, STALE)),
        Err(error) => Err(error.into()),
    }
}

/// The tag of the ICE session that a description of ours begins.
fn etag(description: &str) -> String {
    format!("\"{}\"", tag_of(description).unwrap_or_default())
}

/// The claims of the token (RFC 6750 section 2.1).
fn authorise(hub: &Hub, headers: &HeaderMap, room: &str) -> Result<Claims, Refused> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    let token = value.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let Some(token) = token else {
        let sentence = "send a join token as `Authorization: Bearer ...`; `segue-relay token create` makes one";
        return Err(Refused::new(StatusCode::UNAUTHORIZED, sentence));
    };
    hub.keys.verify(token, Some(room)).map_err(|error| {
        hub.metrics.count_error(error.code());
        Refused(status_of(error.code()), error.to_string())
    })
}

fn not_granted(grant: &'static str) -> Refused {
    VisitError::from(segue_session::room::RoomError::NotPermitted(grant)).into()
}

/// The offer in a request.
async fn offer_of(request: Request) -> Result<String, Refused> {
    body_of(request, SDP).await
}

/// The body of a request, which has to be of this type.
async fn body_of(request: Request, wanted: &str) -> Result<String, Refused> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted) {
        let sentence = format!("the description goes into the body as it is: send it with `Content-Type: {wanted}`");
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence));
    }
    let body = timeout(BODY_DEADLINE, Bytes::from_request(request, &())).await;
    let body =
        body.map_err(|_| Refused::new(StatusCode::REQUEST_TIMEOUT, "the offer did not come in time; send it at once"))?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("an offer has at most {MAX_SDP} bytes: offer fewer sections or codecs"),
        ),
        status => Refused::new(status, "the body could not be read; send the whole offer"),
    })?;
    String::from_utf8(body.into())
        .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the offer is not UTF-8; send the text as it is"))
}

fn created(place: &str, secret: &str, answer: String) -> Response {
    let location = format!("{}/{secret}", place.trim_end_matches('/'));
    let headers = [(CONTENT_TYPE, SDP.to_owned()), (LOCATION, location), (ETAG, etag(&answer))];
    (StatusCode::CREATED, headers, answer).into_response()
}
