//! Making a generation, and getting rid of the ones before.
//!
//! One call creates all new units, or none of them. So that one wrong unit harms no other, a call that systemd turns down
//! is taken apart: a unit that is still loaded is left out, and whichever property was wrong is found by halving. Parts made
//! on the way have keepers of their own until one last keeper holds everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::manager::{BusError, Job, JobEnd, Jobs, Systemd, Verb, sleep, within};
use crate::unit::{KEEPER_PARENT, UNIT_PATTERN, UnitDraft, container_of, keeper_name, unit_name};

/// How long to wait for a keeper to start or stop. It does either at once, unless the host is shutting down.
const KEEPER_LIMIT: Duration = Duration::from_secs(5);

/// How long systemd may take to forget units.
const FORGET_LIMIT: Duration = Duration::from_secs(3);

/// Units created in one call. The system bus takes 32 MB in one message, and a unit is about 2.5 kB.
const BATCH: usize = 4000;

/// Single units that may be turned down before the whole attempt is given up: then it is not their fault.
const MAX_REFUSED: usize = 100;

/// Why one unit was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotMade {
    /// It is still loaded.
    StillLoaded(String),
    /// systemd did not like it.
    Refused(String),
}

/// Makes keepers.
#[derive(Debug)]
pub(super) struct Generations<'a> {
    systemd: &'a Systemd,
    jobs: Jobs,
    active: BTreeSet<u64>,
    next: u64,
    current: Option<u64>,
}

/// What became of the units of one generation.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Created, by container.
    pub(super) drafts: BTreeMap<String, UnitDraft>,
    /// Not created, by container.
    pub(super) not_made: BTreeMap<String, NotMade>,
}

impl<'a> Generations<'a> {
    /// Continues after the keepers that are there.
    pub(super) async fn after(
        systemd: &'a Systemd,
        keepers: &[u64],
        recorded: u64,
    ) -> Result<Self, BusError> {
        let last = keepers.iter().copied().max().unwrap_or(0).max(recorded);
        Ok(Self {
            systemd,
            jobs: Jobs::subscribe(systemd).await?,
            active: keepers.iter().copied().collect(),
            next: last + 1,
            current: None,
        })
    }

    /// The generation that holds everything; 0 when nothing is held.
    pub(super) fn current(&self) -> u64 {
        self.current.unwrap_or(0)
    }

    /// Creates units, with one keeper that holds `held` and them.
    pub(super) async fn make(
        &mut self,
        held: &BTreeSet<String>,
        units: Vec<UnitDraft>,
    ) -> Result<Made, BusError> {
        let mut made = Made::default();
        let mut batches: Vec<Vec<UnitDraft>> =
            units.chunks(BATCH).map(<[UnitDraft]>::to_vec).collect();
        let mut complete = false;
        while let Some(batch) = batches.pop() {
            let last = batches.is_empty();
            let names: BTreeSet<String> = batch.iter().filter_map(container).collect();
            let holds = if last {
                self.everything(held, &made, &names)
            } else {
                names
            };
            match self.start(&holds, &batch).await {
                Ok(()) => {
                    complete = last;
                    made.drafts.extend(
                        batch
                            .into_iter()
                            .filter_map(|unit| Some((container(&unit)?, unit))),
                    );
                }
                Err(error) if error.is_answer() => {
                    batches.extend(take_apart(batch, error, &mut made)?)
                }
                Err(error) => return Err(error),
            }
        }
        let holds = self.everything(held, &made, &BTreeSet::new());
        if !complete && !holds.is_empty() {
            self.start(&holds, &[]).await?;
        }
        Ok(made)
    }

    /// What the last keeper of a generation holds: a unit that is still loaded stays declared.
    fn everything(
        &self,
        held: &BTreeSet<String>,
        made: &Made,
        batch: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let refused = made
            .not_made
            .iter()
            .filter(|(_, why)| matches!(why, NotMade::Refused(_)))
            .map(|(name, _)| name);
        let refused: BTreeSet<&String> = refused.collect();
        let all = held
            .iter()
            .chain(made.drafts.keys())
            .chain(made.not_made.keys())
            .chain(batch);
        all.filter(|name| !refused.contains(name))
            .cloned()
            .collect()
    }

