//! The same from the bottom up, as who unpacks onto a disk does it: slow, simple, and what the real thing must agree with.

use super::*;
use crate::ext4::{Content, InodeId, Time};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a path of the model stands for. A number is an inode with contents of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    /// The number is none if nobody described the folder.
    Dir(Option<u64>),
    File(u64),
    Symlink(String),
}

/// A whole file system by absolute path, without the root.
#[derive(Debug, Default)]
struct Model {
    things: BTreeMap<String, Thing>,
    /// Links that paths of layers led through.
    followed: BTreeMap<String, Thing>,
    /// Links of the current layer that it wrote by way of a lower layer's link.
    aliased: Vec<String>,
    /// Whether a name was put below one that is no folder. Tools refuse to.
    nonsense: bool,
}

impl Model {
    fn parent(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// Follows links in all names but the last; none if they lead in a circle. Folders on the way are made.
    fn resolve(&mut self, path: &str) -> Option<String> {
        let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let (last, parents) = names.split_last()?;
        let mut ahead: VecDeque<String> = parents.iter().map(|name| (*name).to_owned()).collect();
        let (mut at, mut links) = (String::new(), 0);
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                at = Self::parent(&at).to_owned();
                continue;
            }
            let next = format!("{at}/{name}");
            match self.things.get(&next) {
                Some(thing @ Thing::Symlink(target)) => {
                    // A layer that uses both names of a folder, one to make a link and one to follow it. No tool does.
                    if self.aliased.contains(&next) {
                        return None;
                    }
                    self.followed.insert(next, thing.clone());
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    for name in target.split('/').rev().filter(|name| !name.is_empty()) {
                        ahead.push_front(name.to_owned());
                    }
                }
                _ => at = next,
            }
        }
        Some(format!("{at}/{last}"))
    }

    /// Removes a path with everything below it.
    fn remove(&mut self, path: &str) {
        self.things.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.things.retain(|path, _| !path.starts_with(&prefix));
    }

    /// Makes the folders above a path that are not there, in place of whatever is.
    fn parents(&mut self, path: &str) {
        let parent = Self::parent(path).to_owned();
        if !parent.is_empty() && !matches!(self.things.get(&parent), Some(Thing::Dir(_))) {
            self.parents(&parent);
            self.nonsense |= self.things.contains_key(&parent);
            self.remove(&parent);
            self.things.insert(parent, Thing::Dir(None));
        }
    }

    /// Applies a layer: what it takes away from those below first, then what it adds.
    fn layer(&mut self, entries: &[Line]) -> Option<()> {
        self.aliased.clear();
        let mut added: Vec<String> = Vec::new();
        let mut meant: Vec<(&str, String)> = Vec::new();
        for line in entries {
            let path = self.resolve(&line.path)?;
            meant.push((&line.path, path.clone()));
            let is_leaf = !matches!(line.what, Said::Dir(_));
            let is_taken = |other: &String| {
                let below = |upper: &str, lower: &str| lower.starts_with(&format!("{upper}/"));
                let other_is_leaf = !matches!(self.things.get(other), Some(Thing::Dir(_)));
                *other == path || (other_is_leaf && below(other, &path)) || (is_leaf && below(&path, other))
            };
            if !matches!(line.what, Said::Whiteout | Said::Opaque) && added.iter().any(is_taken) {
                // Two entries of one layer mean the same name by way of a lower layer's link. No tool writes such a layer.
                return None;
            }
            match &line.what {
                Said::Opaque | Said::Whiteout => {
                    let whole = matches!(line.what, Said::Opaque);
                    let target = if whole { Self::parent(&path).to_owned() } else { path.clone() };
                    let prefix = format!("{target}/");
                    let kept: Vec<(String, Thing)> = (self.things.iter())
                        .filter(|(path, _)| {
                            added.contains(path) && (path.starts_with(&prefix) || (!whole && **path == target))
                        })
                        .map(|(path, thing)| (path.clone(), thing.clone()))
                        .collect();
                    if whole {
                        self.remove_below(&target)
                    } else {
                        self.remove(&target)
                    }
                    for (path, thing) in kept {
                        self.parents(&path);
                        self.things.insert(path, thing);
                    }
                }
                Said::Dir(id) => {
                    self.parents(&path);
                    if !matches!(self.things.get(&path), Some(Thing::Dir(_))) {
                        self.remove(&path);
                    }
                    self.things.insert(path.clone(), Thing::Dir(Some(*id)));
                    added.push(path);
                }
                Said::File(id) => {
                    self.parents(&path);
                    self.remove(&path);
                    self.things.insert(path.clone(), Thing::File(*id));
                    added.push(path);
                }
                Said::Symlink(target) => {
                    self.parents(&path);
                    self.remove(&path);
                    self.things.insert(path.clone(), Thing::Symlink(target.clone()));
                    if path != line.path {
                        self.aliased.push(path.clone());
                    }
                    added.push(path);
                }
                Said::Link(target) => {
                    let named = target;
                    let target = self.resolve(named)?;
                    meant.push((named, target.clone()));
                    if target == path {
                        return None;
                    }
                    let thing = self.things.get(&target).cloned()?;
                    if matches!(thing, Thing::Dir(_)) {
                        return None;
                    }
                    self.parents(&path);
                    self.remove(&path);
                    self.things.insert(path.clone(), thing);
                    // A link in place of the folder that it leads into is nonsense.
                    self.things.get(&target)?;
                    added.push(path);
                }
            }
        }
        // Nor does any tool write a layer whose links change what its own paths mean.
        meant.into_iter().all(|(path, meant)| self.resolve(path) == Some(meant)).then_some(())
    }

    /// Folders that nobody described and that are empty are not told: tools differ in whether they are there.
    fn told(mut self) -> BTreeMap<String, Thing> {
        loop {
            let empty: Vec<String> = (self.things.iter())
                .filter(|(path, thing)| {
                    let prefix = format!("{path}/");
                    **thing == Thing::Dir(None) && !self.things.keys().any(|other| other.starts_with(&prefix))
                })
                .map(|(path, _)| path.clone())
                .collect();
            if empty.is_empty() {
                return self.things;
            }
            for path in empty {
                self.things.remove(&path);
            }
        }
    }
}

