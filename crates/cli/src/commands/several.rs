//! The same for several things: side by side, told in the order in which they were first named, none stopping another.

use super::Cx;
use crate::{
    client::{Client, Route},
    error::{self, CliError},
    operation::{Operation, Sink},
    output::clean,
};
use banger_model::{
    VmName,
    api::{error::ErrorCode, vm::VmList},
};
use futures_util::future::join_all;
use hyper::Method;
use std::{fmt::Display, hash::Hash};

/// Each once, in the order of their first mention.
pub(super) fn distinct<T: Clone + Eq + Hash>(names: &[T]) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    names.iter().filter(|name| seen.insert(*name)).cloned().collect()
}

/// Does `work` for each name, side by side; then `tell`s each success and every failure, in order. The status is that of
/// the first failure.
pub(super) async fn each<N, T>(
    cx: &Cx<'_>,
    names: &[N],
    work: impl AsyncFn(&N) -> Result<T, CliError>,
    mut tell: impl FnMut(&N, T) -> Result<(), CliError>,
) -> Result<u8, CliError>
where
    N: Clone + Eq + Hash + Display,
{
    let names = distinct(names);
    let results = join_all(names.iter().map(|name| work(name))).await;
    let mut status = 0;
    for (name, result) in names.iter().zip(results) {
        if let Err(error) = result.and_then(|value| tell(name, value)) {
            // Nobody listens any more, or the user does not want to wait: no more words then.
            if error.report().is_none() {
                return Err(error);
            }
            let label = (names.len() > 1).then(|| name.to_string());
            error::tell(cx.ui, &error, label.as_deref());
            status = if status == 0 { error.status(error::Realm::Verb) } else { status };
        }
    }
    Ok(status)
}

/// Runs one operation for each name and prints those whose operation succeeded. `verdict` is what a failure comes to: an error,
/// about which it may know more, or, where it is none for this verb, what to say in place of the name.
pub(super) async fn operate<N>(
    cx: &Cx<'_>,
    names: &[N],
    operation: Operation<'_>,
    request: impl Fn(&N) -> (Method, Route),
    verdict: impl AsyncFn(&N, CliError) -> Result<String, CliError>,
) -> Result<u8, CliError>
where
    N: Clone + Eq + Hash + Display,
{
    let alone = distinct(names).len() == 1;
    let work = async |name: &N| {
        let (label, mut lines) = (name.to_string(), Vec::new());
        let mut sink = if alone { Sink::Stdout } else { Sink::Collected(&label, &mut lines) };
        let ended = async {
            let (method, route) = request(name);
            let mut events = cx.client.operate(method, &route, None::<&()>).await?;
            operation.follow_into(&mut events, (!alone).then_some(&label), &mut sink).await
        };
        let ended = match ended.await {
            Err(error) => verdict(name, error).await.map(Some),
            Ok(_) => Ok(None),
        };
        Ok((lines, ended))
    };
    let tell = |name: &N, (lines, ended): (Vec<String>, Result<Option<String>, CliError>)| {
        for line in lines {
            cx.ui.print_line(&line)?;
        }
        match ended? {
            Some(instead) => cx.ui.say(&instead),
            None if cx.ui.json => {}
            None => cx.ui.print_line(&clean::line(&name.to_string()))?,
        }
        Ok(())
    };
    each(cx, names, work, tell).await
}

/// An error about a VM that does not exist, with the names that may have been meant.
pub(super) async fn known_better(client: &Client<'_>, vm: &VmName, error: CliError) -> CliError {
    if error.code() != Some(ErrorCode::VmNotFound) {
        return error;
    }
    // The list is a courtesy: without it, the error stands as it is.
    let Ok(list) = client.get::<VmList>(&Route::new(["vms"])).await else { return error };
    match error::names::meant(vm.as_str(), list.vms.iter().map(|vm| vm.name.as_str())) {
        Some(fix) => error.or_fix(|| fix),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_once_in_the_order_of_their_first_mention() {
        assert_eq!(distinct(&["b", "a", "b", "c", "a"]), ["b", "a", "c"]);
    }
}
