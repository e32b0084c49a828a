//! The ends of jobs.
//!
//! Subscribed to before the call that queues a job, or its end could be missed.

use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;

use futures_core::Stream;
use zbus::{MatchRule, MessageStream, OwnedObjectPath};

use super::{BusError, Systemd};

/// How many signals may wait to be read. A full queue stalls the whole connection, and a host that boots ends thousands
/// of jobs while one call of ours is under way.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1 << 17).unwrap();

/// Answer to a second subscription.
const ALREADY: &str = "org.freedesktop.systemd1.AlreadySubscribed";

/// A queued job.
pub type Job = OwnedObjectPath;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It did what it should.
    Done,
    /// `failed`, `canceled`, `timeout`, `dependency`, `skipped` ...
    Other(String),
}

/// A subscription to the ends of jobs.
#[derive(Debug)]
pub struct Jobs {
    stream: MessageStream,
    ended: HashMap<String, JobEnd>,
}

impl Jobs {
    /// Subscribes.
    ///
    /// # Errors
    /// As every call.
    pub async fn subscribe(systemd: &Systemd) -> Result<Self, BusError> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface("org.freedesktop.systemd1.Manager")
            .member("JobRemoved")
            .build()
            .map_err(|error| BusError::Reply(error.to_string()))?;
        let stream = MessageStream::for_match_rule(rule, &systemd.connection, Some(QUEUE)).await;
        let stream = stream.map_err(|error| BusError::of_call("AddMatch", error))?;
        let subscribed = systemd.manager.subscribe().await;
        match subscribed.map_err(|error| BusError::of_call("Subscribe", error)) {
            // systemd counts clients, and this one has subscribed before: for another verb, or inside apply.
            Err(BusError::Refused { name, .. }) if name == ALREADY => {}
            result => result?,
        }
        Ok(Self {
            stream,
            ended: HashMap::new(),
        })
    }

    /// Waits until a job ends.
    ///
    /// # Errors
    /// [`BusError::Lost`] when the connection ends before.
    pub async fn wait(&mut self, job: &Job) -> Result<JobEnd, BusError> {
        loop {
            if let Some(end) = self.ended.remove(job.as_str()) {
                return Ok(end);
            }
            match poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await {
                Some(Ok(message)) => self.note(&message),
                Some(Err(error)) => return Err(BusError::Lost(error.to_string())),
                None => return Err(BusError::Lost("it was closed".to_owned())),
            }
        }
    }

    fn note(&mut self, message: &zbus::Message) {
        // A signal of another shape is not for us.
        if let Ok((_, job, _, result)) = message
            .body()
            .deserialize::<(u32, OwnedObjectPath, String, String)>()
        {
            let end = match result.as_str() {
                "done" => JobEnd::Done,
                _ => JobEnd::Other(result),
            };
            self.ended.insert(job.to_string(), end);
        }
    }
}