/// An entry as the tests write it.
#[derive(Debug, Clone)]
struct Line {
    path: String,
    what: Said,
}

#[derive(Debug, Clone)]
enum Said {
    Dir(u64),
    File(u64),
    Symlink(String),
    Link(String),
    Whiteout,
    Opaque,
}

/// Runs the real thing as its caller does; the file's number becomes its length.
fn flatten(layers: &[Vec<Line>]) -> Result<BTreeMap<String, Thing>, FlattenError> {
    let mut flatten = Flatten::new();
    let fill = |flatten: &mut Flatten, verdict, size| {
        if let Verdict::Take(id) = verdict {
            flatten.fill(id, Kind::File(Content { size, pieces: Vec::new() }));
        }
    };
    for (number, lines) in layers.iter().enumerate().rev() {
        flatten.begin_layer(u32::try_from(number).unwrap());
        for line in lines {
            let verdict = flatten.entry(entry(line))?;
            fill(&mut flatten, verdict, size(line));
        }
        for (ordinal, id) in flatten.missed() {
            let line = &lines[usize::try_from(ordinal).unwrap()];
            let verdict = flatten.entry_again(id, entry(line));
            fill(&mut flatten, verdict, size(line));
        }
    }
    Ok(things(&flatten.finish()?))
}

fn size(line: &Line) -> u64 {
    if let Said::File(id) = line.what { id } else { 0 }
}

fn entry(line: &Line) -> Entry {
    let (mut path, mut meta) = (line.path.clone(), Meta::default());
    let kind = match &line.what {
        Said::Dir(id) => {
            meta.mtime = Time { seconds: i64::try_from(*id).unwrap(), nanos: 0 };
            EntryKind::Dir
        }
        Said::File(id) => EntryKind::File(*id),
        Said::Symlink(target) => EntryKind::Symlink(target.clone().into()),
        Said::Link(target) => EntryKind::Link(target.clone().into()),
        Said::Whiteout => {
            let at = path.rfind('/').unwrap() + 1;
            path.insert_str(at, ".wh.");
            EntryKind::File(0)
        }
        Said::Opaque => EntryKind::File(0),
    };
    Entry { path: path.into(), meta, kind }
}

