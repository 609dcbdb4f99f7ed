//! Pictures as text, one for each thing that can happen.

use super::*;
use threadbook_timeline::trace::Gap;

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
    grace  ......-----------###CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC#######... interrupted

    # running   - ready   C waits on a channel   . not alive
    180 µs in all
      grace waited 90 µs for a message on channel `orders`, until the interrupt ended it
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
    let alike = picture(&(many.clone() + "main end")).text;
    let told = "\nstill alive when the cell ended:\n  100 tasks like `t0` have not begun yet\n";
    assert!(alike.ends_with(told), "{alike}");
    // Each waits for a lock of its own: nobody does what another one does.
    let locks: String = (0..100)
        .map(|task| format!("main take m{task}; t{task} want m{task};"))
        .collect();
    let picture = picture(&(many + &locks + "main end"));
    assert!(
        picture.text.ends_with("\n  and 92 more\n"),
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
    8 steps from one thing that happened to the next, not by time; 900 ms in all
      ada waited 10 µs for lock `till`; let go by main
    ");
}
