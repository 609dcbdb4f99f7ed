//! What is alike, so that it can be told once: tasks whose names differ by digits only, and waits of such tasks for the same thing, at the same line, that
//! came to the same end. Groups of the drawing, of the text and of the story are alike by the same rule.

use std::collections::HashMap;
use std::hash::Hash;

use threadbook_timeline::fold::{Deadlock, Lane, Nanos, Object, Span, State, Timeline};
use threadbook_timeline::format::{MAIN_TASK, Reason};

/// So many that are alike are a group; fewer are told one by one.
pub const FEWEST: usize = 4;
/// Of one group, so many that took far longer than the others are told by themselves.
const MOST_ODD: usize = 2;

/// A name without its digits, and without what stood between those and the rest.
pub fn stem(name: &str) -> String {
    let stem: String = name.chars().filter(|c| !c.is_numeric()).collect();
    let stem = stem.trim_matches(|c: char| c.is_whitespace() || "-_#.:".contains(c));
    if stem.is_empty() {
        "task".into()
    } else {
        stem.into()
    }
}

/// Sorts tasks into those that are alike by name and by `what`, in the order of the first of each; where those are too few, each is by itself.
pub fn tasks<'a, K: Hash + Eq>(
    lanes: impl IntoIterator<Item = (&'a Lane, K)>,
) -> Vec<Vec<&'a Lane>> {
    let mut places: HashMap<(String, K), usize> = HashMap::new();
    let mut groups: Vec<Vec<(usize, &Lane)>> = Vec::new();
    for (order, (lane, what)) in lanes.into_iter().enumerate() {
        let name = if lane.task == MAIN_TASK {
            String::new()
        } else {
            stem(&lane.name)
        };
        let place = *places.entry((name, what)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push((order, lane));
    }
    let mut groups: Vec<Vec<(usize, &Lane)>> = groups
        .into_iter()
        .flat_map(|group| match group.len() {
            0..FEWEST => group.into_iter().map(|one| vec![one]).collect(),
            _ => vec![group],
        })
        .collect();
    groups.sort_by_key(|group| group[0].0);
    let lanes_of = |group: Vec<(usize, &'a Lane)>| group.into_iter().map(|one| one.1).collect();
    groups.into_iter().map(lanes_of).collect()
}

/// Which of several lengths stick out: those that are more than four times the median, and longer than `long`; the longest ones, at most two. Gives their places.
pub fn odd_ones(lengths: &[Nanos], long: Nanos) -> Vec<usize> {
    let mut sorted = lengths.to_vec();
    if sorted.is_empty() {
        return Vec::new();
    }
    let middle = sorted.len() / 2;
    let median = sorted.select_nth_unstable(middle).1.0;
    let is_odd = |place: &usize| {
        let length = lengths[*place];
        length.0 > median.saturating_mul(4) && length > long
    };
    let mut odd: Vec<usize> = (0..lengths.len()).filter(is_odd).collect();
    odd.sort_by_key(|place| std::cmp::Reverse((lengths[*place], *place)));
    odd.truncate(MOST_ODD);
    odd
}

/// How long a wait is at least that sticks out among shorter ones.
pub fn long_wait(timeline: &Timeline) -> Nanos {
    Nanos(timeline.end.0 / 50)
}

/// How a wait came to its end, as far as that sets it apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// It did.
    Over,
    /// It went on.
    Open,
    /// A deadlock was found.
    InVain(bool),
}

impl End {
    fn of(span: &Span) -> End {
        match (span.deadlocked, span.until) {
            (Some(how), _) => End::InVain(how == Deadlock::Ring),
            (None, None) => End::Open,
            (None, Some(_)) => End::Over,
        }
    }
}

/// Who ended waits that are told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The same task all of them, or of none it is known.
    One(Option<u32>),
    /// Several tasks.
    Several,
}