fn things(tree: &Tree) -> BTreeMap<String, Thing> {
    let mut things = BTreeMap::new();
    let mut open: Vec<(String, InodeId)> = vec![(String::new(), Tree::ROOT)];
    while let Some((path, id)) = open.pop() {
        let inode = tree.inode(id);
        let thing = match &inode.kind {
            Kind::Dir(names) => {
                let below = |name: &[u8]| format!("{path}/{}", String::from_utf8_lossy(name));
                open.extend(names.iter().map(|(name, id)| (below(name), *id)));
                Thing::Dir((inode.meta.mode == 0).then(|| u64::try_from(inode.meta.mtime.seconds).unwrap()))
            }
            Kind::File(content) => Thing::File(content.size),
            Kind::Symlink(target) => Thing::Symlink(String::from_utf8_lossy(target).into_owned()),
            other => panic!("{other:?}"),
        };
        if !path.is_empty() {
            things.insert(path, thing);
        }
    }
    things
}

fn model(layers: &[Vec<Line>]) -> Option<BTreeMap<String, Thing>> {
    let mut model = Model::default();
    for lines in layers {
        model.layer(lines)?;
        // A layer that does away with a link hides what was put where it led, although from the bottom up that is still there
        // under its other name. No tool writes such layers: the lower one would have the other name.
        if model.nonsense || model.followed.iter().any(|(path, link)| model.things.get(path) != Some(link)) {
            return None;
        }
    }
    Some(model.told())
}

/// Lines as `what path [target]`, layers split by an empty line, the lowest first. Numbers are those of the lines.
fn parse(text: &str) -> Vec<Vec<Line>> {
    let mut number = 0;
    let mut line = |line: &str| {
        number += 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        let what = match words[0] {
            "d" => Said::Dir(number),
            "f" => Said::File(number),
            "s" => Said::Symlink(words[2].to_owned()),
            "l" => Said::Link(words[2].to_owned()),
            "w" => Said::Whiteout,
            "o" => Said::Opaque,
            other => panic!("{other}"),
        };
        let path =
            if matches!(what, Said::Opaque) { format!("{}/.wh..wh..opq", words[1]) } else { words[1].to_owned() };
        Line { path, what }
    };
    text.split("\n\n").map(|layer| layer.lines().filter(|l| !l.trim().is_empty()).map(&mut line).collect()).collect()
}

/// What is left, as the lines that said it.
fn left(text: &str) -> String {
    let layers = parse(text);
    let things = flatten(&layers).unwrap();
    assert_eq!(Some(&things), model(&layers).as_ref(), "the model sees it otherwise");
    let mut told = String::new();
    for (path, thing) in things {
        match thing {
            Thing::Dir(Some(id)) => told += &format!("{path}/{id} "),
            Thing::Dir(None) => told += &format!("{path}/ "),
            Thing::File(id) => told += &format!("{path}={id} "),
            Thing::Symlink(target) => told += &format!("{path}->{target} "),
        }
    }
    told.trim_end().to_owned()
}

fn refused(text: &str) -> String {
    flatten(&parse(text)).unwrap_err().to_string()
}

