//! A real Chromium, driven through its DevTools protocol.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// How long a browser may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// How long one evaluated expression may take.
const CALL: Duration = Duration::from_secs(60);

type Pending = (Value, oneshot::Sender<Result<Value, String>>);

/// What pages complained about: session of the tab, and the words.
type Complaints = Arc<Mutex<Vec<(String, String)>>>;

/// A browser process with a profile folder of its own; both go when it is dropped.
pub struct Browser {
    _process: Child,
    profile: PathBuf,
    calls: mpsc::Sender<Pending>,
    complaints: Complaints,
    lenient: bool,
}

/// One tab.
pub struct Tab<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts Chromium without a window, as a person would start it but for its fake camera and microphone, allowed without asking.
    ///
    /// # Panics
    /// Where Chromium is missing or does not start: a test that needs it must not pass without it.
    pub async fn start(name: &str) -> Self {
        Self::launch(name, &["--use-fake-ui-for-media-stream"]).await
    }

    /// As a person has it who did not let the page use camera and microphone: Chromium tells other participants names of multicast DNS
    /// instead of its addresses.
    ///
    /// # Panics
    /// As [`Browser::start`].
    pub async fn start_without_permissions(name: &str) -> Self {
        Self::launch(name, &["--enable-features=WebRtcHideLocalIpsWithMdns"]).await
    }

    /// From now on pages may run what their content policy forbids, as the meters of a measurement.
    #[must_use]
    pub fn without_content_policy(mut self) -> Self {
        self.lenient = true;
        self
    }

    async fn launch(name: &str, flags: &[&str]) -> Self {
        let profile = std::env::temp_dir().join(format!("segue-chromium-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("a profile folder");
        let mut process = Command::new("chromium")
            .args(FLAGS)
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed: `cargo xtask doctor` brings it");
        let errors = process.stderr.take().expect("standard error is piped");
        let url = tokio::time::timeout(START, devtools_url(errors)).await.expect("chromium starts");
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("the DevTools port answers");
        let (calls, receiver) = mpsc::channel(64);
        let complaints = Complaints::default();
        tokio::spawn(drive(socket, receiver, complaints.clone()));
        Self { _process: process, profile, calls, complaints, lenient: false }
    }

    /// Opens a page in a window of its own. `script` runs before anything of the page does.
    ///
    /// # Panics
    /// Where Chromium refuses.
    pub async fn open(&self, url: &str, script: &str) -> Tab<'_> {
        let window = json!({ "url": "about:blank", "newWindow": true, "width": 1280, "height": 800 });
        let target = self.call(json!({ "method": "Target.createTarget", "params": window })).await;
        let attach =
            json!({ "method": "Target.attachToTarget", "params": { "targetId": target["targetId"], "flatten": true } });
        let session = self.call(attach).await["sessionId"].as_str().expect("a session").to_owned();
        let tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        if self.lenient {
            tab.call("Page.setBypassCSP", json!({ "enabled": true })).await;
        }
        tab.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
        tab.navigate(url).await;
        tab
    }

    async fn call(&self, message: Value) -> Value {
        let method = message["method"].clone();
        let (answer, receiver) = oneshot::channel();
        self.calls.send((message, answer)).await.expect("the browser lives");
        let result = tokio::time::timeout(CALL, receiver).await.unwrap_or_else(|_| panic!("{method}: no answer"));
        result.expect("the browser lives").unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Best effort: the folder stands in the system's temporary place.
        let _gone = std::fs::remove_dir_all(&self.profile);
    }
}

