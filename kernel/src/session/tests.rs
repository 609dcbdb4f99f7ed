//! Whole conversations: what goes in, and what comes out, one line each.

use serde_json::{Value, json};

use super::*;
use crate::cell::{Completion, Completions, MimeBundle};
use crate::wire::frame::Signer;

/// One step of a conversation, then what the session says to it.
type Step = (Input, &'static [&'static str]);

/// A session whose evaluator is warm.
fn session() -> Session {
    let versions = Versions {
        kernel: "0.1.0".to_owned(),
        rust: "1.95.0".to_owned(),
    };
    let prelude = "/// Starts a thread.\npub fn spawn() -> JoinHandle<()> { x }";
    let sources = vec![
        ("p/src/lib.rs", "pub use thread::spawn;"),
        ("p/src/thread.rs", prelude),
    ];
    let mut session = Session::new(versions, Names::new(sources), Vec::new(), 1);
    session.handle(Input::Evaluator(Event::Ready { seconds: 2.5 }));
    session
}

/// A request whose id is its number, so that answers show whom they answer.
fn ask(id: u32, msg_type: &str, content: &Value) -> Input {
    ask_on(Channel::Shell, id, msg_type, content)
}

fn ask_on(channel: Channel, id: u32, msg_type: &str, content: &Value) -> Input {
    let header = json!({"msg_id": id.to_string(), "msg_type": msg_type}).to_string();
    let parts = [
        "client",
        "<IDS|MSG>",
        "",
        &header,
        "{}",
        "{}",
        &content.to_string(),
    ];
    let parts = parts
        .iter()
        .map(|part| Bytes::from(part.to_string()))
        .collect();
    Input::Request {
        channel,
        message: Message::decode(parts, &Signer::new("")).unwrap(),
    }
}

fn run(id: u32, code: &str) -> Input {
    ask(
        id,
        "execute_request",
        &json!({"code": code, "silent": false}),
    )
}

fn finished(job: JobId) -> Input {
    Input::Evaluator(Event::Finished {
        job,
        outcome: Outcome::default(),
    })
}

fn failed(job: JobId) -> Input {
    let error = CellError {
        ename: "Panic".to_owned(),
        evalue: "burnt".to_owned(),
        traceback: vec!["line 3".to_owned()],
    };
    Input::Evaluator(Event::Finished {
        job,
        outcome: Outcome {
            error: Some(error),
            ..Outcome::default()
        },
    })
}

fn text(plain: &str) -> MimeBundle {
    fields(json!({"text/plain": plain}))
}

fn stream(job: Option<JobId>, text: &str) -> Input {
    Input::Evaluator(Event::Stream {
        job,
        name: StreamName::Stdout,
        text: text.to_owned(),
    })
}

/// Writes what the session says as `<parent or channel> <type> <content>`, without the parts that say nothing.
fn line(output: &Output) -> String {
    let plain = |content: &Map<String, Value>| {
        let dull = [
            "metadata",
            "transient",
            "user_expressions",
            "payload",
            "traceback",
        ];
        let content: Map<String, Value> = content
            .iter()
            .filter(|(key, value)| {
                !dull.contains(&key.as_str()) || (*key == "transient" && **value != json!({}))
            })
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Value::Object(content).to_string()
    };
    match output {
        Output::Publish {
            parent,
            msg_type: "status",
            content,
        } => {
            format!(
                "{} {}",
                parent.as_ref().map_or("-", |parent| &parent.msg_id),
                content["execution_state"].as_str().unwrap()
            )
        }
        Output::Publish {
            parent,
            msg_type,
            content,
        } => format!(
            "{} {msg_type} {}",
            parent.as_ref().map_or("-", |parent| &parent.msg_id),
            plain(content)
        ),
        Output::Reply {
            channel,
            to,
            msg_type,
            content,
        } => {
            assert_eq!(to.identities, ["client"]);
            format!(
                "{} {channel} {msg_type} {}",
                to.header.msg_id,
                plain(content)
            )
        }
        Output::Evaluate(Job::Execute {
            job,
            execution_count,
            code,
            ..
        }) => format!("evaluate {job} [{execution_count}] {code}"),
        Output::Evaluate(Job::Complete { job, cursor, .. }) => {
            format!("complete {job} at {cursor}")
        }
        Output::Evaluate(Job::Inspect { job, cursor, .. }) => format!("inspect {job} at {cursor}"),
        Output::Ask { to, content } => {
            assert_eq!(to.identities, ["client"]);
            format!("{} asks {}", to.header.msg_id, plain(content))
        }
        Output::Answer(text) => format!("answer {text}"),
        Output::Interrupt => "interrupt".to_owned(),
        Output::Shutdown { restart } => format!("shutdown restart={restart}"),
        Output::Remember(line) => format!("remember {:?}", line.n),
        Output::Log(_) => "log".to_owned(),
    }
}

