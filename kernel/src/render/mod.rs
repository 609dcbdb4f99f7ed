//! A timeline as a picture: HTML with an inline SVG, plain text, and facts as JSON.
//!
//! Pure: the same timeline gives the same bytes. Knows nothing of Jupyter, of evcxr, or of how a line of a cell is found (`place_of` tells).

mod axis;
mod explain;
#[cfg(test)]
mod golden;
mod html;
mod json;
mod looks;
pub mod perfetto;
mod rows;
mod scene;
pub mod standalone;
mod table;
mod text;
mod words;

use std::borrow::Cow;

use serde_json::Value;
use threadbook_timeline::fold::{Lane, LaneEnd, Timeline};

pub use explain::{explain, waits_now};
pub use html::escaped;
pub use standalone::standalone as as_file;
pub use table::in_words;

use axis::Scale;
use scene::{Detail, Placed};

/// A line of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The number that the notebook shows in brackets.
    pub cell: u32,
    /// Line in that cell, from 1.
    pub line: u32,
    /// The line's text, or nothing when it is not known.
    pub text: String,
}

/// One timeline in three forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// For `text/html`: an inline SVG, and a folded table of all that its hover texts say.
    pub html: String,
    /// For `text/plain`: a drawing of at most 80 columns, then the waits as sentences.
    pub text: String,
    /// For `application/vnd.threadbook.timeline+json`: lanes, edges, and which tasks could overlap.
    pub json: Value,
}

/// Longest the HTML should be, in bytes: notebooks keep it, once per run cell. The half of that is typical.
const MOST_HTML: usize = 56_000;
/// How many spans, arrows, hover texts and table rows there are where all of that is much.
const MOST_DETAIL: usize = 320;
/// Longest the drawing as an image should be, in bytes: it is a part of the HTML.
const MOST_IMAGE: usize = 20_000;
/// As [`MOST_DETAIL`], for the image.
const MOST_IMAGE_DETAIL: usize = 160;
/// How few there are at least.
const LEAST_DETAIL: usize = 8;
/// Longest a name is that a picture says, in characters.
const MOST_NAME: usize = 60;
/// Longest a remark is.
const MOST_REMARK: usize = 240;

/// What the learner may choose about pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What the horizontal axis counts.
    pub axis: Axis,
}

/// What the horizontal axis counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Axis {
    /// Time, or steps where most of what there is to see would be too narrow.
    #[default]
    Auto,
    /// Time.
    Wall,
    /// Steps: one column for each moment at which something happened.
    Steps,
}

/// Draws a timeline. `place_of` finds the line of a site, or `None` when it lies in no cell; `id` sets this picture's style apart from others on the page.
///
/// Takes a few milliseconds. Never fails: a timeline without lanes gives an empty picture.
pub fn draw(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    id: &str,
    options: &Options,
) -> Picture {
    let timeline = &*with_short_names(timeline);
    let words = words::Words { timeline, place_of };
    let rows = rows::Rows::of(timeline);
    let (wall, steps) = (Scale::wall(timeline), Scale::steps(timeline));
    let counts_steps = axis::steps_show_more(timeline, options.axis, &steps);
    let scale = if counts_steps { &steps } else { &wall };
    let text = text::draw(&words, &rows, scale);
    // Less detail until it fits: how much there is of everything is a matter of this one number.
    let mut detail = MOST_DETAIL;
    let axes = [&wall, &steps].map(|scale| Placed::new(&words, &rows, scale, Detail(detail)));
    let chosen = usize::from(counts_steps);
    let image = image(&words, &rows, &axes[chosen..=chosen]);
    let around = html::Around::new(&words, &rows, &text, &image, detail);
    let html = loop {
        let scene = scene::scene(&words, &rows, &axes, Detail(detail));
        let html = html::write(&around, &scene, chosen, id, detail);
        if html.len() < MOST_HTML || detail <= LEAST_DETAIL {
            break html;
        }
        // About as much less as it is too long, and not by so little that it takes many attempts.
        let fits = detail * MOST_HTML / html.len();
        detail = fits.min(detail * 4 / 5).max(LEAST_DETAIL);
    };
    Picture {
        html,
        text,
        json: json::facts(&words, &rows, scale),
    }
}

/// What a timeline is as data, without a drawing: as [`draw`] has it.
pub fn facts(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    options: &Options,
) -> Value {
    let timeline = &*with_short_names(timeline);
    let words = words::Words { timeline, place_of };
    let rows = rows::Rows::of(timeline);
    let steps = Scale::steps(timeline);
    if axis::steps_show_more(timeline, options.axis, &steps) {
        json::facts(&words, &rows, &steps)
    } else {
        json::facts(&words, &rows, &Scale::wall(timeline))
    }
}