/// One wait, or several that are alike.
#[derive(Debug, Clone)]
pub struct Waits<'a> {
    /// What sets them apart from others, but for the tasks and the things.
    pub reason: Reason,
    pub site: Option<u16>,
    pub end: End,
    /// The task that waited first; of a group the one that is drawn first.
    pub lane: &'a Lane,
    /// What it waited for.
    pub object: u32,
    /// How many tasks waited, and for how many things.
    pub tasks: usize,
    pub objects: usize,
    pub times: usize,
    pub in_all: Nanos,
    /// The longest of them, and whose it was.
    pub longest: (&'a Lane, &'a Span),
    pub by: By,
    /// Where the first stands among all: lane by lane, and in each by time.
    pub order: usize,
}

impl<'a> Waits<'a> {
    fn of(timeline: &Timeline, lane: &'a Lane, span: &'a Span, order: usize) -> Option<Waits<'a>> {
        let State::Blocked { reason, object } = span.state else {
            return None;
        };
        Some(Waits {
            reason,
            site: span.site,
            end: End::of(span),
            lane,
            object,
            tasks: 1,
            objects: 1,
            times: 1,
            in_all: span.length(timeline.end),
            longest: (lane, span),
            by: By::One(span.woken_by),
            order,
        })
    }

    /// Whether a wait is one of these.
    pub fn has(&self, span: &Span) -> bool {
        let is_for = matches!(span.state, State::Blocked { reason, object } if (reason, object) == (self.reason, self.object));
        is_for && span.site == self.site && End::of(span) == self.end
    }

    fn add(&mut self, other: &Waits<'a>, end: Nanos) {
        self.times += other.times;
        self.in_all.0 = self.in_all.0.saturating_add(other.in_all.0);
        if other.longest.1.length(end) > self.longest.1.length(end) {
            self.longest = other.longest;
        }
        if self.by != other.by {
            self.by = By::Several;
        }
    }
}

/// All waits that `takes` takes, those of one task for one thing at one line together, in the order of the lanes. Takes O(n) in spans.
pub fn by_task<'a>(timeline: &'a Timeline, takes: impl Fn(&Lane, &Span) -> bool) -> Vec<Waits<'a>> {
    let mut all: Vec<Waits<'a>> = Vec::new();
    let mut order = 0;
    for lane in &timeline.lanes {
        let first = all.len();
        let mut places = HashMap::new();
        for span in &lane.spans {
            let Some(one) = Waits::of(timeline, lane, span, order) else {
                continue;
            };
            order += 1;
            if !takes(lane, span) {
                continue;
            }
            // Mostly a task waits at one line again and again, or once in all.
            let place = match all[first..].last() {
                None => None,
                Some(last) if last.has(span) => Some(all.len() - 1),
                Some(_) => {
                    if places.is_empty() {
                        let known = all.iter().enumerate().skip(first);
                        places.extend(known.map(|(place, waits)| (key(waits), place)));
                    }
                    places.get(&key(&one)).copied()
                }
            };
            match place {
                Some(place) => all[place].add(&one, timeline.end),
                None => {
                    if !places.is_empty() {
                        places.insert(key(&one), all.len());
                    }
                    all.push(one);
                }
            }
        }
    }
    all
}

fn key(waits: &Waits<'_>) -> (Reason, u32, Option<u16>, End) {
    (waits.reason, waits.object, waits.site, waits.end)
}

