//! Names and remarks are the learner's, and as long as they like; a picture says them again and again, and so it says their beginnings.

use std::borrow::Cow;

use threadbook_timeline::fold::{Lane, LaneEnd, Timeline};

/// Longest a name is that a picture says, in characters.
const MOST_NAME: usize = 60;
/// Longest a remark is.
const MOST_REMARK: usize = 240;

/// The timeline, with what learners may make as long as they like cut to what a picture can say again and again.
pub fn with_short_names(timeline: &Timeline) -> Cow<'_, Timeline> {
    let lane_is_long = |lane: &Lane| {
        let panicked =
            matches!(&lane.end, LaneEnd::Panicked(message) if message.len() > MOST_REMARK);
        panicked
            || lane.name.len() > MOST_NAME
            || lane.marks.iter().any(|mark| mark.text.len() > MOST_REMARK)
            || lane
                .regions
                .iter()
                .any(|region| region.text.len() > MOST_REMARK)
    };
    let is_long = timeline.lanes.iter().any(lane_is_long)
        || timeline
            .objects
            .iter()
            .any(|object| object.name.len() > MOST_NAME);
    if !is_long {
        return Cow::Borrowed(timeline);
    }
    let mut timeline = timeline.clone();
    for lane in &mut timeline.lanes {
        shorten(&mut lane.name, MOST_NAME);
        if let LaneEnd::Panicked(message) = &mut lane.end {
            shorten(message, MOST_REMARK);
        }
        for mark in &mut lane.marks {
            shorten(&mut mark.text, MOST_REMARK);
        }
        for region in &mut lane.regions {
            shorten(&mut region.text, MOST_REMARK);
        }
    }
    for object in &mut timeline.objects {
        shorten(&mut object.name, MOST_NAME);
    }
    Cow::Owned(timeline)
}

fn shorten(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
}