/// The drawing as the address of an image: for notebooks that are not trusted. Without hover texts, and with less detail until it is short enough.
fn image<'a>(words: &'a words::Words<'a>, rows: &'a rows::Rows<'a>, axis: &[Placed<'a>]) -> String {
    let mut detail = MOST_IMAGE_DETAIL;
    loop {
        let scene = scene::scene(words, rows, axis, Detail(detail));
        let image = standalone::data_uri(&standalone::svg(words, rows, &scene, 0, false));
        if image.len() < MOST_IMAGE || detail <= LEAST_DETAIL {
            break image;
        }
        let fits = detail * MOST_IMAGE / image.len();
        detail = fits.min(detail * 4 / 5).max(LEAST_DETAIL);
    }
}

/// The timeline, with what learners may make as long as they like cut to what a picture can say again and again.
fn with_short_names(timeline: &Timeline) -> Cow<'_, Timeline> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::format::Event;
    use threadbook_timeline::script::{Random, trace};
    use threadbook_timeline::trace::Gap;

    /// What no form of any picture is longer than, in bytes.
    const MOST_OF_ALL: usize = 150_000;

    fn picture(script: &str) -> Picture {
        let place_of = |site: u16| {
            Some(Place {
                cell: 4,
                line: site.into(),
                text: String::new(),
            })
        };
        draw(&fold(&trace(script)), &place_of, "t", &Options::default())
    }

    #[test]
    fn two_threads_share_one_lock() {
        let script = "main spawn ada; main spawn grace; ada take till; grace want till :7; @200 ada release till; ada exit; grace take till; grace release till; grace exit; main joined ada; main joined grace; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main   ############################################################# done
        ada    ..-----#########################################............. done
        grace  ....-----LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL-----#####...... done

        # running   - ready   L waits for a lock   . not alive
        270 µs in all
          grace waited 160 µs for lock `till` (cell 4 line 7); let go by ada
        ");
    }

    #[test]
    fn a_receiver_waits_for_its_message() {
        let script = "main spawn ada; main recv orders :2; @90 ada send orders; main got orders; ada exit; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main  ##########CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC-----########## done
        ada   .....------------------------------------------##########..... done

        # running   - ready   C waits on a channel   . not alive
        120 µs in all
          main waited 70 µs for a message on channel `orders` (cell 4 line 2); let go by ada
        ");
    }

    #[test]
    fn a_sender_waits_for_room() {
        let script = "main spawn ada; ada send orders; ada full orders :5; @90 main got orders; ada send orders; ada exit; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main  ############################################################## done
        ada   .....-----######CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC-----#####..... done

        # running   - ready   C waits on a channel   . not alive
        120 µs in all
          ada waited 60 µs for room in channel `orders` (cell 4 line 5); let go by main
        ");
    }

    #[test]
    fn main_waits_for_the_group() {
        let script = "main add bakers =2; main spawn ada; main spawn grace; main wait bakers :9; @100 ada done bakers; ada exit; @200 grace done bakers; grace exit; main on; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main   ###########WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW-----### done
        ada    .....----------------------###............................... done
        grace  .......----------------------------------------------###..... done

        # running   - ready   W waits for a wait group   . not alive
        230 µs in all
          main waited 160 µs for wait group `bakers` (cell 4 line 9); let go by grace
        ");
    }

    #[test]
    fn main_joins() {
        let script = "main spawn ada; main join ada :3; @50 ada work; @150 ada worked; ada exit; main joined ada; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main  #######JJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJJ----### done
        ada   ...--------------===================================####...... done

        # running   = computing   - ready   J waits for a task to end   . not alive
        180 µs in all
          main waited 140 µs for ada to end (cell 4 line 3); let go by ada
        ");
    }

    #[test]
    fn two_locks_in_two_orders_never_end() {
        let script = "main spawn ada; main spawn grace; ada take flour; grace take sugar; ada want sugar :4; grace want flour :5; @300 main join ada :6";
        insta::assert_snapshot!(picture(script).text, @r"
        main   ############################################################# alive
        ada    ..----####LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL alive
        grace  ....----####LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL alive

        # running   - ready   L waits for a lock   . not alive
        300 µs in all
          main waited 0 ns for ada to end (cell 4 line 6), and still did at the end
          ada waited 250 µs for lock `sugar` (cell 4 line 4), and still did at the end
          grace waited 240 µs for lock `flour` (cell 4 line 5), and still did at the end
        ");
    }

    const RING: &str = "main spawn ada; main spawn grace; ada take flour; grace take sugar; ada want sugar :4; @300 grace want flour :5; grace deadlock ada =1; grace deadlock grace =1; \
        ada on; ada cut; grace on; grace cut; grace release sugar; grace exit; ada release flour; ada exit; main joined ada; main end";

    #[test]
    fn two_that_wait_for_each_other_are_told_as_a_ring() {
        let picture = picture(RING);
        insta::assert_snapshot!(picture.text, @r"
        main   ############################################################# done
        ada    .---###XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX###########.. deadlock
        grace  ..----#####################################XXXXXXXX#####..... deadlock

        # running   - ready   X waits in vain: deadlock   . not alive
        420 µs in all
          ada waited 280 µs for lock `sugar` (cell 4 line 4), in vain: it and grace waited for each other
          grace waited 50 µs for lock `flour` (cell 4 line 5), in vain: it and ada waited for each other
        ");
        assert_eq!(picture.json["rings"], serde_json::json!([["ada", "grace"]]));
        assert_eq!(picture.json["lanes"][1]["end"], "deadlocked");
        assert_eq!(picture.json["lanes"][1]["waits"][0]["deadlocked"], true);
        for words in [
            "class=\"dead\"",
            "class=\"ring\"",
            "data-t=\"waits for, in a ring\"",
            "data-t=\"waiting in vain: deadlock\"",
            "title=\"ada: ended by the deadlock\"",
            "title=\"ada waits for lock `sugar`, and so for grace\"",
            "waited 280 µs, in vain: deadlock",
            "a deadlock: 2 waits were in vain;",
        ] {
            assert!(picture.html.contains(words), "{words}");
        }
        tags_of(&picture.html);
    }

    #[test]
    fn one_that_waits_for_itself_and_one_that_nobody_can_wake() {
        let script = "main take till; main want till :3; main deadlock main =1; main on; main cut; main release till; main end";
        let itself = picture(script);
        insta::assert_snapshot!(itself.text, @r"
        main  #################XXXXXXXXXXXXXXXXXXX########################## deadlock

        # running   X waits in vain: deadlock
        70 µs in all
          main waited 20 µs for lock `till` (cell 4 line 3), in vain: it waited for itself
        ");
        assert!(itself.html.contains("and so for itself"));
        let script = "main spawn ada; ada recv orders :2; main wait bakers :3; x deadlock main =0; x deadlock ada =0; ada on; ada cut; ada exit; main on; main cut; main end";
        let asleep = picture(script);
        insta::assert_snapshot!(asleep.text, @r"
        main  ################XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX########### deadlock
        ada   .....------XXXXXXXXXXXXXXXXXXXXXXX############................ deadlock

        # running   - ready   X waits in vain: deadlock   . not alive
        110 µs in all
          main waited 60 µs for wait group `bakers` (cell 4 line 3), in vain: nobody was left who could have ended that
          ada waited 40 µs for a message on channel `orders` (cell 4 line 2), in vain: nobody was left who could have ended that
        ");
        assert!(!asleep.html.contains("class=\"ring\"") && !asleep.html.contains("in a ring"));
    }

    #[test]
    fn readers_a_condvar_a_barrier_and_the_rest() {
        let script = "main spawn ada; main spawn grace; main write menu; ada wantread menu :4; @100 main release menu; ada read menu; grace await oven :5; \
            @200 ada release menu; ada notify oven; grace on; ada meet door :6; @300 grace trip door; ada on; ada lack list :7; @400 grace fill list; ada on; \
            main select :8; @500 ada wake main; main on; main wantwrite menu :9; main write menu; main end";
        let picture = picture(script);
        insta::assert_snapshot!(picture.text, @r"
        main   ###############################################CCCCCCCCC--#L# done
        ada    .----LLLLLL-##############BBBBBBBB-#OOOOOOOOO-############### alive
        grace  ..------------NNNNNNNNNN-#################################### alive

        # running   - ready   L waits for a lock   C waits on a channel
        N waits to be notified   B waits at a barrier   O waits for a once lock
        . not alive
        540 µs in all
          main waited 80 µs for the first of several channels (cell 4 line 8); let go by ada
          main waited 10 µs for rw lock `menu`, to write (cell 4 line 9)
          ada waited 60 µs for rw lock `menu`, to read (cell 4 line 4); let go by main
          ada waited 70 µs for the others at barrier `door` (cell 4 line 6); let go by grace
          ada waited 80 µs for once lock `list` to be filled (cell 4 line 7); let go by grace
          grace waited 90 µs for condvar `oven` to be notified (cell 4 line 5); let go by ada
        still alive when the cell ended:
          ada runs
          grace runs
        ");
        let edges = picture.json["edges"].as_array().expect("a list");
        let kinds: Vec<_> = edges.iter().map(|edge| edge["kind"].as_str()).collect();
        assert_eq!(
            kinds,
            [
                "spawn", "spawn", "lock", "notify", "barrier", "once", "lock"
            ]
            .map(Some)
        );
        for words in [
            "held rw lock `menu` for",
            ", to read",
            "notified",
            "menu holders",
        ] {
            assert!(picture.html.contains(words), "{words}");
        }
        tags_of(&picture.html);
    }

    #[test]
    fn what_a_program_started_is_cut_off_and_workers_have_lanes() {
        let script = "main go ada; main go grace; ada start ^1; ada yield ^1; grace start ^1; grace recv orders ^1; @90 ada resumed ^1; ada hogged =30 ^1; ada cut =2 ^1; ada exit ^1; \
            @150 grace on ^2; grace cut =3 ^2; grace exit ^2; main end";
        let picture = picture(script);
        insta::assert_snapshot!(picture.text, @r"
        main   ############################################################# done
        ada    ...-------####-----------------##########.................... cut off
        grace  ......-----------###CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC#######... cut off

        # running   - ready   C waits on a channel   . not alive
        180 µs in all
          grace waited 90 µs for a message on channel `orders`
        ");
        for words in [
            "ada: cut off when its program returned",
            "grace: cut off by the interrupt",
            "data-t=\"worker 1 carries\"",
            "data-t=\"worker 2 carries\"",
            "ada ran 30 µs on worker 1, and let no other task have that for 30 µs",
        ] {
            assert!(picture.html.contains(words), "{words}");
        }
        tags_of(&picture.html);
    }

    #[test]
    fn one_sleeps_and_one_loses_its_core() {
        let script = "main spawn ada; main spawn grace; ada sleep; grace work; @200 grace offcore =80; @300 ada on; grace worked; grace exit; ada exit; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main   ############################################################# done
        ada    .----zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz######. done
        grace  ...----===============--------------====================##... done

        # running   = computing   - ready   z sleeps   . not alive
        340 µs in all
        ");
    }

    #[test]
    fn a_panic_ends_a_lane() {
        let script = "main spawn ada; ada take till; @60 ada panic no flour; ada release till; ada exit; main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main  ############################################################## done
        ada   ......--------##########################################...... panicked

        # running   - ready   . not alive
        90 µs in all
        ");
    }

    #[test]
    fn a_thread_outlives_its_cell() {
        let script = "main spawn _x; _x recv orders :8; @80 main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main      ########################################################## done
        thread 1  .......--------CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC alive

        # running   - ready   C waits on a channel   . not alive
        80 µs in all
          thread 1 waited 60 µs for a message on channel `orders` (cell 4 line 8), and still did at the end
        still alive when the cell ended:
          thread 1 waits for a message on channel `orders` (cell 4 line 8); a sender of it is alive, and nobody has sent to it in this cell
        ");
    }

    #[test]
    fn what_was_not_kept_is_told_and_not_guessed() {
        let mut trace = trace(
            "main spawn ada; main spawn grace; main spawn _x; ada take till; grace want till :7; grace gap; ada gap; @400 ada release till; ada exit; \
             @500 main join grace :9; main make channel orders; main send orders; main end",
        );
        trace.gap = Some(Gap {
            from: 60_000,
            until: 400_000,
        });
        trace.dropped = 1_234_567;
        let picture = draw(&fold(&trace), &|_| None, "t", &Options::default());
        insta::assert_snapshot!(picture.text, @r"
        main      #######################################################JJ# done
        ada       .---####????????????????????????????????????#............. done
        grace     ..---LL??????????????????????????????????????????????????? unknown
        thread 1  ...??????????????????????????????????????????????????????? unknown

        # running   - ready   L waits for a lock   J waits for a task to end
        ? not kept   . not alive
        530 µs in all
        more happened than there is room for: 1,234,567 events are missing here, from 60 µs to 400 µs; the first and the last ones were kept
          main waited 20 µs for grace to end
          grace waited at least 10 µs for lock `till`; how that ended was not kept
        ");
        let missing = "more happened than there is room for: 1,234,567 events are missing here, from 60 µs to 400 µs; the first and the last ones were kept";
        for words in [
            missing,
            "data-t=\"not all was kept\"",
            "data-t=\"not kept\"",
            "grace: how it went on was not kept",
            "thread 1: how it went on was not kept",
            "as far as was seen, at most",
            "class=\"miss\"",
        ] {
            assert!(picture.html.contains(words), "{words}");
        }
        tags_of(&picture.html);
        let json = &picture.json;
        assert_eq!(
            (&json["dropped"], &json["concurrent"]),
            (&1_234_567.into(), &serde_json::json!([]))
        );
        let ends: Vec<_> = (0..4)
            .map(|lane| json["lanes"][lane]["end"].clone())
            .collect();
        assert_eq!(ends, ["done", "done", "unknown", "unknown"]);
    }

    #[test]
    fn tasks_that_outlive_their_cell_are_listed_with_what_they_do() {
        let script = "main spawn ada; main spawn grace; main spawn bob; main go eve; main go _idle; main spawn max; main spawn amy; main spawn kim; main spawn joe; \
            ada recv orders :3; bob take till :4; grace want till :5; main add ovens =2; eve wait ovens :6; joe send bread :7; joe exit; max recv bread :8; \
            amy got menu :9; kim full menu :10; @300 main end";
        let place_of = |site: u16| {
            (site > 2).then(|| Place {
                cell: 4,
                line: site.into(),
                text: String::new(),
            })
        };
        let picture = draw(&fold(&trace(script)), &place_of, "t", &Options::default());
        let list = picture
            .text
            .split_once("still alive")
            .expect("has a list")
            .1;
        insta::assert_snapshot!(list, @r"
        when the cell ended:
         ada waits for a message on channel `orders` (cell 4 line 3); a sender of it is alive, and nobody has sent to it in this cell
         grace waits for lock `till` (cell 4 line 5), which bob has (cell 4 line 4)
         bob runs
         eve waits for wait group `ovens` (cell 4 line 6); its counter is 2
         task 1 has not begun yet
         max waits for a message on channel `bread` (cell 4 line 8); a sender of it is alive, last used by joe, which has ended (cell 4 line 7)
         amy runs
         kim waits for room in channel `menu` (cell 4 line 10); a receiver of it is alive, last used by amy (cell 4 line 9)
        ");
        for words in [
            "<p data-t=\"still alive when the cell ended:\"></p>",
            "<p class=\"a\" data-t=\"grace waits for lock `till` (cell 4 line 5), which bob has (cell 4 line 4)\"></p>",
        ] {
            assert!(picture.html.contains(words), "{words}");
        }
        tags_of(&picture.html);
        let place = |line: u32| serde_json::json!({"cell": 4, "line": line});
        let alive = picture.json["left_alive"].as_array().expect("a list");
        assert_eq!(
            alive[..3],
            [
                serde_json::json!({"task": "ada", "does": "recv", "object": "orders", "where": place(3)}),
                serde_json::json!({"task": "grace", "does": "lock", "object": "till", "where": place(5)}),
                serde_json::json!({"task": "bob", "does": "run", "object": null, "where": null}),
            ]
        );
        assert_eq!(alive.len(), 8, "joe has ended, and so has main");
    }

    #[test]
    fn nobody_is_listed_who_ended_or_whose_end_is_not_known() {
        let long = "main spawn ada; ada exit; main end";
        let killed = "main spawn ada; ada recv orders";
        for script in [long, killed] {
            let picture = picture(script);
            assert!(
                !picture.text.contains("still alive when"),
                "{}",
                picture.text
            );
            assert!(!picture.html.contains("still alive when"));
            assert_eq!(picture.json.get("left_alive"), None);
        }
        let many: String = (0..100)
            .map(|task| format!("main spawn t{task};"))
            .collect();
        let picture = picture(&(many + "main end"));
        assert!(
            picture.text.contains("\n  and 92 more\n"),
            "{}",
            picture.text
        );
        assert_eq!(picture.json["left_alive_left_out"], 36);
    }

    #[test]
    fn a_crowd_in_a_long_cell_counts_steps() {
        let script = "main spawn ada; main take till; ada want till; main release till; ada take till; ada release till; ada exit; @900000 main end";
        insta::assert_snapshot!(picture(script).text, @r"
        main  ############################################################## done
        ada   .......----------------LLLLLLLL--------################....... done

        # running   - ready   L waits for a lock   . not alive
        one column per event, not by time; 900 ms in all
          ada waited 10 µs for lock `till`; let go by main
        ");
    }

    /// Reads HTML that is also XML, as far as this is needed: gives its tags, and panics where one is not closed, or an attribute is not quoted.
    fn tags_of(html: &str) -> Vec<String> {
        let (mut open, mut tags) = (Vec::new(), Vec::new());
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            assert!(
                tag.split(' ').next().is_some_and(|name| !name.is_empty()),
                "`<` in text before {}",
                &rest[start..end]
            );
            assert!(
                tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'),
                "badly quoted: {tag}"
            );
            match tag.strip_prefix('/') {
                Some(name) => {
                    assert_eq!(open.pop(), Some(name), "closes what is not open, at {tag}");
                }
                None => {
                    let name = tag
                        .split([' ', '/'])
                        .next()
                        .expect("split gives at least one part");
                    tags.push(name.to_owned());
                    if !tag.ends_with('/') {
                        open.push(name);
                    }
                }
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "left open: {open:?}");
        tags
    }

    const BUSY: &str = "main spawn ada; main spawn grace; ada take till :3; grace want till :4; main add w; main wait w; @200 ada release till; \
        grace take till; grace send orders; ada done w; main on; main got orders; grace mark now; grace region oven; grace leave; grace panic no flour";

    #[test]
    fn html_is_well_formed_and_words_in_it_are_text() {
        for name in [
            "ada",
            "<script>alert(1)</script>",
            "a\"b'c&d",
            "\u{7}\u{0}bell",
            "a>b",
            "]]>",
            "größer",
        ] {
            let name = name.replace(' ', "_");
            let picture = picture(
                &BUSY
                    .replace("ada", &name)
                    .replace("no flour", "<b>no</b> flour"),
            );
            let tags = tags_of(&picture.html);
            assert!(tags.iter().any(|tag| tag == "svg"), "{name}");
            let known = [
                "div", "style", "pre", "svg", "defs", "pattern", "rect", "circle", "path", "g",
                "b", "i", "p", "details", "summary", "table", "caption", "thead", "tbody", "tr",
                "th", "td", "input", "span", "em", "img",
            ];
            assert!(
                tags.iter().all(|tag| known.contains(&tag.as_str())),
                "{name}: {tags:?}"
            );
            assert!(
                !picture.html.chars().any(|c| c.is_control() && c != '\n'),
                "{name}"
            );
        }
    }

    #[test]
    fn the_style_sheet_has_all_its_lengths_and_only_styles_this_picture() {
        let html = picture(BUSY).html;
        let style = &html[..html.find("</style>").expect("has a style sheet")];
        assert!(style.contains("#tb-t .p{position:absolute;left:132px;right:26px;"));
        for placeholder in ["NAMES", "TAIL", "SHAPES", "ID", "PRE"] {
            assert!(!style.contains(placeholder), "{placeholder}");
        }
        let rules = style.split_once("<style>").expect("has a style sheet").1;
        for rule in rules.split('}').filter(|rule| !rule.is_empty()) {
            let selectors = rule.split('{').next().expect("split gives one part");
            assert!(
                selectors
                    .split(',')
                    .all(|selector| selector.contains("#tb-t")),
                "{selectors}"
            );
        }
    }

    #[test]
    fn both_axes_are_there_and_a_checkbox_without_script_chooses() {
        let long = BUSY.to_owned() + "; @900000 main end";
        for (script, axis, checked) in [
            (BUSY, Axis::Auto, false),
            (BUSY, Axis::Steps, true),
            (&long, Axis::Auto, true),
            (&long, Axis::Wall, false),
        ] {
            let options = Options { axis };
            let html = draw(&fold(&trace(script)), &|_| None, "t", &options).html;
            let is_checked = html.contains("type=\"checkbox\" hidden=\"\" checked=\"\"");
            assert_eq!(is_checked, checked, "{axis:?}");
            for view in [
                "<g class=\"w\">",
                "<g class=\"s\">",
                "<div class=\"w\">",
                "<div class=\"s\">",
            ] {
                assert_eq!(html.matches(view).count(), 1, "{view}");
            }
            assert!(!html.contains("<script") && !html.contains("onclick"));
        }
    }

    #[test]
    fn what_locks_and_the_end_waited_for_stands_below() {
        let html = picture(
            "main spawn ada; main spawn grace; ada start; grace start; ada take till; grace want till; main join grace; @500 ada release till; grace take till; \
             @900 grace release till; grace exit; main joined grace; ada exit; main end",
        )
        .html;
        for words in [
            "data-t=\"lock `till` was waited for once, 440 µs, by grace\"",
            "data-t=\"the end waited for: main 10 µs, ada 490 µs, grace 410 µs, main 30 µs",
            "grace ran 420 µs, ready 30 µs, waited 440 µs",
            "at most 2 at once",
            "data-t=\"critical path: what the end waited for\"",
        ] {
            assert!(html.contains(words), "{words}");
        }
    }

    #[test]
    fn the_image_for_notebooks_that_are_not_trusted_is_the_drawing_without_its_hover_texts() {
        let long = BUSY.to_owned() + "; @900000 main end";
        for (script, by_time) in [(BUSY, true), (&long, false)] {
            let html = picture(script).html;
            let start = html.find("<img alt=\"").expect("has an image");
            let (tag, after) = html[start..].split_once("\"/>").expect("it ends");
            assert!(after.starts_with("<pre>"), "before the text form");
            let (_, address) = tag
                .split_once("src=\"data:image/svg+xml,")
                .expect("is an SVG");
            assert!(address.is_ascii() && !address.contains(['"', '<', '>', '#', '&']));
            let mut bytes = Vec::new();
            let mut rest = address.bytes();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'%' => {
                        let digits: String = rest.by_ref().take(2).map(char::from).collect();
                        u8::from_str_radix(&digits, 16).expect("two digits")
                    }
                    byte => byte,
                });
            }
            let svg = String::from_utf8(bytes).expect("text");
            roxmltree::Document::parse(&svg).expect("is XML");
            for words in ["ada", "grace", "till holder", "waiting for a lock"] {
                assert!(svg.contains(words), "{words}");
            }
            let has_times = [" µs</text>", " ms</text>"].map(|tick| svg.contains(tick));
            assert_eq!(
                has_times.contains(&true),
                by_time,
                "the axis that is seen first"
            );
            assert!(
                !svg.contains("<title>") && !svg.contains("grace waited"),
                "{svg}"
            );
        }
    }

    #[test]
    fn data_without_a_drawing_are_those_of_the_drawing() {
        let long = BUSY.to_owned() + "; @900000 main end";
        for script in [BUSY, &long, RING, ""] {
            let timeline = fold(&trace(script));
            for axis in [Axis::Auto, Axis::Wall, Axis::Steps] {
                let options = Options { axis };
                assert_eq!(
                    facts(&timeline, &|_| None, &options),
                    draw(&timeline, &|_| None, "t", &options).json
                );
            }
        }
    }

    #[test]
    fn what_a_sanitizer_leaves_of_the_drawing_has_no_words() {
        let html = picture(BUSY).html;
        let svg = &html
            [html.find("<svg").expect("has a drawing")..html.find("<p ").expect("has a footer")];
        let words: String = svg
            .split('<')
            .filter_map(|tag| tag.split_once('>'))
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            words.trim(),
            "",
            "between tags, from the drawing to the footer"
        );
        assert!(html.contains("title=\"grace waited") && html.contains("data-t=\"grace\""));
    }

    #[test]
    fn hover_texts_say_who_waited_for_what_where_and_by_whom_it_ended() {
        let place_of = |site: u16| {
            (site == 7).then(|| Place {
                cell: 4,
                line: 7,
                text: "  oven.lock()".into(),
            })
        };
        let html = draw(&fold(&trace("main spawn ada; main take oven; @100 ada want oven :7; @1900 main release oven; ada take oven")), &place_of, "t", &Options::default()).html;
        let want =
            "ada waited 1.8 ms for lock `oven` (cell 4 line 7: `oven.lock()`); let go by main";
        assert!(html.contains(want), "{html}");
    }

    #[test]
    fn the_same_timeline_gives_the_same_bytes_and_no_id_gets_out_of_its_attribute() {
        let timeline = fold(&trace(BUSY));
        assert_eq!(
            draw(&timeline, &|_| None, "a", &Options::default()),
            draw(&timeline, &|_| None, "a", &Options::default())
        );
        assert!(
            draw(&timeline, &|_| None, "a\"><script>", &Options::default())
                .html
                .starts_with("<div id=\"tb-ascript\">")
        );
    }

    #[test]
    fn many_events_stay_small() {
        let mut script = String::new();
        for task in 0..8 {
            script += &format!("main spawn t{task};");
        }
        let mut random = Random::new(5);
        for _ in 0..250 {
            let (a, b) = (random.below(4), 4 + random.below(4));
            script += &format!(
                "t{a} take till :3; t{b} want till :4; t{a} send orders :5; t{b} got orders; t{a} release till; t{b} take till; t{b} release till;"
            );
        }
        let timeline = fold(&trace(&script));
        let place_of = |site: u16| {
            Some(Place {
                cell: 4,
                line: site.into(),
                text: "let mut till = till.lock().unwrap();".into(),
            })
        };
        let picture = draw(&timeline, &place_of, "many", &Options::default());
        assert!(
            picture.html.len() < MOST_HTML,
            "{} bytes",
            picture.html.len()
        );
        tags_of(&picture.html);
        assert_eq!(picture.json["edges"].as_array().map(Vec::len), Some(500));
        assert!(
            picture.json["edges_left_out"]
                .as_u64()
                .is_some_and(|left_out| left_out > 0)
        );
    }

    #[test]
    fn many_tasks_are_groups_and_a_crowd_is_a_heat_map() {
        for (many, is_crowd) in [(200, false), (3000, true)] {
            let mut script: String = (0..many)
                .map(|task| format!("main spawn t{task}; t{task} start;"))
                .collect();
            script += "t7 panic no_flour; t7 exit; t9 recv orders :2;";
            for task in (0..many).filter(|task| ![7, 9].contains(task)) {
                script += &format!("t{task} exit;");
            }
            let picture = picture(&(script + "main end"));
            assert!(picture.html.len() < MOST_HTML, "{}", picture.html.len());
            let rest = words::thousands(many - 2);
            assert!(
                picture.text.contains(&format!("t ×{}", many - 2)),
                "{}",
                picture.text
            );
            for words in [
                format!("data-t=\"t ×{}\"", many - 2),
                "data-t=\"t7\"".into(),
                "title=\"t7: panicked: no_flour\"".into(),
                "title=\"t9: still waiting for a message on channel `orders`\"".into(),
                format!("<td>t</td><td>{rest}</td><td>done</td>"),
            ] {
                assert!(picture.html.contains(&words), "{words}");
            }
            assert_eq!(picture.html.contains("class=\"heat\""), is_crowd);
            assert_eq!(picture.html.contains("class=\"st\""), !is_crowd);
            tags_of(&picture.html);
            assert_eq!(
                picture.json["groups"],
                serde_json::json!([{"name": "t", "tasks": many - 2, "end": "done"}])
            );
            let listed = picture.json["lanes"].as_array().map_or(0, Vec::len) as u64;
            let left_out = picture.json["lanes_left_out"].as_u64().unwrap_or(0);
            assert_eq!(listed + left_out, many + 1);
            assert!(picture.json.to_string().len() < MOST_OF_ALL);
        }
    }

    #[test]
    fn lines_of_the_drawing_have_at_most_80_columns() {
        let picture = picture(
            "main spawn a_name_that_is_far_too_long_for_any_label; main sleep; a_name_that_is_far_too_long_for_any_label panic x",
        );
        let lanes = picture.text.split("\n\n").next().expect("lanes come first");
        assert!(
            lanes.lines().all(|line| line.chars().count() <= 80),
            "{lanes}"
        );
    }

    #[test]
    fn facts_hold_what_lessons_claim() {
        let facts = picture("main spawn ada; main go grace; main recv orders; ada send orders; ada exit; main got orders; main join grace; grace exit; main joined grace; main end").json;
        assert_eq!(
            facts,
            serde_json::json!({
                "version": 1,
                "lanes": [
                    {"name": "main", "parent": null, "engine": "thread", "end": "done", "waits": [{"reason": "recv", "object": "orders"}, {"reason": "join", "object": "grace"}]},
                    {"name": "ada", "parent": "main", "engine": "thread", "end": "done", "waits": []},
                    {"name": "grace", "parent": "main", "engine": "green", "end": "done", "waits": []},
                ],
                "edges": [
                    {"kind": "spawn", "from": "main", "to": "ada", "object": null},
                    {"kind": "spawn", "from": "main", "to": "grace", "object": null},
                    {"kind": "message", "from": "ada", "to": "main", "object": "orders"},
                    {"kind": "join", "from": "grace", "to": "main", "object": null},
                ],
                "concurrent": [["ada", "grace"]],
                "max_running": 1,
                "dropped": 0,
                "axis": "wall",
            })
        );
    }

    #[test]
    fn any_events_are_drawn_and_stay_small() {
        let mut random = Random::new(11);
        for case in 0..80 {
            let mut trace = trace("main mark x");
            let event = trace.events[0];
            // Few tasks or many, few events or many, and names that nobody would give.
            let tasks = [5, 40, 3000][case % 3];
            let events = [120, 4000][case % 2];
            for (id, name) in ["<script>alert(1)</script>", "&\"'<", "größer"]
                .iter()
                .enumerate()
            {
                let name = name.repeat(1 + case % 400);
                trace.names.insert(id as u32 + 1, name.as_str().into());
            }
            for ticks in 0..events {
                let mut small = |most: u64| random.below(most) as u32;
                trace.events.push(Event {
                    ticks: ticks * 1000,
                    task: small(tasks),
                    obj: small([5, tasks][case % 2]),
                    seq: small(5),
                    aux: small(15),
                    kind: small(40) as u8,
                    site: small(9) as u16,
                    worker: small(12) as u8,
                    ..event
                });
            }
            let place_of = |site: u16| {
                Some(Place {
                    cell: 4,
                    line: site.into(),
                    text: "if a < b && c > d { \"<script>\" }".into(),
                })
            };
            let timeline = fold(&trace);
            let picture = draw(&timeline, &place_of, "t", &Options::default());
            let svg = as_file(&timeline, &place_of, &Options::default());
            for html in [&picture.html, &svg] {
                tags_of(html);
                assert!(!html.contains("NaN") && !html.contains("<script"));
                for number in [":inf", "Minf", "hinf", " inf"] {
                    assert!(!html.contains(number), "{number}");
                }
            }
            for (form, long) in [
                ("html", picture.html.len()),
                ("text", picture.text.len()),
                ("json", picture.json.to_string().len()),
            ] {
                assert!(long < MOST_OF_ALL, "case {case}: {form} has {long} bytes");
            }
        }
    }

    #[test]
    fn nothing_recorded_draws_nothing_and_does_not_fail() {
        let picture = draw(&Timeline::default(), &|_| None, "t", &Options::default());
        tags_of(&picture.html);
        assert_eq!(picture.json["lanes"], serde_json::json!([]));
    }
}
