use super::*;
use crate::render::Place;
use threadbook_timeline::fold::fold;
use threadbook_timeline::script::trace;

fn place_of(site: u16) -> Option<Place> {
    Some(Place {
        cell: 4,
        line: site.into(),
        text: String::new(),
    })
}

fn story(script: &str) -> String {
    explain(&fold(&trace(script)), &place_of).join("\n")
}

#[test]
fn a_wait_for_a_lock_names_who_had_it_and_who_let_go() {
    let script = "main spawn cook; main spawn baker; cook take oven :5; baker want oven :7; @1850 cook release oven; cook exit; baker take oven; \
        baker release oven; baker exit; main joined cook; main joined baker; main end";
    insta::assert_snapshot!(story(script), @r"
    baker waited 1.8 ms for lock `oven` (cell 4 line 7), held by cook since cell 4 line 5; cook's unlock let it go on.
    All of it took 1.9 ms; of 2 tasks besides main, at most one ran at once.
    ");
}

#[test]
fn each_kind_of_wait_says_how_it_ended() {
    let script = "main spawn ada; main add w =1; main wait w :3; @100 ada done w; main on; main recv orders :4; @200 ada send orders; main got orders; \
        ada send orders; ada full orders :5; @300 main got orders; ada on; main join ada :6; @400 ada exit; main joined ada; main end";
    insta::assert_snapshot!(story(script), @r"
    main waited 80 µs for a message on channel `orders` (cell 4 line 4); message 1 of ada let it go on.
    main waited 80 µs for ada to end (cell 4 line 6).
    main waited 70 µs for wait group `w` (cell 4 line 3); the last `done` came from ada.
    ada waited 70 µs for room in channel `orders` (cell 4 line 5); main made room, and so let it go on.
    All of it took 420 µs; of one task besides main, at most one ran at once.
    ");
}

#[test]
fn waits_at_one_line_are_told_together_and_the_longest_in_full() {
    let mut script = "main spawn cook; main spawn baker;".to_owned();
    for round in 0..5 {
        let at = 1000 * (round + 1);
        script += &format!(
            "@{at} cook take oven :5; baker want oven :7; @{} cook release oven; baker take oven :7; baker release oven;",
            at + 100 * (round + 1)
        );
    }
    insta::assert_snapshot!(story(&(script + "cook exit; baker exit; main end")), @r"
    baker waited 5 times for lock `oven` (cell 4 line 7), 1.4 ms in all; the longest took 490 µs, held by cook since cell 4 line 5; cook's unlock let it go on.
    Lock `oven` was waited for 5 times, 1.4 ms in all; cook had it longest, 1.5 ms in all.
    All of it took 5.5 ms; of 2 tasks besides main, at most 2 ran at once.
    ");
}

#[test]
fn a_deadlock_comes_first_as_a_ring() {
    let script = "main spawn ada; main spawn grace; ada take flour :2; grace take sugar :3; ada want sugar :4; @300 grace want flour :5; grace deadlock ada =1; \
        grace deadlock grace =1; ada on; ada cut; grace on; grace cut; grace release sugar; grace exit; ada release flour; ada exit; main joined ada; main end";
    insta::assert_snapshot!(story(script), @r"
    Deadlock: ada and grace waited for each other.
    ada waited 280 µs for lock `sugar` (cell 4 line 4), held by grace since cell 4 line 3.
    grace waited 50 µs for lock `flour` (cell 4 line 5), held by ada since cell 4 line 2.
    All of it took 420 µs; of 2 tasks besides main, at most 2 ran at once.
    ");
    insta::assert_snapshot!(story("main take till :2; main want till :3; main deadlock main =1; main on; main cut; main release till; main end"), @r"
    Deadlock: main waited for itself.
    main waited 20 µs for lock `till` (cell 4 line 3), held by itself since cell 4 line 2.
    All of it took 70 µs, in main alone.
    ");
    let asleep = "main spawn ada; ada recv orders :2; main wait bakers :3; x deadlock main =0; x deadlock ada =0; ada on; ada cut; ada exit; main on; main cut; main end";
    insta::assert_snapshot!(story(asleep), @r"
    Deadlock: all tasks waited, and nobody was left who could have let one of them go on.
    main waited 60 µs for wait group `bakers` (cell 4 line 3).
    ada waited 40 µs for a message on channel `orders` (cell 4 line 2).
    All of it took 110 µs; of one task besides main, at most one ran at once.
    ");
}

#[test]
fn who_is_left_behind_panicked_or_was_cut_off_is_told() {
    let script = "main spawn ada; main spawn bob; main go eve; ada recv orders :3; bob panic no flour; bob exit; eve start ^1; eve cut =2 ^1; eve exit ^1; @300 main end";
    insta::assert_snapshot!(story(script), @r"
    bob panicked: no flour.
    Still alive when the cell ended: ada waits for a message on channel `orders` (cell 4 line 3); a sender of it is alive, and nobody has sent to it in this cell.
    eve was cut off when its program returned.
    All of it took 300 µs; of 3 tasks besides main, at most one ran at once.
    ");
    let interrupted = "main spawn ada; main recv orders :3; ada sleep :4; @3000000 main cut =3; main on; ada cut =3; ada on; ada exit; main end";
    insta::assert_snapshot!(story(interrupted), @r"
    main waited 3 s for a message on channel `orders` (cell 4 line 3), until the interrupt ended it.
    ada slept (cell 4 line 4) until the interrupt ended it.
    All of it took 3 s; of one task besides main, at most one ran at once.
    ");
}

#[test]
fn nothing_to_tell_is_said() {
    insta::assert_snapshot!(story("main spawn ada; ada exit; main end"), @r"
    Nobody waited for anybody.
    All of it took 30 µs; of one task besides main, none was seen to run.
    ");
    assert_eq!(
        explain(&Timeline::default(), &|_| None),
        ["Nobody waited for anybody.", "Nothing was recorded."]
    );
}

#[test]
fn many_waits_are_counted_and_not_listed() {
    let mut script = "main spawn cook;".to_owned();
    // No two names are alike.
    let names = ('a'..='e').flat_map(|a| ('s'..='z').map(move |b| format!("{a}{b}")));
    for baker in names {
        script += &format!(
            "main spawn {baker}; cook take oven; {baker} want oven :7; cook release oven; {baker} take oven; {baker} release oven;"
        );
    }
    let told = explain(&fold(&trace(&(script + "main end"))), &place_of);
    let more = told
        .iter()
        .position(|line| line.starts_with("28 more waits took"));
    assert_eq!(
        more,
        told.iter().position(|line| line.contains("more waits")),
        "{told:#?}"
    );
    assert!(more.is_some(), "{told:#?}");
    assert!(told.len() < 30, "{}", told.len());
}

#[test]
fn what_alike_tasks_did_is_told_once_and_the_odd_ones_out_by_name() {
    let mut script = "main spawn cook; cook take oven :5;".to_owned();
    for task in 0..40 {
        script += &format!("main spawn baker{task}; main go guest{task};");
    }
    for task in 0..40 {
        script += &format!(
            "baker{task} want oven :7; guest{task} start ^1; guest{task} cut =2 ^1; guest{task} exit ^1;"
        );
    }
    script += "cook release oven;";
    for task in 0..40 {
        let more = if task == 3 { "@90000" } else { "" };
        script += &format!("{more} baker{task} take oven; baker{task} release oven; ");
        script += &format!(
            "baker{task} panic {}; baker{task} exit;",
            if task == 9 { "burnt" } else { "no flour" }
        );
    }
    insta::assert_snapshot!(story(&(script + "cook recv orders :9; main end")), @r"
    39 tasks like `baker0` panicked: no flour.
    baker9 panicked: burnt.
    Still alive when the cell ended: cook waits for a message on channel `orders` (cell 4 line 9); a sender of it is alive, and nobody has sent to it in this cell.
    40 tasks like `baker0` each waited for lock `oven` (cell 4 line 7), 3.2 s in all; the longest took 89 ms: `baker4`, held by cook since cell 4 line 5; baker3's unlock let it go on.
    Lock `oven` was waited for 40 times, 3.2 s in all; cook had it longest, 2.4 ms in all.
    40 tasks like `guest0` were cut off when their program returned.
    All of it took 91 ms; of 81 tasks besides main, at most 2 ran at once.
    ");
}

#[test]
fn interrupted_tasks_that_are_alike_are_told_once() {
    let mut script = String::new();
    for task in 0..6 {
        script += &format!(
            "main spawn baker{task}; baker{task} recv orders :3; main spawn cook{task}; cook{task} sleep :4;"
        );
    }
    script += "main join baker0 :5; @3000000 main cut =3; main on;";
    for task in 0..6 {
        script += &format!(
            "baker{task} cut =3; baker{task} on; baker{task} exit; cook{task} cut =3; cook{task} on; cook{task} exit;"
        );
    }
    insta::assert_snapshot!(story(&(script + "main end")), @r"
    main waited 3 s for baker0 to end (cell 4 line 5), until the interrupt ended it.
    6 tasks like `baker0` waited for a message on channel `orders` (cell 4 line 3), until the interrupt ended it.
    6 tasks like `cook0` slept (cell 4 line 4) until the interrupt ended it.
    All of it took 3 s; of 12 tasks besides main, at most one ran at once.
    ");
}

#[test]
fn many_that_wait_now_are_told_once_with_who_waits_longest() {
    let mut script = "main spawn cook; cook take oven :5;".to_owned();
    for task in 0..6 {
        script += &format!("main spawn baker{task}; baker{task} want oven :7;");
    }
    let timeline = fold(&trace(&(script + "@9000 main join cook :8")));
    insta::assert_snapshot!(waits_now(&timeline, &place_of).join("\n"), @r"
    6 tasks like `baker0` wait for lock `oven` (cell 4 line 7), which cook has (cell 4 line 5); the longest for 9 ms so far: `baker0`
    main waits for cook to end (cell 4 line 8); for 0 ns so far
    ");
}

#[test]
fn who_waits_now_is_told_with_who_has_it() {
    let timeline = fold(&trace(
        "main spawn ada; ada take oven :5; main want oven :7; @9000 ada recv orders :8",
    ));
    insta::assert_snapshot!(waits_now(&timeline, &place_of).join("\n"), @r"
    main waits for lock `oven` (cell 4 line 7), which ada has (cell 4 line 5); for 9 ms so far
    ada waits for a message on channel `orders` (cell 4 line 8); a sender of it is alive, and nobody has sent to it in this cell; for 0 ns so far
    ");
    assert!(
        waits_now(
            &fold(&trace(
                "main spawn ada; main join ada; ada exit; main joined ada; main end"
            )),
            &place_of
        )
        .is_empty()
    );
}
