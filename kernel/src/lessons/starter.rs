//! A lesson to begin with: small, whole, and right.

/// The files of a new lesson, by name: the lesson and the proofs of its exercise. `number` is its place in the course, `topic` is as in its file's name.
pub fn starter(number: u32, topic: &str) -> [(String, String); 2] {
    let title = topic.replace('_', " ");
    let mut capital = title.chars();
    let title: String = capital
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(capital)
        .collect();
    let fill = |text: &str| {
        text.replace("NUMBER", &format!("{number:02}"))
            .replace("TITLE", &title)
    };
    [
        (format!("{number:02}_{topic}.md"), fill(LESSON)),
        (format!("{number:02}_{topic}.proof.md"), fill(PROOF)),
    ]
}

const LESSON: &str = r#"+++
title = "TITLE"
minutes = 10
goals = ["say what the learner can do afterwards, one line each"]
prerequisites = ["functions and closures in Rust"]
+++
Begin with the question that this lesson answers. Plain words, and none that no cell has shown yet.

**Predict before you run it:** how many loaves are on the shelf in the end? Write your number in place of the 1.

```rust
predict("loaves", 1);
```

## One thing at a time

Each demo shows one thing, and says in its first lines what its picture shows. That must be so in every run, on one core and on two.

```rust
//@ shows: lanes 3
//@ shows: spawn main ada
//@ shows: concurrent ada grace
//@ shows: prints loaves: 2
{
    let shelf = Mutex::new(0);
    scope(|s| {
        s.spawn_named("ada", || *shelf.lock().unwrap() += 1);
        s.spawn_named("grace", || *shelf.lock().unwrap() += 1);
    });
    reveal("loaves", shelf.into_inner().unwrap());
}
```

Say what is to be seen in the picture: two lanes begin where arrows leave main, and nothing orders them.

In Go:

```go
var lock sync.Mutex
var wg sync.WaitGroup
loaves := 0
for range 2 {
	wg.Go(func() { lock.Lock(); loaves++; lock.Unlock() })
}
wg.Wait()
```

## What Rust does not let you write

The next cell is red on purpose.

```rust,compile_fail,E0373
{
    let flour = 3;
    let ada = spawn_named("ada", || println!("{flour} bags"));
    ada.join().unwrap();
}
```

Say what the compiler fears, and what Go would do.

## What you have seen

- One line for each idea, in the order of the cells.

## Exercise 1: side by side

`bake` calls `tray` twice, one call after the other. Give each call a task of its own, and add up what they return.

```rust
// exercise: NUMBER.1
fn bake(tray: fn() -> u32) -> u32 {
    tray() + tray()
}
```

```rust,no_run
// check: NUMBER.1
check!(bake(|| 12) => 24,
    "two tasks are started": |f| f.tasks().len() == 2,
    "neither waits for the other": |f| f.all_concurrent(),
    "both have ended when the answer is given": |f| f.all_finished(),
);
```

<details><summary>Hint 1</summary>

Where to look: which cell above starts two tasks?

</details>
<details><summary>Hint 2</summary>

What to use: `scope`, and `s.spawn`, which gives a handle.

</details>
<details><summary>Hint 3</summary>

Nearly all of it: start both in the scope, keep the handles, and only then `join` the first.

</details>
<details><summary>Solution</summary>

```rust,ignore
fn bake(tray: fn() -> u32) -> u32 {
    scope(|s| {
        let first = s.spawn(tray);
        let second = s.spawn(tray);
        first.join().unwrap() + second.join().unwrap()
    })
}
```

</details>
"#;

const PROOF: &str = r#"# NUMBER.1

## Right: another design, with other names

```rust
fn bake(tray: fn() -> u32) -> u32 {
    let (give, take) = channel();
    for name in ["linus", "barbara"] {
        let give = give.clone();
        go_named(name, move || give.send(tray()).unwrap());
    }
    drop(give);
    take.into_iter().sum()
}
```

## Wrong: right in its result, and one after the other

```rust
//@ fails: neither waits for the other
fn bake(tray: fn() -> u32) -> u32 {
    let first = spawn(tray).join().unwrap();
    first + spawn(tray).join().unwrap()
}
```

## Wrong: concurrent, and one tray is lost

```rust
//@ fails: gave 12, and 24 was wanted
fn bake(tray: fn() -> u32) -> u32 {
    scope(|s| {
        let first = s.spawn(tray);
        s.spawn(tray);
        first.join().unwrap()
    })
}
```

## Wrong: nobody waits for the end

```rust
//@ fails: both have ended when the answer is given
fn bake(tray: fn() -> u32) -> u32 {
    spawn(tray);
    spawn(tray);
    tray() + tray()
}
```
"#;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::starter;
    use crate::lessons::{check_source, list};

    #[test]
    fn a_new_lesson_has_no_mistake() {
        let folder = tempfile::tempdir().unwrap();
        for (number, topic) in [(3, "warm_ovens"), (12, "x")] {
            for (name, text) in starter(number, topic) {
                fs::write(folder.path().join(name), text).unwrap();
            }
        }
        let lessons = list(folder.path()).unwrap();
        assert_eq!(lessons[0].title, "Warm ovens");
        assert_eq!(lessons[1].exercises[0].id, "12.1");
        for lesson in &lessons {
            assert_eq!(check_source(lesson, &lessons), []);
        }
    }
}
