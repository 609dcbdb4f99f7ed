//! A fixed set of recordings and their pictures, as files to be looked at: `golden/NAME.txt`, `.svg` and `.html`.
//!
//! Where a picture is meant to change, `THREADBOOK_GOLDEN=write cargo test golden` writes the files anew; look at them before they are committed.

use std::fs;
use std::path::PathBuf;

use threadbook_timeline::fold::fold;
use threadbook_timeline::script::trace;
use threadbook_timeline::trace::{Gap, Trace};

use super::{Axis, Options, Place, as_file, draw};

/// The recordings, by the name of their files.
pub fn recordings() -> Vec<(&'static str, Trace)> {
    let scripts = [
        (
            "two_bakers",
            "main spawn ada; main spawn grace; ada start; grace start; @60 ada take oven :3; @80 grace want oven :3; @400 ada release oven; @410 ada exit; \
             grace take oven; @700 grace release oven; grace exit; main joined ada; main joined grace; main end",
        ),
        (
            "message",
            "main make channel orders; main spawn ada; main recv orders :2; @40 ada start; @90 ada send orders :5; @110 main got orders; ada send orders :5; \
             ada send orders :5; @160 ada exit; main got orders :6; @200 main got orders :6; main end",
        ),
        (
            "deadlock",
            "main spawn ada; main spawn grace; ada start; grace start; @50 ada take flour :3; @70 grace take sugar :9; @120 ada want sugar :4; @300 grace want flour :10; \
             grace deadlock ada =1; grace deadlock grace =1; ada on; ada cut; @330 grace on; grace cut; grace release sugar; grace exit; ada release flour; ada exit; \
             main joined ada; main end",
        ),
        (
            "green_tasks",
            "main go ada; main go grace; main go linus; ada start ^1; grace start ^2; @60 ada yield ^1; linus start ^1; @100 linus recv orders ^1; ada resumed ^1; \
             @140 ada send orders ^1; @150 ada hogged =30 ^1; ada exit ^1; linus got orders ^1; @200 grace yield ^2; @210 grace resumed ^2; @260 grace cut =2 ^2; grace exit ^2; \
             linus cut =2 ^1; linus exit ^1; main end",
        ),
        (
            "pool",
            "main make channel jobs; main spawn w1; main spawn w2; main spawn w3; w1 start; w2 start; w3 start; w1 recv jobs :7; w2 recv jobs :7; w3 recv jobs :7; \
             @50 main send jobs :3; w1 got jobs; main send jobs :3; w2 got jobs; main send jobs :3; w3 got jobs; main send jobs :3; main send jobs :3; w1 work; w2 work; w3 work; \
             @200 w1 worked; w1 got jobs; w1 work; @240 w2 worked; w2 got jobs; w2 work; @300 w3 worked; w3 exit; @390 w1 worked; w1 exit; @450 w2 worked; w2 mark last; w2 exit; \
             main joined w1; main joined w2; main joined w3; main end",
        ),
        (
            "waits_of_all_kinds",
            "main spawn ada; main spawn grace; main write menu; ada wantread menu :4; @100 main release menu; ada read menu; grace await oven :5; \
             @200 ada release menu; ada notify oven; grace on; ada meet door :6; @300 grace trip door; ada on; ada lack list :7; @400 grace fill list; ada on; \
             main select :8; @500 ada wake main; main on; main add ovens; main wait ovens :9; @600 grace done ovens; main on; ada sleep; @700 ada on; ada region proof; \
             @760 ada leave; ada panic no_flour; ada exit; main join grace; main end",
        ),
        (
            "steps",
            "main spawn ada; main spawn grace; main take till; ada want till; grace want till; main release till; ada take till; ada release till; ada exit; \
             grace take till; grace release till; grace exit; main joined ada; main joined grace; @900000 main end",
        ),
        (
            "interrupted",
            "main spawn cook; main spawn baker; cook start; cook take oven :4; cook sleep :5; baker start; baker want oven :9; main join baker :12; \
             @3000000 baker on; main cut =3; main on; cook cut =3; baker cut =3; baker exit; cook on; cook release oven; cook exit; main end",
        ),
        (
            "left_alive",
            "main make channel orders; main spawn ada; main spawn _x; ada start; _x start; ada recv orders :3; _x sleep; @200 main mark shop_opens; @300 main end",
        ),
    ];
    let mut all: Vec<(&'static str, Trace)> = scripts
        .into_iter()
        .map(|(name, script)| (name, trace(script)))
        .collect();
    let mut gap = trace(
        "main spawn ada; main spawn grace; ada start; ada take till; grace start; grace want till :7; grace gap; ada gap; @400 ada release till; ada exit; \
         @500 main join grace :9; main end",
    );
    gap.gap = Some(Gap {
        from: 60_000,
        until: 400_000,
    });
    gap.dropped = 1_234_567;
    all.push(("not_all_was_kept", gap));
    all.push(("two_hundred", trace(&crowd(200))));
    all.push(("two_thousand", trace(&crowd(2000))));
    all
}

/// So many bakers, who take turns at one oven; a few have other fates.
fn crowd(many: u32) -> String {
    let mut script = String::from("main make channel orders;");
    for n in 0..many {
        script += &format!("main go baker{n};");
    }
    for n in 0..many {
        script += &format!(
            "baker{n} start ^{}; baker{n} recv orders :4 ^{0};",
            n % 2 + 1
        );
    }
    for n in (0..many).filter(|n| n % 90 != 7) {
        script += &format!(
            "main send orders :7; baker{n} got orders ^{0}; baker{n} work ^{0}; baker{n} worked ^{0};",
            n % 2 + 1
        );
        if n % 70 == 3 {
            script += &format!("baker{n} panic no_flour;");
        }
        script += &format!("baker{n} exit ^{};", n % 2 + 1);
    }
    script + "main end"
}

fn place_of(site: u16) -> Option<Place> {
    (site > 1).then(|| Place {
        cell: 4,
        line: site.into(),
        text: "let mut oven = oven.lock().unwrap();".into(),
    })
}

#[test]
fn pictures_are_as_they_were_looked_at() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernel/src/render/golden");
    let writes = std::env::var_os("THREADBOOK_GOLDEN").is_some_and(|how| how == "write");
    let mut wrong = Vec::new();
    for (name, trace) in recordings() {
        let timeline = fold(&trace);
        let options = Options { axis: Axis::Auto };
        let picture = draw(&timeline, &place_of, name, &options);
        let svg = as_file(&timeline, &place_of, &options);
        // A line for each element: what changed can then be seen in a diff.
        let html = picture.html.replace("><", ">\n<") + "\n";
        for (ending, is) in [("txt", picture.text), ("svg", svg), ("html", html)] {
            let path = folder.join(name).with_extension(ending);
            if writes {
                fs::create_dir_all(&folder).expect("the folder can be made");
                fs::write(&path, &is).expect("the file can be written");
            }
            let was = fs::read_to_string(&path).unwrap_or_default();
            if was != is {
                wrong.push(format!("{name}.{ending}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in kernel/src/render/golden: {wrong:?}; if that is meant, write them anew: THREADBOOK_GOLDEN=write cargo test golden"
    );
}