/// Of waits as [`by_task`] gives them those together that are alike, the odd ones out by themselves, in the same order. Where `things_too`, also those for
/// things whose names differ by digits only.
pub fn groups<'a>(timeline: &Timeline, all: Vec<Waits<'a>>, things_too: bool) -> Vec<Waits<'a>> {
    let mut names = Names::default();
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<Waits<'a>>> = Vec::new();
    for waits in all {
        let thing = names.thing(timeline, waits.reason, waits.object, things_too);
        let key = (
            names.task(waits.lane),
            thing,
            (waits.reason, waits.site, waits.end),
        );
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(waits);
    }
    let mut told: Vec<Waits<'a>> = Vec::new();
    for mut group in groups {
        if group.len() >= FEWEST {
            let longest = |waits: &Waits<'_>| waits.longest.1.length(timeline.end);
            let lengths: Vec<Nanos> = group.iter().map(longest).collect();
            let mut odd = odd_ones(&lengths, long_wait(timeline));
            if group.len() - odd.len() >= FEWEST {
                odd.sort_unstable_by(|a, b| b.cmp(a));
                told.extend(odd.into_iter().map(|place| group.remove(place)));
                told.extend(together(group, timeline.end));
                continue;
            }
        }
        told.extend(group);
    }
    told.sort_by_key(|waits| waits.order);
    told
}