    async fn start(
        &mut self,
        holds: &BTreeSet<String>,
        units: &[UnitDraft],
    ) -> Result<(), BusError> {
        let generation = self.next;
        self.next += 1;
        let held = holds.iter().map(|name| unit_name(name)).collect();
        let job = self
            .systemd
            .start_keeper(&keeper_name(generation), held, units)
            .await?;
        self.active.insert(generation);
        match within(KEEPER_LIMIT, self.jobs.wait(&job)).await {
            Some(Ok(JobEnd::Other(end))) => {
                return Err(BusError::Reply(format!("the keeper did not start: {end}")));
            }
            Some(Err(error)) => return Err(error),
            // While its job waits, the keeper holds its units as well.
            Some(Ok(JobEnd::Done)) | None => {}
        }
        self.current = Some(generation);
        Ok(())
    }

    /// Stops every keeper but the current one.
    pub(super) async fn retire(&mut self) -> Result<(), BusError> {
        let old: Vec<u64> = self
            .active
            .iter()
            .copied()
            .filter(|keeper| Some(*keeper) != self.current)
            .collect();
        let mut jobs = Vec::new();
        for keeper in &old {
            jobs.extend(self.stop(&keeper_name(*keeper)).await?);
        }
        for job in &jobs {
            if let Some(Err(error)) = within(KEEPER_LIMIT, self.jobs.wait(job)).await {
                return Err(error);
            }
        }
        self.active.retain(|keeper| Some(*keeper) == self.current);
        Ok(())
    }

    /// Stops everything of ours that is not a container: nothing is declared any more.
    pub(super) async fn retire_all(&mut self) -> Result<(), BusError> {
        self.current = None;
        self.retire().await?;
        self.stop(KEEPER_PARENT).await.map(|_| ())
    }

    async fn stop(&self, unit: &str) -> Result<Option<Job>, BusError> {
        match self.systemd.queue(Verb::Stop, unit).await {
            Ok(job) => Ok(Some(job)),
            Err(BusError::NoSuchUnit(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until systemd has forgotten units, and returns those that it has not.
    pub(super) async fn wait_forgotten(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, BusError> {
        let mut pause = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            let listed = self.systemd.list_patterns(&[UNIT_PATTERN]).await?;
            let loaded = listed.iter().filter(|unit| unit.load != "not-found");
            let loaded: BTreeSet<&str> =
                loaded.filter_map(|unit| container_of(&unit.name)).collect();
            let left: BTreeSet<String> = names
                .iter()
                .filter(|name| loaded.contains(name.as_str()))
                .cloned()
                .collect();
            if left.is_empty() || waited > FORGET_LIMIT {
                return Ok(left);
            }
            sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

fn container(unit: &UnitDraft) -> Option<String> {
    container_of(&unit.name).map(str::to_owned)
}

/// The batches to try instead of one that systemd turned down.
fn take_apart(
    mut batch: Vec<UnitDraft>,
    error: BusError,
    made: &mut Made,
) -> Result<Vec<Vec<UnitDraft>>, BusError> {
    if let BusError::UnitExists(reason) = &error
        && let Some(at) = batch
            .iter()
            .position(|unit| reason.contains(unit.name.as_str()))
    {
        let name = container(&batch.remove(at)).unwrap_or_default();
        made.not_made
            .insert(name, NotMade::StillLoaded(reason.clone()));
        return Ok(non_empty(vec![batch]));
    }
    if let [only] = batch.as_slice() {
        let name = container(only).unwrap_or_default();
        let why = match &error {
            BusError::UnitExists(reason) => NotMade::StillLoaded(reason.clone()),
            other => NotMade::Refused(other.to_string()),
        };
        made.not_made.insert(name, why);
        return if made.not_made.len() > MAX_REFUSED {
            Err(error)
        } else {
            Ok(Vec::new())
        };
    }
    if batch.is_empty() {
        return Err(error);
    }
    let rest = batch.split_off(batch.len() / 2);
    Ok(vec![batch, rest])
}

fn non_empty(batches: Vec<Vec<UnitDraft>>) -> Vec<Vec<UnitDraft>> {
    batches
        .into_iter()
        .filter(|batch| !batch.is_empty())
        .collect()
}
