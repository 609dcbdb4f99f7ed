//! Names from earlier recordings.

use std::collections::HashMap;

use super::timeline::Timeline;
use crate::format::{MAIN_TASK, ObjectKind};

/// Names from earlier recordings, for tasks and objects that live longer than one.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub(super) tasks: HashMap<u32, String>,
    pub(super) objects: HashMap<u32, (ObjectKind, Option<String>)>,
}

impl Known {
    /// Takes over what a task is called.
    pub fn name_task(&mut self, task: u32, name: &str) {
        self.tasks.insert(task, name.to_owned());
    }

    /// Tells whether a task is one of an earlier recording.
    pub fn has_task(&self, task: u32) -> bool {
        task != MAIN_TASK && self.tasks.contains_key(&task)
    }

    /// What an earlier recording called a task.
    pub fn task(&self, task: u32) -> Option<&str> {
        self.tasks.get(&task).map(String::as_str)
    }

    /// Takes over what a timeline has names for.
    pub fn learn(&mut self, timeline: &Timeline) {
        for lane in &timeline.lanes {
            self.tasks.insert(lane.task, lane.name.clone());
        }
        for object in &timeline.objects {
            self.objects.insert(
                object.id,
                (object.kind, object.named.then(|| object.name.clone())),
            );
        }
    }
}