/// Those of one group as one.
fn together(group: Vec<Waits<'_>>, end: Nanos) -> Option<Waits<'_>> {
    let mut tasks: Vec<u32> = group.iter().map(|waits| waits.lane.task).collect();
    let mut objects: Vec<u32> = group.iter().map(|waits| waits.object).collect();
    for all in [&mut tasks, &mut objects] {
        all.sort_unstable();
        all.dedup();
    }
    let mut rest = group.into_iter();
    let mut sum = rest.next()?;
    for waits in rest {
        sum.add(&waits, end);
    }
    // Whom a scope is of does not set it apart, and what it says of it is the same.
    sum.tasks = tasks.len();
    sum.objects = match sum.reason {
        Reason::Scope | Reason::Select | Reason::Sleep => 1,
        _ => objects.len(),
    };
    Some(sum)
}

/// What names have in common, by a number.
#[derive(Default)]
struct Names {
    stems: HashMap<String, u32>,
    tasks: HashMap<u32, u32>,
    objects: HashMap<u32, u32>,
}

/// What a wait is for, as far as it sets it apart.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Thing {
    One(u32),
    Like(u32),
    Any,
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        let next = self.stems.len() as u32;
        *self.stems.entry(name).or_insert(next)
    }

    fn task(&mut self, lane: &Lane) -> u32 {
        if let Some(known) = self.tasks.get(&lane.task) {
            return *known;
        }
        // Nobody is like main, whatever they are called.
        let number = match lane.task {
            MAIN_TASK => u32::MAX,
            _ => self.number(stem(&lane.name)),
        };
        self.tasks.insert(lane.task, number);
        number
    }

    fn thing(
        &mut self,
        timeline: &Timeline,
        reason: Reason,
        object: u32,
        things_too: bool,
    ) -> Thing {
        match reason {
            Reason::Scope | Reason::Select | Reason::Sleep => Thing::Any,
            Reason::Join => match timeline.lane(object) {
                Some(lane) => Thing::Like(self.task(lane)),
                None => Thing::One(object),
            },
            _ if !things_too => Thing::One(object),
            _ => {
                if let Some(known) = self.objects.get(&object) {
                    return Thing::Like(*known);
                }
                let name = timeline.object(object).map(Object::in_words);
                let number = self.number(stem(&name.unwrap_or_default()));
                self.objects.insert(object, number);
                Thing::Like(number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::script::trace;

    /// The waits as `tasks×objects×times first`.
    fn grouped(script: &str, things_too: bool) -> Vec<String> {
        let timeline = fold(&trace(script));
        let all = by_task(&timeline, |_, _| true);
        let told = groups(&timeline, all, things_too).into_iter();
        let words = |waits: Waits<'_>| {
            let Waits {
                tasks,
                objects,
                times,
                lane,
                ..
            } = waits;
            format!("{tasks}×{objects}×{times} {}", lane.name)
        };
        told.map(words).collect()
    }

    #[test]
    fn names_are_alike_up_to_their_digits() {
        for (name, want) in [
            ("baker 12", "baker"),
            ("thread-7", "thread"),
            ("t3 of 9", "t of"),
            ("42", "task"),
            ("größe 1", "größe"),
        ] {
            assert_eq!(stem(name), want, "{name}");
        }
    }

    #[test]
    fn four_that_are_alike_are_a_group_and_nobody_is_like_main() {
        let timeline = fold(&trace(
            "main spawn main1; main spawn main2; main spawn main3; main spawn ada; main spawn main4",
        ));
        let names_by = |what: &dyn Fn(&Lane) -> bool| -> Vec<Vec<String>> {
            let lanes = timeline.lanes.iter().map(|lane| (lane, what(lane)));
            let names = |group: Vec<&Lane>| group.iter().map(|lane| lane.name.clone()).collect();
            tasks(lanes).into_iter().map(names).collect()
        };
        assert_eq!(
            names_by(&|_| true),
            [
                vec!["main"],
                vec!["main1", "main2", "main3", "main4"],
                vec!["ada"]
            ]
        );
        // Three are too few; the order stays.
        assert_eq!(
            names_by(&|lane| lane.name == "main2"),
            ["main", "main1", "main2", "main3", "ada", "main4"].map(|name| vec![name])
        );
    }

    #[test]
    fn lengths_that_stick_out_are_few_and_long() {
        let odd = |lengths: &[u64]| {
            odd_ones(
                &lengths.iter().copied().map(Nanos).collect::<Vec<_>>(),
                Nanos(20),
            )
        };
        assert!(odd(&[]).is_empty());
        assert!(odd(&[10, 11, 12, 13]).is_empty());
        assert_eq!(odd(&[10, 100, 10, 10, 90, 80, 10, 10]), [1, 4]);
        assert!(odd(&[1, 1, 1, 1, 20]).is_empty(), "not long");
    }

    #[test]
    fn waits_of_one_task_at_one_line_are_one_and_nothing_is_lost() {
        let mut script = String::from("main spawn ada;");
        for _ in 0..5 {
            script += "ada recv orders :3; main send orders; ada got orders; ada recv menu :4; main send menu; ada got menu;";
        }
        assert_eq!(grouped(&script, false), ["1×1×5 ada", "1×1×5 ada"]);
        script +=
            "ada recv orders :5; main send orders; ada got orders; ada recv orders :3; main end";
        // At another line, and one that goes on.
        assert_eq!(
            grouped(&script, false),
            ["1×1×5 ada", "1×1×5 ada", "1×1×1 ada", "1×1×1 ada"]
        );
    }

    #[test]
    fn waits_for_things_with_alike_names_are_one_where_that_is_wanted() {
        let mut script = String::new();
        for n in 0..5 {
            script += &format!("main spawn p{n}; p{n} take fork{n};");
        }
        for n in 0..5 {
            script += &format!("p{n} want fork{} :7;", (n + 1) % 5);
        }
        let one_by_one: Vec<String> = (0..5).map(|n| format!("1×1×1 p{n}")).collect();
        assert_eq!(grouped(&script, false), one_by_one);
        assert_eq!(grouped(&script, true), ["5×5×5 p0"]);
        // One who waits for the ends of all.
        let mut script: String = (0..5).map(|n| format!("main spawn p{n};")).collect();
        for n in 0..5 {
            script += &format!("main join p{n} :9; p{n} exit; main joined p{n};");
        }
        assert_eq!(grouped(&script, false), ["1×5×5 main"]);
    }

    #[test]
    fn the_odd_ones_out_are_by_themselves() {
        let mut script = String::new();
        for n in 0..9 {
            script += &format!(
                "main spawn b{n}; b{n} recv orders :3; main send orders; b{n} got orders;"
            );
        }
        script +=
            "main spawn b9; b9 recv orders :3; @9000 main send orders; b9 got orders; main end";
        assert_eq!(grouped(&script, false), ["9×1×9 b0", "1×1×1 b9"]);
    }
}