#[test]
fn upper_names_replace_lower_ones() {
    assert_eq!(left("d /a\nf /a/x\nf /b\n\nf /b\nd /a"), "/a/5 /a/x=2 /b=4");
    // A folder replaced by a file, and the reverse.
    assert_eq!(left("d /a\nf /a/x\n\nf /a"), "/a=3");
    assert_eq!(left("f /a\n\nd /a\nf /a/x"), "/a/2 /a/x=3");
    // What a file in between hid stays hidden.
    assert_eq!(left("d /a\nf /a/x\n\nf /a\n\nd /a\nf /a/y"), "/a/4 /a/y=5");
    // Folders that only names below imply keep what a lower layer says of them.
    assert_eq!(left("d /a\n\nf /a/b/x"), "/a/1 /a/b/ /a/b/x=2");
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    assert_eq!(left("f /a\nf /b\n\nw /a\nf /b"), "/b=4");
    assert_eq!(left("d /d\nf /d/a\n\nf /d/b\no /d\nf /d/c"), "/d/1 /d/b=3 /d/c=5");
    assert_eq!(left("d /d\nf /d/a\n\nw /d\n\nf /d/b"), "/d/ /d/b=4");
    assert_eq!(left("f /a\n\nw /a\n\nf /a"), "/a=3");
    assert_eq!(left("f /a\n\nw /gone/a\no /gone"), "/a=1");
    assert_eq!(left("f /a\nf /b\n\no /"), "");
}

#[test]
fn links_of_lower_layers_are_followed_when_they_come_to_light() {
    assert_eq!(left("s /lib usr/lib\nd /usr/lib\n\nf /lib/x"), "/lib->usr/lib /usr/ /usr/lib/2 /usr/lib/x=3");
    // Also by what takes away.
    assert_eq!(
        left("s /lib usr/lib\nf /usr/lib/x\nf /usr/lib/y\n\nw /lib/x"),
        "/lib->usr/lib /usr/ /usr/lib/ /usr/lib/y=3"
    );
    assert_eq!(
        left("f /usr/lib/x\nf /usr/lib/y\ns /lib usr/lib\n\nf /lib/x"),
        "/lib->usr/lib /usr/ /usr/lib/ /usr/lib/x=4 /usr/lib/y=2"
    );
    assert_eq!(left("f /b/x\ns /a b\n\no /a"), "/a->b");
    // Not by an entry for the folder itself, and not if a layer in between did away with the link.
    assert_eq!(left("s /lib usr/lib\n\nd /lib\nf /lib/x"), "/lib/2 /lib/x=3");
    assert_eq!(left("s /lib usr/lib\n\nw /lib\n\nf /lib/x"), "/lib/ /lib/x=3");
    // Nor does a link of an upper layer lead a lower one anywhere.
    assert_eq!(left("d /lib\nf /lib/x\n\ns /lib usr/lib"), "/lib->usr/lib");
    // A chain of links, each in a layer of its own.
    assert_eq!(left("s /a b\n\ns /b c\n\nf /a/x"), "/a->b /b->c /c/ /c/x=3");
    // Never out of the root.
    assert_eq!(left("s /a ../../etc\n\nf /a/x"), "/a->../../etc /etc/ /etc/x=2");
    assert_eq!(left("d /d\ns /d/a /\n\nf /d/a/x"), "/d/1 /d/a->/ /x=3");
}

#[test]
fn hard_links_reach_across_layers() {
    assert_eq!(left("f /a\n\nl /b /a"), "/a=1 /b=1");
    assert_eq!(left("f /a\n\nl /b /a\n\nw /a"), "/b=1");
    assert_eq!(left("f /a\nl /b /a\n\nw /a"), "/b=1");
    assert_eq!(left("f /a\nl /b /a\nl /c /b\n\nw /a\nw /b"), "/c=1");
    assert_eq!(left("f /a\n\nl /b /a\n\nl /c /b\n\nf /a\nw /b"), "/a=4 /c=1");
    assert_eq!(left("f /usr/a\ns /lib usr\n\nl /b /lib/a"), "/b=1 /lib->usr /usr/ /usr/a=1");
    assert_eq!(refused("f /a\n\nl /b /none"), "/b cannot be unpacked: it is a hard link to /none, which is not there");
    assert_eq!(refused("d /d\nl /b /d"), "/b cannot be unpacked: it is a hard link to the folder /d");
}

#[test]
fn linked_names_share_an_inode() {
    let mut flat = Flatten::new();
    flat.begin_layer(0);
    for line in parse("f /a\nl /b /a").concat() {
        if let Verdict::Take(id) = flat.entry(entry(&line)).unwrap() {
            flat.fill(id, Kind::File(Content::default()));
        }
    }
    let tree = flat.finish().unwrap();
    assert_eq!(tree.child(Tree::ROOT, b"a"), tree.child(Tree::ROOT, b"b"));
}