fn converse(name: &str, steps: Vec<Step>) {
    let mut session = session();
    for (at, (input, want)) in steps.into_iter().enumerate() {
        // What is kept for later sessions has tests of its own.
        let said = session.handle(input);
        let said = said
            .iter()
            .filter(|output| !matches!(output, Output::Remember(_)));
        let said: Vec<String> = said.map(line).collect();
        assert_eq!(said, want, "{name}, step {}", at + 1);
    }
}

#[test]
fn a_cell_prints_draws_and_gives_a_value() {
    let outcome = Outcome {
        picture: Some(text("two lanes")),
        result: Some(text("3")),
        error: None,
        cell: None,
    };
    converse(
        "one good cell",
        vec![
            (Input::Started, &["- starting"]),
            (Input::Evaluator(Event::Ready { seconds: 2.5 }), &[]),
            (
                run(1, "bake()"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"bake()","execution_count":1}"#,
                    "evaluate 1 [1] bake()",
                ],
            ),
            (
                stream(Some(1), "warm"),
                &[r#"1 stream {"name":"stdout","text":"warm"}"#],
            ),
            (
                Input::Evaluator(Event::Display {
                    job: Some(1),
                    bundle: text("a loaf"),
                    id: Some("d1".into()),
                }),
                &[
                    r#"1 display_data {"transient":{"display_id":"d1"},"data":{"text/plain":"a loaf"}}"#,
                ],
            ),
            (
                Input::Evaluator(Event::Update {
                    job: Some(1),
                    id: "d1".into(),
                    bundle: text("two loaves"),
                }),
                &[
                    r#"1 update_display_data {"transient":{"display_id":"d1"},"data":{"text/plain":"two loaves"}}"#,
                ],
            ),
            (
                Input::Evaluator(Event::ClearOutput {
                    job: Some(1),
                    wait: true,
                }),
                &[r#"1 clear_output {"wait":true}"#],
            ),
            (
                Input::Evaluator(Event::Finished { job: 1, outcome }),
                &[
                    r#"1 display_data {"data":{"text/plain":"two lanes"}}"#,
                    r#"1 execute_result {"execution_count":1,"data":{"text/plain":"3"}}"#,
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                ],
            ),
        ],
    );
}

#[test]
fn a_question_goes_to_who_sent_the_cell_and_only_its_answer_counts() {
    let answer = |who: &str, text: &str| {
        let header = json!({"msg_id": "9", "msg_type": "input_reply"}).to_string();
        let content = json!({"value": text}).to_string();
        let parts = [who, "<IDS|MSG>", "", &header, "{}", "{}", &content];
        let parts = parts.iter().map(|part| Bytes::from(part.to_string()));
        Input::Answer(Message::decode(parts.collect(), &Signer::new("")).unwrap())
    };
    let question = |job| {
        Input::Evaluator(Event::InputRequest {
            job,
            prompt: "name? ".into(),
            password: false,
        })
    };
    converse(
        "a cell that asks",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (answer("client", "too early"), &["log"]),
            (
                question(1),
                &[r#"1 asks {"prompt":"name? ","password":false}"#],
            ),
            (answer("another", "Eve"), &["log"]),
            (answer("client", "Ada"), &["answer Ada"]),
            (answer("client", "twice"), &["log"]),
            (
                question(1),
                &[r#"1 asks {"prompt":"name? ","password":false}"#],
            ),
            (
                finished(1),
                &[
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                ],
            ),
            (answer("client", "too late"), &["log"]),
            (question(1), &[]),
        ],
    );
}

#[test]
fn a_red_cell_gives_one_error_and_takes_the_waiting_cells_along() {
    converse(
        "run all",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (run(2, "b"), &[]),
            (run(3, "c"), &[]),
            (
                failed(1),
                &[
                    r#"1 error {"ename":"Panic","evalue":"burnt"}"#,
                    r#"1 shell execute_reply {"status":"error","execution_count":1,"ename":"Panic","evalue":"burnt"}"#,
                    "1 idle",
                    "2 busy",
                    r#"2 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run, since a cell before it failed"}"#,
                    "2 idle",
                    "3 busy",
                    r#"3 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run, since a cell before it failed"}"#,
                    "3 idle",
                ],
            ),
            (
                run(4, "d"),
                &[
                    "4 busy",
                    r#"4 execute_input {"code":"d","execution_count":2}"#,
                    "evaluate 2 [2] d",
                ],
            ),
        ],
    );
    converse(
        "stop_on_error false",
        vec![
            (
                ask(
                    1,
                    "execute_request",
                    &json!({"code": "a", "stop_on_error": false}),
                ),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (run(2, "b"), &[]),
            (
                failed(1),
                &[
                    r#"1 error {"ename":"Panic","evalue":"burnt"}"#,
                    r#"1 shell execute_reply {"status":"error","execution_count":1,"ename":"Panic","evalue":"burnt"}"#,
                    "1 idle",
                    "2 busy",
                    r#"2 execute_input {"code":"b","execution_count":2}"#,
                    "evaluate 2 [2] b",
                ],
            ),
        ],
    );
}

#[test]
fn cells_run_one_at_a_time_in_order() {
    converse(
        "two cells",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (run(2, "b"), &[]),
            (
                finished(1),
                &[
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                    "2 busy",
                    r#"2 execute_input {"code":"b","execution_count":2}"#,
                    "evaluate 2 [2] b",
                ],
            ),
            (finished(1), &["log"]),
            (
                finished(2),
                &[
                    r#"2 shell execute_reply {"status":"ok","execution_count":2}"#,
                    "2 idle",
                ],
            ),
        ],
    );
}

#[test]
fn output_of_threads_goes_to_their_own_cell_or_the_latest() {
    converse(
        "late output",
        vec![
            (
                stream(None, "x"),
                &[r#"- stream {"name":"stdout","text":"x"}"#],
            ),
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (
                finished(1),
                &[
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                ],
            ),
            (
                stream(None, "x"),
                &[r#"1 stream {"name":"stdout","text":"x"}"#],
            ),
            (
                run(2, "b"),
                &[
                    "2 busy",
                    r#"2 execute_input {"code":"b","execution_count":2}"#,
                    "evaluate 2 [2] b",
                ],
            ),
            (
                stream(Some(1), "x"),
                &[r#"1 stream {"name":"stdout","text":"x"}"#],
            ),
            (
                stream(None, "x"),
                &[r#"2 stream {"name":"stdout","text":"x"}"#],
            ),
            (
                stream(Some(99), "x"),
                &[r#"2 stream {"name":"stdout","text":"x"}"#],
            ),
        ],
    );
}

#[test]
fn a_silent_cell_is_not_counted_and_shows_nothing() {
    let outcome = Outcome {
        picture: Some(text("lanes")),
        result: Some(text("3")),
        error: None,
        cell: None,
    };
    converse(
        "silent",
        vec![
            (
                ask(1, "execute_request", &json!({"code": "a", "silent": true})),
                &["1 busy", "evaluate 1 [1] a"],
            ),
            (stream(Some(1), "x"), &[]),
            (
                Input::Evaluator(Event::Finished { job: 1, outcome }),
                &[
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                ],
            ),
            (
                ask(
                    2,
                    "execute_request",
                    &json!({"code": "b", "store_history": false}),
                ),
                &[
                    "2 busy",
                    r#"2 execute_input {"code":"b","execution_count":1}"#,
                    "evaluate 2 [1] b",
                ],
            ),
            (
                finished(2),
                &[
                    r#"2 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "2 idle",
                ],
            ),
            (
                run(3, "c"),
                &[
                    "3 busy",
                    r#"3 execute_input {"code":"c","execution_count":1}"#,
                    "evaluate 3 [1] c",
                ],
            ),
            (
                finished(3),
                &[
                    r#"3 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "3 idle",
                ],
            ),
            (
                ask(
                    4,
                    "history_request",
                    &json!({"hist_access_type": "tail", "n": 9, "output": false, "raw": true}),
                ),
                &[
                    "4 busy",
                    r#"4 shell history_reply {"history":[[1,1,"c"]],"status":"ok"}"#,
                    "4 idle",
                ],
            ),
            (
                run(5, " \n"),
                &[
                    "5 busy",
                    r#"5 execute_input {"code":" \n","execution_count":2}"#,
                    r#"5 shell execute_reply {"status":"ok","execution_count":2}"#,
                    "5 idle",
                ],
            ),
        ],
    );
}

#[test]
fn cursors_are_code_points_outside_and_bytes_inside() {
    let matches = vec![Completion {
        text: "ämter".to_owned(),
        kind: "function".to_owned(),
        label: "fn ämter()".to_owned(),
    }];
    let mut session = session();
    let asked = session.handle(ask(
        1,
        "complete_request",
        &json!({"code": "é.äm", "cursor_pos": 4}),
    ));
    assert_eq!(
        asked.iter().map(line).collect::<Vec<_>>(),
        ["1 busy", "complete 1 at 6"]
    );
    let answered = session.handle(Input::Evaluator(Event::Completed {
        job: 1,
        found: Some(Completions {
            start: 3,
            end: 6,
            matches,
        }),
    }));
    let Output::Reply { content, .. } = &answered[0] else {
        panic!("{answered:?}")
    };
    let want = json!({
        "matches": ["ämter"], "cursor_start": 2, "cursor_end": 4, "status": "ok",
        "metadata": {"_jupyter_types_experimental": [{"start": 2, "end": 4, "text": "ämter", "type": "function", "signature": "fn ämter()"}]},
    });
    assert_eq!(Value::Object(content.clone()), want);
}

#[test]
fn a_completion_that_the_evaluator_failed_to_give_comes_from_the_table_of_names() {
    let mut session = session();
    drop(session.handle(ask(
        1,
        "complete_request",
        &json!({"code": "spaw", "cursor_pos": 4}),
    )));
    let answered = session.handle(Input::Evaluator(Event::Completed {
        job: 1,
        found: None,
    }));
    let Output::Reply { content, .. } = &answered[0] else {
        panic!("{answered:?}")
    };
    let matches = content["matches"].as_array();
    assert!(
        matches.is_some_and(|matches| matches.contains(&json!("spawn"))),
        "{content:?}"
    );
    assert_eq!(
        (&content["cursor_start"], &content["cursor_end"]),
        (&json!(0), &json!(4))
    );
}

#[test]
fn an_editor_does_not_wait_for_a_cell() {
    converse(
        "while a cell runs",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (
                ask(
                    2,
                    "complete_request",
                    &json!({"code": "ab", "cursor_pos": 99}),
                ),
                &[
                    "2 busy",
                    r#"2 shell complete_reply {"matches":[],"cursor_start":0,"cursor_end":2,"status":"ok"}"#,
                    "2 idle",
                    "1 busy",
                ],
            ),
            (
                ask(
                    3,
                    "inspect_request",
                    &json!({"code": "ab", "cursor_pos": 1, "detail_level": 0}),
                ),
                &[
                    "3 busy",
                    r#"3 shell inspect_reply {"found":false,"data":{},"status":"ok"}"#,
                    "3 idle",
                    "1 busy",
                ],
            ),
            (
                ask(4, "is_complete_request", &json!({"code": "fn f() {"})),
                &[
                    "4 busy",
                    r#"4 shell is_complete_reply {"status":"incomplete","indent":"    "}"#,
                    "4 idle",
                    "1 busy",
                ],
            ),
            (
                finished(1),
                &[
                    r#"1 shell execute_reply {"status":"ok","execution_count":1}"#,
                    "1 idle",
                ],
            ),
            (
                ask(
                    5,
                    "inspect_request",
                    &json!({"code": "ab", "cursor_pos": 1}),
                ),
                &["5 busy", "inspect 2 at 1"],
            ),
            (run(6, "b"), &[]),
            (
                Input::Evaluator(Event::Inspected {
                    job: 2,
                    bundle: Some(text("doc")),
                }),
                &[
                    r#"5 shell inspect_reply {"found":true,"data":{"text/plain":"doc"},"status":"ok"}"#,
                    "5 idle",
                    "6 busy",
                    r#"6 execute_input {"code":"b","execution_count":2}"#,
                    "evaluate 3 [2] b",
                ],
            ),
        ],
    );
}

#[test]
fn while_a_cell_runs_names_are_told_from_the_table() {
    let mut session = session();
    let mut said = |input| session.handle(input);
    said(run(1, "let loaf = 1; fn bake(n: u32) -> u32 { n }"));
    said(finished(1));
    said(run(2, "loop {}"));
    let content = |said: Vec<Output>| {
        let reply = said.into_iter().find_map(|output| match output {
            Output::Reply { content, .. } => Some(Value::Object(content)),
            _ => None,
        });
        reply.expect("a reply")
    };
    let typed = content(said(ask(
        3,
        "complete_request",
        &json!({"code": "é; lo", "cursor_pos": 5}),
    )));
    assert_eq!(
        (
            &typed["matches"],
            &typed["cursor_start"],
            &typed["cursor_end"]
        ),
        (&json!(["loaf", "loop"]), &json!(3), &json!(5))
    );
    assert_eq!(typed["metadata"]["threadbook"]["from"], "names");
    assert_eq!(
        typed["metadata"]["_jupyter_types_experimental"][0],
        json!({"start": 3, "end": 5, "text": "loaf", "type": "instance", "signature": "let loaf = 1;"})
    );
    let inspected = content(said(ask(
        4,
        "inspect_request",
        &json!({"code": "spawn", "cursor_pos": 5}),
    )));
    assert_eq!(inspected["found"], true);
    assert_eq!(
        inspected["data"]["text/plain"],
        "pub fn spawn() -> JoinHandle<()>\n\nStarts a thread."
    );
    said(finished(2));

    // Level 1 adds the source of what the notebook defined to what the evaluator knows.
    for (level, want) in [(0, "a fn"), (1, "a fn\n\nfn bake(n: u32) -> u32 { n }")] {
        let asked = said(ask(
            5 + level,
            "inspect_request",
            &json!({"code": "bake", "cursor_pos": 2, "detail_level": level}),
        ));
        let [_, Output::Evaluate(Job::Inspect { job, .. })] = asked[..] else {
            panic!("{asked:?}")
        };
        let told = content(said(Input::Evaluator(Event::Inspected {
            job,
            bundle: Some(text("a fn")),
        })));
        assert_eq!(told["data"]["text/plain"], want);
    }
}

#[test]
fn an_interrupt_reaches_only_a_cell_that_runs() {
    let interrupt = |id| ask_on(Channel::Control, id, "interrupt_request", &json!({}));
    converse(
        "interrupt",
        vec![
            (
                interrupt(1),
                &[
                    "1 busy",
                    r#"1 control interrupt_reply {"status":"ok"}"#,
                    "1 idle",
                ],
            ),
            (
                run(2, "a"),
                &[
                    "2 busy",
                    r#"2 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (
                interrupt(3),
                &[
                    "3 busy",
                    "interrupt",
                    r#"3 control interrupt_reply {"status":"ok"}"#,
                    "3 idle",
                    "2 busy",
                ],
            ),
        ],
    );
}

#[test]
fn a_shutdown_leaves_no_request_without_its_reply() {
    converse(
        "shutdown",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (run(2, "b"), &[]),
            (
                ask_on(
                    Channel::Control,
                    3,
                    "shutdown_request",
                    &json!({"restart": true}),
                ),
                &[
                    r#"1 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run to its end, since the kernel shuts down"}"#,
                    "1 idle",
                    "2 busy",
                    r#"2 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run to its end, since the kernel shuts down"}"#,
                    "2 idle",
                    "3 busy",
                    r#"3 control shutdown_reply {"restart":true,"status":"ok"}"#,
                    "3 idle",
                    "shutdown restart=true",
                ],
            ),
        ],
    );
}

#[test]
fn a_broken_evaluator_says_so_in_every_cell() {
    let broken = || {
        Input::Evaluator(Event::Broken {
            message: "no compiler: run rustup".to_owned(),
        })
    };
    converse(
        "broken while a cell waits",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (
                broken(),
                &[
                    "log",
                    r#"1 error {"ename":"Kernel","evalue":"no compiler: run rustup"}"#,
                    r#"1 shell execute_reply {"status":"error","execution_count":1,"ename":"Kernel","evalue":"no compiler: run rustup"}"#,
                    "1 idle",
                ],
            ),
            (finished(1), &["log"]),
            (
                run(2, "b"),
                &[
                    "2 busy",
                    r#"2 execute_input {"code":"b","execution_count":2}"#,
                    r#"2 error {"ename":"Kernel","evalue":"no compiler: run rustup"}"#,
                    r#"2 shell execute_reply {"status":"error","execution_count":2,"ename":"Kernel","evalue":"no compiler: run rustup"}"#,
                    "2 idle",
                ],
            ),
            (
                ask(
                    3,
                    "complete_request",
                    &json!({"code": "ab", "cursor_pos": 2}),
                ),
                &[
                    "3 busy",
                    r#"3 shell complete_reply {"matches":[],"cursor_start":0,"cursor_end":2,"status":"ok"}"#,
                    "3 idle",
                ],
            ),
        ],
    );
}

#[test]
fn every_request_gets_busy_one_reply_and_idle_in_any_state() {
    let requests = [
        ("kernel_info_request", json!({})),
        ("execute_request", json!({"code": "a"})),
        ("execute_request", json!({})),
        ("execute_request", json!({"code": 7})),
        ("complete_request", json!({"code": "a", "cursor_pos": 1})),
        ("complete_request", json!({"code": "a", "cursor_pos": -1})),
        ("complete_request", json!({"cursor_pos": "x"})),
        ("inspect_request", json!({"code": "a", "cursor_pos": 0})),
        ("inspect_request", json!({})),
        ("is_complete_request", json!({"code": "a"})),
        ("is_complete_request", json!({})),
        (
            "history_request",
            json!({"hist_access_type": "tail", "n": 1}),
        ),
        ("history_request", json!({"hist_access_type": "never"})),
        ("comm_info_request", json!({"target_name": "x"})),
        ("interrupt_request", json!({})),
        ("shutdown_request", json!({"restart": "perhaps"})),
        ("debug_request", json!({"command": "attach"})),
        ("create_subshell_request", json!({})),
        ("delete_subshell_request", json!({"subshell_id": "none"})),
        ("delete_subshell_request", json!({})),
        ("list_subshell_request", json!({})),
        ("connect_request", json!({})),
        (
            "execute_request",
            json!({"code": "a", "user_expressions": {"x": "b", "y": 7, "z": ""}}),
        ),
        (
            "execute_request",
            json!({"code": "", "user_expressions": {"x": "b"}}),
        ),
        (
            "execute_request",
            json!({"code": "a", "user_expressions": null}),
        ),
        ("execute_request", json!({"code": "(".repeat(100_000)})),
        ("execute_request", json!({"code": " ".repeat(2_000_000)})),
        (
            "complete_request",
            json!({"code": "1+".repeat(500_000), "cursor_pos": 9_999_999}),
        ),
        (
            "inspect_request",
            json!({"code": "[".repeat(3_000_000), "cursor_pos": 7, "detail_level": 1}),
        ),
        (
            "is_complete_request",
            json!({"code": "{".repeat(3_000_000)}),
        ),
    ];
    for channel in [Channel::Shell, Channel::Control] {
        for before in ["idle", "a cell runs", "broken"] {
            for (msg_type, content) in &requests {
                let mut session = session();
                match before {
                    "a cell runs" => drop(session.handle(run(1, "b"))),
                    "broken" => drop(session.handle(Input::Evaluator(Event::Broken {
                        message: "broken".to_owned(),
                    }))),
                    _ => {}
                }
                let mut said = session.handle(ask_on(channel, 2, msg_type, content));
                // Whatever it waits for, it comes.
                for job in 1..6 {
                    said.extend(session.handle(finished(job)));
                    said.extend(session.handle(Input::Evaluator(Event::Completed {
                        job,
                        found: Some(Completions {
                            start: 0,
                            end: 9,
                            matches: Vec::new(),
                        }),
                    })));
                    said.extend(
                        session.handle(Input::Evaluator(Event::Inspected { job, bundle: None })),
                    );
                }
                let said: Vec<String> = said
                    .iter()
                    .map(line)
                    .filter(|line| line.starts_with("2 "))
                    .collect();
                let reply = format!("2 {channel} {}", msg_type.replace("_request", "_reply"));
                let replies = said.iter().filter(|line| line.starts_with(&reply)).count();
                let case = format!("{msg_type} {content} on {channel}, {before}: {said:#?}");
                assert_eq!(
                    (replies, said[0].as_str(), said[said.len() - 1].as_str()),
                    (1, "2 busy", "2 idle"),
                    "{case}"
                );
                assert!(
                    said[said.len() - 2].starts_with(&reply),
                    "reply and idle are neighbours: {case}"
                );
            }
        }
    }
}

#[test]
fn comms_are_declined_politely() {
    converse(
        "comms",
        vec![
            (
                ask(
                    1,
                    "comm_open",
                    &json!({"comm_id": "c1", "target_name": "widget", "data": {}}),
                ),
                &[
                    "log",
                    "1 busy",
                    r#"1 comm_close {"comm_id":"c1","data":{}}"#,
                    "1 idle",
                ],
            ),
            (
                ask(2, "comm_msg", &json!({"comm_id": "c1", "data": {}})),
                &["2 busy", "2 idle"],
            ),
            (
                ask(3, "comm_info_request", &json!({})),
                &[
                    "3 busy",
                    r#"3 shell comm_info_reply {"comms":{},"status":"ok"}"#,
                    "3 idle",
                ],
            ),
            (ask(4, "gossip", &json!({})), &["log", "4 busy", "4 idle"]),
        ],
    );
}

/// A request for a subshell.
fn ask_in(subshell: &str, id: u32, msg_type: &str, content: &Value) -> Input {
    let Input::Request {
        channel,
        mut message,
    } = ask(id, msg_type, content)
    else {
        unreachable!("asked above")
    };
    message.header.subshell_id = Some(subshell.to_owned());
    Input::Request { channel, message }
}

#[test]
fn a_subshell_answers_while_a_cell_runs() {
    let create = |id| ask_on(Channel::Control, id, "create_subshell_request", &json!({}));
    let list = |id| ask_on(Channel::Control, id, "list_subshell_request", &json!({}));
    let delete = |id, which: &str| {
        ask_on(
            Channel::Control,
            id,
            "delete_subshell_request",
            &json!({"subshell_id": which}),
        )
    };
    let code = |code: &str| json!({"code": code});
    converse(
        "subshells",
        vec![
            (
                run(1, "a"),
                &[
                    "1 busy",
                    r#"1 execute_input {"code":"a","execution_count":1}"#,
                    "evaluate 1 [1] a",
                ],
            ),
            (
                create(2),
                &[
                    "2 busy",
                    r#"2 control create_subshell_reply {"subshell_id":"subshell-1","status":"ok"}"#,
                    "2 idle",
                    "1 busy",
                ],
            ),
            (
                create(3),
                &[
                    "3 busy",
                    r#"3 control create_subshell_reply {"subshell_id":"subshell-2","status":"ok"}"#,
                    "3 idle",
                    "1 busy",
                ],
            ),
            (
                list(4),
                &[
                    "4 busy",
                    r#"4 control list_subshell_reply {"subshell_id":["subshell-1","subshell-2"],"status":"ok"}"#,
                    "4 idle",
                    "1 busy",
                ],
            ),
            (
                ask_in("subshell-1", 5, "is_complete_request", &code("b")),
                &[
                    "5 busy",
                    r#"5 shell is_complete_reply {"status":"complete"}"#,
                    "5 idle",
                    "1 busy",
                ],
            ),
            (ask_in("subshell-1", 6, "execute_request", &code("b")), &[]),
            (ask_in("subshell-2", 7, "execute_request", &code("c")), &[]),
            (run(8, "d"), &[]),
            (
                delete(9, "subshell-1"),
                &[
                    "6 busy",
                    r#"6 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run, since its subshell was deleted"}"#,
                    "6 idle",
                    "9 busy",
                    r#"9 control delete_subshell_reply {"status":"ok"}"#,
                    "9 idle",
                    "1 busy",
                ],
            ),
            (
                ask_in("subshell-1", 10, "is_complete_request", &code("b")),
                &[
                    "10 busy",
                    r#"10 shell is_complete_reply {"status":"error","ename":"Request","evalue":"there is no subshell \"subshell-1\""}"#,
                    "10 idle",
                    "1 busy",
                ],
            ),
            (
                ask_in("subshell-1", 11, "comm_msg", &json!({"comm_id": "c"})),
                &["11 busy", "11 idle", "1 busy"],
            ),
            // The error of the main shell's cell stops the main shell's cells, and no other's.
            (
                failed(1),
                &[
                    r#"1 error {"ename":"Panic","evalue":"burnt"}"#,
                    r#"1 shell execute_reply {"status":"error","execution_count":1,"ename":"Panic","evalue":"burnt"}"#,
                    "1 idle",
                    "8 busy",
                    r#"8 shell execute_reply {"status":"aborted","execution_count":1,"ename":"Aborted","evalue":"not run, since a cell before it failed"}"#,
                    "8 idle",
                    "7 busy",
                    r#"7 execute_input {"code":"c","execution_count":2}"#,
                    "evaluate 2 [2] c",
                ],
            ),
        ],
    );
    let mut session = session();
    for id in 0..300 {
        session.handle(create(id));
    }
    assert_eq!(session.subshells.len(), SUBSHELLS);
}

#[test]
fn expressions_are_evaluated_after_the_cell() {
    let ask_all = |id, code: &str| {
        ask(
            id,
            "execute_request",
            &json!({"code": code, "user_expressions": {"sum": "1 + 1", "bad": "nobody", "no": 7}}),
        )
    };
    let mut session = session();
    let lines = |said: &[Output]| said.iter().map(line).collect::<Vec<_>>();
    session.handle(ask_all(1, "a"));
    assert_eq!(
        lines(&session.handle(finished(1))),
        ["evaluate 2 [1] 1 + 1"]
    );
    assert_eq!(
        lines(&session.handle(stream(Some(2), "printed"))),
        [""; 0],
        "what an expression prints belongs to no cell"
    );
    let outcome = Outcome {
        result: Some(text("2")),
        ..Outcome::default()
    };
    assert_eq!(
        lines(&session.handle(Input::Evaluator(Event::Finished { job: 2, outcome }))),
        ["evaluate 3 [1] nobody"]
    );
    let said = session.handle(failed(3));
    let [Output::Reply { content, .. }, _] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(
        content["status"], "ok",
        "an expression that fails fails alone"
    );
    assert_eq!(
        content["user_expressions"],
        json!({
            "sum": {"data": {"text/plain": "2"}, "metadata": {}, "status": "ok"},
            "bad": {"ename": "Panic", "evalue": "burnt", "traceback": ["line 3"], "status": "error"},
            "no": {"ename": "Kernel", "evalue": "this is no expression", "traceback": ["this is no expression"], "status": "error"},
        })
    );
    // A red cell has none.
    session.handle(ask_all(2, "b"));
    let said = session.handle(failed(4));
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn a_cell_that_is_too_much_for_the_parsers_fails_in_its_turn() {
    for (code, why) in [
        ("(".repeat(5_000), "nests about 5000 levels deep"),
        ("a;".repeat(1_000_000), "has 2000000 bytes"),
    ] {
        let mut session = session();
        session.handle(run(1, "a"));
        assert!(session.handle(run(2, &code)).is_empty());
        let said = session.handle(finished(1));
        let said = said
            .iter()
            .filter(|output| !matches!(output, Output::Remember(_)));
        let said: Vec<String> = said.map(line).collect();
        assert!(
            said[4].starts_with("2 error") && said[4].contains(why),
            "{said:?}"
        );
        assert!(
            said[5].starts_with("2 shell execute_reply") && said[6] == "2 idle" && said.len() == 7,
            "{said:?}"
        );
        assert!(said[3].len() < 2_000, "it is not sent to everybody in full");
    }
}

#[test]
fn what_a_cell_was_and_gave_is_kept_for_later_sessions() {
    let mut session = session();
    let mut remembered = |input| {
        let said = session.handle(input).into_iter();
        let lines = said.filter_map(|output| match output {
            Output::Remember(line) => Some((line.n, line.code, line.output)),
            _ => None,
        });
        lines.collect::<Vec<_>>()
    };
    let owned = |text: &str| Some(text.to_owned());
    assert_eq!(
        remembered(run(1, "1 + 1")),
        [(Some(1), owned("1 + 1"), None)]
    );
    let outcome = || Outcome {
        result: Some(text("2")),
        ..Outcome::default()
    };
    assert_eq!(
        remembered(Input::Evaluator(Event::Finished {
            job: 1,
            outcome: outcome()
        })),
        [(Some(1), None, owned("2"))]
    );
    for content in [
        json!({"code": "a", "silent": true}),
        json!({"code": "a", "store_history": false}),
    ] {
        assert_eq!(remembered(ask(2, "execute_request", &content)), []);
        assert_eq!(
            remembered(Input::Evaluator(Event::Finished {
                job: 2,
                outcome: outcome()
            })),
            []
        );
    }
}

#[test]
fn a_text_that_is_to_stand_in_the_cell_goes_to_its_client_alone() {
    let mut session = session();
    session.handle(run(1, ":reset"));
    let outcome = Outcome {
        cell: Some("fn f() {}".into()),
        ..Outcome::default()
    };
    let said = session.handle(Input::Evaluator(Event::Finished { job: 1, outcome }));
    let payloads: Vec<&Value> = said
        .iter()
        .filter_map(|output| match output {
            Output::Reply { content, .. } => content.get("payload"),
            Output::Publish { content, .. } => content.get("payload"),
            _ => None,
        })
        .collect();
    assert_eq!(
        payloads,
        [&json!([{"source": "set_next_input", "text": "fn f() {}", "replace": true}])]
    );
}

#[test]
fn a_name_after_a_question_mark_is_explained() {
    for (code, name) in [("?spawn", "spawn"), (" ?? Vec::push \n", "Vec::push")] {
        let mut session = session();
        let said = session.handle(run(1, code));
        let Some(Output::Evaluate(Job::Inspect {
            job: 1,
            code,
            cursor,
        })) = said.last()
        else {
            panic!("{said:?}")
        };
        assert_eq!((code.as_str(), *cursor), (name, name.len()));
        let said = session.handle(Input::Evaluator(Event::Inspected {
            job: 1,
            bundle: Some(text("doc")),
        }));
        let [Output::Reply { content, .. }, _] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!(
            content["payload"],
            json!([{"source": "page", "data": {"text/plain": "doc"}, "start": 0}])
        );
        assert_eq!(
            (&content["status"], &content["execution_count"]),
            (&json!("ok"), &json!(1))
        );
    }
    for (code, want) in [
        ("?spawn", "Starts a thread."),
        ("?nobody", "nothing is known of `nobody`"),
    ] {
        let mut session = session();
        session.handle(run(1, code));
        let said = session.handle(Input::Evaluator(Event::Inspected {
            job: 1,
            bundle: None,
        }));
        let [Output::Reply { content, .. }, _] = &said[..] else {
            panic!("{said:?}")
        };
        assert!(
            content["payload"][0]["data"]["text/plain"]
                .as_str()
                .unwrap()
                .contains(want),
            "{content:?}"
        );
    }
    for code in ["?", "? a b", "x?", "?(", "a ?b"] {
        assert_eq!(question(code), None, "{code}");
    }
}

#[test]
fn no_content_of_a_million_panics() {
    // A seed that never changes, so that a failure is found again.
    let mut state = 0x5eed_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let types = [
        "execute_request",
        "complete_request",
        "inspect_request",
        "is_complete_request",
        "history_request",
        "comm_open",
        "comm_msg",
        "shutdown_request",
        "delete_subshell_request",
        "debug_request",
        "kernel_info_request",
        "gossip",
    ];
    let keys = [
        "code",
        "cursor_pos",
        "silent",
        "store_history",
        "user_expressions",
        "stop_on_error",
        "allow_stdin",
        "detail_level",
        "hist_access_type",
        "n",
        "session",
        "start",
        "stop",
        "pattern",
        "unique",
        "output",
        "comm_id",
        "target_name",
        "data",
        "restart",
        "subshell_id",
        "seq",
        "command",
    ];
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(7),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!("tail"),
        json!("range"),
        json!("search"),
        json!("*?*"),
        json!("é🍞"),
        json!(""),
        json!([[]]),
        json!({"a": "b"}),
        json!({}),
    ];
    let mut parsed = 0;
    for _ in 0..1_000_000 {
        let content = (0..random(6)).map(|_| {
            (
                keys[random(keys.len())].to_owned(),
                values[random(values.len())].clone(),
            )
        });
        let content: Map<String, Value> = content.collect();
        parsed += usize::from(Request::parse(types[random(types.len())], content).is_ok());
    }
    assert!(
        parsed > 100_000,
        "{parsed} of a million were requests: the test tries too little"
    );

    // And what the session makes of them, with an evaluator that answers at once.
    let mut session = session();
    let mut asked = 0;
    for id in 0..20_000 {
        // Mostly a good one, so that much of it goes on to the evaluator.
        let good = ["a", "?b", "", "let é = 1;"][random(4)];
        let mut content = fields(json!({"code": good, "cursor_pos": random(9)}));
        for _ in 0..random(3) {
            content.insert(
                keys[random(keys.len())].to_owned(),
                values[random(values.len())].clone(),
            );
        }
        if random(4) == 0 {
            content.insert("user_expressions".to_owned(), json!({"x": "a", "y": null}));
        }
        let content = Value::Object(content);
        let channel = [Channel::Shell, Channel::Control][random(2)];
        let mut todo = session.handle(ask_on(channel, id, types[random(types.len())], &content));
        while let Some(output) = todo.pop() {
            let Output::Evaluate(job) = output else {
                continue;
            };
            asked += 1;
            todo.extend(session.handle(Input::Evaluator(match job {
                Job::Execute { job, .. } => Event::Finished {
                    job,
                    outcome: Outcome::default(),
                },
                Job::Complete { job, .. } => Event::Completed {
                    job,
                    found: Some(Completions {
                        start: random(9),
                        end: random(9),
                        matches: Vec::new(),
                    }),
                },
                Job::Inspect { job, .. } => Event::Inspected { job, bundle: None },
            })));
        }
    }
    assert!(asked > 500, "{asked} reached the evaluator");
}
