//! Follows a plan: first a full picture, then each change until it is over.

use std::collections::BTreeMap;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use vtplan_planner::plan::{Plan, StepId};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{PlanRecord, PlanStatus, StepProgress};
use vtplan_state::store::{Change, Entry, WatchEvent, WatchStream};

use super::{SubmitError, load};

/// A plan with the progress of its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanPicture {
    /// Of a large plan, `desired` and `plan` are null in it.
    pub record: PlanRecord,
    pub plan: Plan,
    /// Those that were started.
    pub steps: BTreeMap<StepId, StepProgress>,
    pub stop_requested: bool,
}

/// What [`attach`] tells.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanUpdate {
    /// The first one, and again when the connection was lost for so long that changes were missed.
    Picture(Box<PlanPicture>),
    Step(StepProgress),
    StopRequested,
    /// The plan's status changed. When it is over, this is the last update.
    Status(PlanStatus),
}

/// The updates of a plan, from a full picture until it is over. A plan that is over already gives
/// its picture alone.
pub async fn attach(
    cluster: &Cluster,
    id: &str,
) -> Result<BoxStream<'static, Result<PlanUpdate, SubmitError>>, SubmitError> {
    let stored = load(cluster, id).await?;
    // Every id has the same length: no other plan's records start with this one's key.
    let prefix = cluster.plan_prefix(id);
    let listing = cluster.store().list(&prefix).await?;
    let follow = Follow {
        id: id.to_owned(),
        keys: cluster.keys().clone(),
        plan: stored.plan,
    };
    let picture = follow.picture(&listing.entries)?;
    let over = picture.record.status.is_over();
    let first = stream::iter([Ok(PlanUpdate::Picture(Box::new(picture)))]);
    if over {
        return Ok(first.boxed());
    }
    let watch = cluster.store().watch(&prefix, listing.revision + 1).await?;
    Ok(first.chain(follow.updates(watch)).boxed())
}

struct Follow {
    id: String,
    keys: Keys,
    plan: Plan,
}

impl Follow {
    fn picture(&self, entries: &[Entry]) -> Result<PlanPicture, SubmitError> {
        let mut record = None;
        let mut steps = BTreeMap::new();
        let mut stop_requested = false;
        for entry in entries {
            match self.read(entry)? {
                Some(Read::Record(read)) => record = Some(*read),
                Some(Read::Step(step)) => {
                    steps.insert(step.step.clone(), step);
                }
                Some(Read::Stop) => stop_requested = true,
                None => {}
            }
        }
        let Some(record) = record else {
            return Err(SubmitError::NoSuchPlan {
                id: self.id.clone(),
                cluster: self.keys.cluster_name().to_owned(),
            });
        };
        Ok(PlanPicture {
            record,
            plan: self.plan.clone(),
            steps,
            stop_requested,
        })
    }

    fn read(&self, entry: &Entry) -> Result<Option<Read>, SubmitError> {
        Ok(if entry.key == self.keys.plan(&self.id) {
            Some(Read::Record(Box::new(entry.json()?)))
        } else if entry.key == self.keys.plan_control(&self.id) {
            Some(Read::Stop)
        } else if entry.key.starts_with(&self.keys.plan_steps(&self.id)) {
            Some(Read::Step(entry.json()?))
        } else {
            None
        })
    }

    fn updates(
        self,
        watch: WatchStream,
    ) -> impl stream::Stream<Item = Result<PlanUpdate, SubmitError>> + Send + 'static {
        let batches = watch.map(move |event| match event {
            Ok(event) => self.translate(event),
            Err(error) => vec![Err(error.into())],
        });
        // `scan` sees each update and ends the stream after the last one.
        batches
            .flat_map(stream::iter)
            .scan(false, |over, update| {
                if *over {
                    return std::future::ready(None);
                }
                *over = match &update {
                    Ok(PlanUpdate::Status(status)) => status.is_over(),
                    Ok(PlanUpdate::Picture(picture)) => picture.record.status.is_over(),
                    Ok(_) => false,
                    Err(_) => true,
                };
                std::future::ready(Some((update, *over)))
            })
            // Ends with the last update itself, not with the event after it.
            .flat_map(|(update, over)| {
                let end = over.then_some(None);
                stream::iter(std::iter::once(Some(update)).chain(end))
            })
            .take_while(|item| std::future::ready(item.is_some()))
            .filter_map(std::future::ready)
    }

    fn translate(&self, event: WatchEvent) -> Vec<Result<PlanUpdate, SubmitError>> {
        match event {
            WatchEvent::Resync(listing) => {
                let picture = self.picture(&listing.entries);
                vec![picture.map(|picture| PlanUpdate::Picture(Box::new(picture)))]
            }
            WatchEvent::Changes { changes, .. } => {
                let mut updates: Vec<_> = changes
                    .iter()
                    .filter_map(|change| self.translate_change(change).transpose())
                    .collect();
                // The end of the plan comes last, whatever else its transaction wrote.
                updates.sort_by_key(|update| matches!(update, Ok(PlanUpdate::Status(_))));
                updates
            }
        }
    }

    fn translate_change(&self, change: &Change) -> Result<Option<PlanUpdate>, SubmitError> {
        match change {
            Change::Put(entry) => Ok(self.read(entry)?.map(|read| match read {
                Read::Record(record) => PlanUpdate::Status(record.status),
                Read::Step(step) => PlanUpdate::Step(step),
                Read::Stop => PlanUpdate::StopRequested,
            })),
            Change::Delete { key } if *key == self.keys.plan(&self.id) => {
                Err(SubmitError::NoSuchPlan {
                    id: self.id.clone(),
                    cluster: self.keys.cluster_name().to_owned(),
                })
            }
            Change::Delete { .. } => Ok(None),
        }
    }
}

enum Read {
    Record(Box<PlanRecord>),
    Step(StepProgress),
    Stop,
}
