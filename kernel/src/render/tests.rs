//! Whole pictures: what stands in each of their forms.

mod html;
mod many;
mod text;

use super::*;
use threadbook_timeline::fold::fold;
use threadbook_timeline::script::trace;

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

const RING: &str = "main spawn ada; main spawn grace; ada take flour; grace take sugar; ada want sugar :4; @300 grace want flour :5; grace deadlock ada =1; grace deadlock grace =1; \
    ada on; ada cut; grace on; grace cut; grace release sugar; grace exit; ada release flour; ada exit; main joined ada; main end";

const BUSY: &str = "main spawn ada; main spawn grace; ada take till :3; grace want till :4; main add w; main wait w; @200 ada release till; \
    grace take till; grace send orders; ada done w; main on; main got orders; grace mark now; grace region oven; grace leave; grace panic no flour";

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
