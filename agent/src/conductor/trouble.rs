//! A plan that no longer fits the cluster. A host that is away for a moment makes planning give
//! something else for a moment, so trouble must last before it ends a plan; while it lasts nothing
//! is started.

use tokio::time::Instant;

use super::Settings;

#[derive(Debug, Default)]
pub(super) struct Trouble {
    found: Option<Found>,
}

#[derive(Debug)]
struct Found {
    since: Instant,
    times: u32,
    text: String,
    /// Whether at any time the whole cluster was seen and it was there.
    partial: bool,
}

impl Trouble {
    pub fn is_there(&self) -> bool {
        self.found.is_some()
    }

    pub fn gone(&mut self) {
        self.found = None;
    }

    /// `partial`: the cluster is not seen completely, so it may pass.
    pub fn found(&mut self, text: String, partial: bool, _settings: &Settings) {
        tracing::warn!(partial, "{text}");
        let found = self.found.get_or_insert_with(|| Found {
            since: Instant::now(),
            times: 0,
            text: String::new(),
            partial,
        });
        found.times += 1;
        found.text = text;
        found.partial = partial;
    }

    /// What is wrong, when it has lasted.
    pub fn verdict(&mut self, settings: &Settings) -> Option<String> {
        let found = self.found.as_ref()?;
        let patience = if found.partial {
            settings.absence_patience
        } else {
            settings.trouble_patience
        };
        let lasted = found.times >= 3 && found.since.elapsed() >= patience;
        lasted.then(|| found.text.clone())
    }
}