#[test]
fn nothing_hidden_is_taken() {
    let mut flat = Flatten::new();
    let mut taken = Vec::new();
    let layers = parse("f /a\nf /d/x\nf /d/y\nf /e/z\nf /keep\n\nf /a\nw /d\no /e");
    for (number, lines) in layers.iter().enumerate().rev() {
        flat.begin_layer(u32::try_from(number).unwrap());
        for line in lines {
            if let Verdict::Take(_) = flat.entry(entry(line)).unwrap() {
                taken.push(size(line));
            }
        }
    }
    assert_eq!(taken, [6, 5]);
}

#[test]
fn hostile_paths() {
    assert!(refused("f /a/../../etc/passwd").contains("\"..\""));
    assert!(refused("f ../x").contains("\"..\""));
    assert!(refused("s /a b\ns /b a\nf /a/x").contains("too many symbolic links"));
    assert!(refused("s /a a\n\nf /a/x").contains("too many symbolic links"));
    assert!(refused(&format!("f /{}", "n".repeat(256))).contains("more than 255 bytes"));
    assert!(refused("w /d/..").contains("removes something without a name"));
    assert_eq!(left("f //etc//./passwd"), "/etc/ /etc/passwd=1");
    let entry = Entry { path: b"caf\xe9".to_vec(), meta: Meta::default(), kind: EntryKind::File(0) };
    let mut flat = Flatten::new();
    flat.begin_layer(0);
    assert_eq!(flat.entry(entry).unwrap_err().to_string(), r"caf\xe9 cannot be unpacked: its name is not UTF-8");
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn any_line() -> impl Strategy<Value = Line> {
    let target = prop_oneof![
        any_path(),
        prop::sample::select(vec!["a", "b", "../b", "../../c", "a/b", "c"]).prop_map(str::to_owned)
    ];
    let what = prop_oneof![
        3 => Just(Said::Dir(0)),
        5 => Just(Said::File(0)),
        2 => target.prop_map(Said::Symlink),
        1 => any_path().prop_map(Said::Link),
        2 => Just(Said::Whiteout),
        1 => Just(Said::Opaque),
    ];
    (any_path(), what).prop_map(|(mut path, what)| {
        if matches!(what, Said::Opaque) {
            path.push_str("/.wh..wh..opq");
        }
        Line { path, what }
    })
}

/// Layers as tools write them: no path twice, and nothing below a name that is no folder in the same layer.
fn any_layers() -> impl Strategy<Value = Vec<Vec<Line>>> {
    prop::collection::vec(prop::collection::vec(any_line(), 0..7), 1..5).prop_map(|mut layers| {
        let mut number = 0;
        for lines in &mut layers {
            let mut kept: Vec<Line> = Vec::new();
            for mut line in std::mem::take(lines) {
                number += 1;
                if let Said::Dir(id) | Said::File(id) = &mut line.what {
                    *id = number;
                }
                let below = |upper: &Line, lower: &Line| {
                    !matches!(upper.what, Said::Dir(_)) && lower.path.starts_with(&format!("{}/", upper.path))
                };
                if !kept.iter().any(|other| other.path == line.path || below(other, &line) || below(&line, other)) {
                    kept.push(line);
                }
            }
            // A whiteout's place among its layer's entries means nothing.
            kept.sort_by_key(|line| !matches!(line.what, Said::Whiteout | Said::Opaque));
            *lines = kept;
        }
        layers
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024,
        rng_seed: prop::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn top_down_agrees_with_bottom_up(layers in any_layers()) {
        if let Some(expected) = model(&layers) {
            match flatten(&layers) {
                Ok(found) => prop_assert_eq!(found, expected),
                // What circles for one may have been done away with for the other before it was met.
                Err(FlattenError { fault: FlattenFault::Loop, .. }) => {}
                Err(error) => prop_assert!(false, "{}; the model has {:?}", error, expected),
            }
        }
    }
}