impl Tab<'_> {
    /// Goes to another address, and waits until it is loaded.
    ///
    /// # Panics
    /// Where Chromium refuses.
    pub async fn navigate(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        let loaded = format!("document.readyState === 'complete' && location.href.startsWith({})", json!(url));
        self.wait_for(&loaded, CALL, "location.href").await;
    }

    /// As if the window were this large, in CSS pixels.
    ///
    /// # Panics
    /// Where Chromium refuses.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Exceptions nobody caught, errors and warnings the page wrote, files that did not load.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let all = self.browser.complaints.lock().expect("nobody panics with it");
        all.iter().filter(|(session, _)| *session == self.session).map(|(_, words)| words.clone()).collect()
    }

    /// Evaluates an expression (promises are awaited) and returns its value as JSON.
    ///
    /// # Panics
    /// With the page's own exception.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.call("Runtime.evaluate", parameters).await;
        if let Some(details) = result.get("exceptionDetails") {
            let text = details["exception"]["description"].as_str().unwrap_or_else(|| details["text"].as_str().unwrap_or("?"));
            panic!("in the page: {text}\nof: {expression}");
        }
        result["result"]["value"].clone()
    }

    /// Evaluates until the value is truthy.
    ///
    /// # Panics
    /// Where that takes longer than `limit`, with what `describe` evaluates to.
    pub async fn wait_for(&self, expression: &str, limit: Duration, describe: &str) -> Value {
        match self.try_wait_for(expression, limit).await {
            Some(value) => value,
            None => panic!("the page never had {expression}; it has {}", self.describe(describe).await),
        }
    }

    /// What `expression` evaluates to, for people, and what the page complains about.
    ///
    /// # Panics
    /// With the page's own exception.
    pub async fn describe(&self, expression: &str) -> String {
        let found = self.evaluate(expression).await;
        let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        format!("{found}\nand complains {:#?}", self.complaints())
    }

    /// Evaluates until the value is truthy; `None` where that takes longer than `limit`.
    ///
    /// # Panics
    /// With the page's own exception.
    pub async fn try_wait_for(&self, expression: &str, limit: Duration) -> Option<Value> {
        let attempts = limit.as_millis() / POLL.as_millis();
        for _ in 0..attempts {
            let value = self.evaluate(expression).await;
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0) && value != json!("") {
                return Some(value);
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    /// Writes a PNG of the page.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub async fn screenshot(&self, file: &Path) {
        self.call("Page.bringToFront", json!({})).await;
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for screenshots");
        std::fs::write(file, bytes).expect("the screenshot is written");
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.browser.call(json!({ "method": method, "params": parameters, "sessionId": self.session })).await
    }
}

/// Between two looks at a page.
const POLL: Duration = Duration::from_millis(200);

const FLAGS: [&str; 15] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--auto-select-desktop-capture-source=Entire screen",
    "--autoplay-policy=no-user-gesture-required",
];

async fn devtools_url(errors: tokio::process::ChildStderr) -> String {
    let mut lines = BufReader::new(errors).lines();
    let mut url = None;
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(found) = line.strip_prefix("DevTools listening on ") {
            url = Some(found.to_owned());
            break;
        }
    }
    // The pipe is read to its end, or a talkative browser would block on it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    url.expect("chromium names its DevTools port")
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Numbers calls, matches answers; ends with the browser or with the last caller.
async fn drive(socket: Socket, mut calls: mpsc::Receiver<Pending>, complaints: Complaints) {
    let (mut write, mut read) = socket.split();
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Value, String>>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            call = calls.recv() => {
                let Some((mut message, answer)) = call else { return };
                number += 1;
                message["id"] = json!(number);
                waiting.insert(number, answer);
                if write.send(Message::text(message.to_string())).await.is_err() { return }
            }
            message = read.next() => {
                let Some(Ok(message)) = message else { return };
                let Ok(text) = message.into_text() else { continue };
                let Ok(mut value) = serde_json::from_str::<Value>(&text) else { continue };
                if let (Some(words), Some(session)) = (complaint(&value), value["sessionId"].as_str()) {
                    complaints.lock().expect("nobody panics with it").push((session.to_owned(), words));
                }
                let Some(answer) = value["id"].as_u64().and_then(|id| waiting.remove(&id)) else { continue };
                let result = match value.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(value["result"].take()),
                };
                let _nobody_waits = answer.send(result);
            }
        }
    }
}

/// What an event of the DevTools protocol complains about, if it does.
fn complaint(event: &Value) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => {
            let details = &parameters["exceptionDetails"];
            Some(details["exception"]["description"].as_str().or(details["text"].as_str()).unwrap_or("an exception").to_owned())
        }
        "Runtime.consoleAPICalled" if matches!(parameters["type"].as_str(), Some("error" | "warning")) => {
            Some(parameters["args"].to_string())
        }
        "Log.entryAdded" if parameters["entry"]["level"] == "error" => Some(parameters["entry"]["text"].to_string()),
        _ => None,
    }
}
